"""Each folder here is an interface, its input, and byte for byte what comes of it.

``GOLDEN=rewrite pytest tests/golden`` writes the files anew; read the difference before it is committed.
"""

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootsys_dagster.core.interface import Interface, load_interface, parse_interface
from rootsys_dagster.core.ports import Batch, DriverContext
from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.drivers.lines import LineRange
from rootsys_dagster.pipeline.normalise import Normalised, Normaliser

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/interface.json"))
SUITE = HERE.parent / "fixtures" / "json_test_suite" / "test_parsing.tar.gz"
NOW = 1_771_059_600_000


def normalised(folder: Path, interface: Interface) -> Normalised:
    """What a first run commits."""
    driver = DRIVERS.get(interface.driver.kind)(interface.driver, DriverContext(folder, (folder,), 1 << 20))
    normaliser = Normaliser(interface, interface.name, clock=lambda: NOW)
    out = Normalised()
    for batch in driver.read(None):
        one = normaliser.normalise(batch)
        out.records += one.records
        out.dead_letters += one.dead_letters
        out.keys += one.keys
    return out


def compare(path: Path, data: bytes) -> None:
    if os.environ.get("GOLDEN") == "rewrite":
        path.write_bytes(data)
    assert data == path.read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_records_dead_letters_and_keys_are_these_bytes(case: str) -> None:
    out = normalised(HERE / case, load_interface(HERE / case / "interface.json"))
    compare(HERE / case / "records.jsonl", out.records)
    compare(HERE / case / "dead_letters.jsonl", out.dead_letters)
    keys = [out.keys[at : at + 16].hex() for at in range(0, len(out.keys), 16)]
    compare(HERE / case / "keys.txt", "".join(f"{key}\n" for key in keys).encode())
    assert len(keys) == out.records.count(b"\n")


@pytest.mark.parametrize(
    ("case", "ids"),
    [
        ("mes", ["DEF-1001|LOT-77", "DEF-1002|LOT-78"]),
        ("qms", ["CLAIM-9001", "CLAIM-9002"]),
        (
            "hash",
            [
                "eea840bee6c95eb1567cf631e319b691e67f2cc1c925e521b434f635cc6755e6",
                "7a38bf81f383f69433ad6e900d35b3e2385593f76a7b7ab5d4355b8ba41ee24b",
                "8b0bb7512fb6d1595c87b3604b48935021ab88233ea853246f5c244600a40929",
            ],
        ),
    ],
)
def test_ids_are_those_of_the_reference_in_its_order(case: str, ids: list[str]) -> None:
    lines = (HERE / case / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["record_id"] for record in records][: len(ids)] == ids
    assert {record["source"] for record in records} == {case}


def suite() -> Iterator[tuple[str, bytes]]:
    with tarfile.open(SUITE) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert isinstance(content, io.BufferedReader)
            yield member.name, content.read()


def outcome(unit: bytes, members: str = "") -> str:
    """``accepted``, ``blank``, or the reason code and why."""
    interface = parse_interface(
        b'{"name":"json","version":"v1","driver":{"kind":"jsonl"}%b}' % members.encode(), "json"
    )
    batch = Batch([unit], "json", LineRange("x.json", None, None, 1, 0), {}, len(unit))
    out = Normaliser(interface, "json", clock=lambda: NOW).normalise(batch)
    if out.counts.accepted:
        assert b'"data":' + unit + b"}" in out.records
        return "accepted"
    if out.counts.skipped:
        return next(iter(out.counts.skipped))
    (error,) = json.loads(out.dead_letters)["errors"]
    return f"{error['code']} {error['message']}"


def test_all_318_files_of_the_json_test_suite_have_the_outcome_in_the_table() -> None:
    found = {name: outcome(content) for name, content in suite()}
    table = "".join(f"{name}\t{text}\n" for name, text in sorted(found.items()))
    compare(HERE / "json_test_suite.tsv", table.encode())
    assert len(found) == 318
    assert Counter(name[:2] for name in found) == {"y_": 95, "n_": 188, "i_": 35}
    assert {text for name, text in found.items() if name.startswith("y_")} == {"accepted"}
    refused = {name: text for name, text in found.items() if name.startswith("n_")}
    # Two of those that a parser must refuse are a blank line, which is skipped by name.
    blank = {name for name, text in refused.items() if not text.startswith("PAYLOAD_DECODE_FAILED ")}
    assert blank == {"n_single_space.json", "n_structure_no_data.json"}
    assert {refused[name] for name in blank} == {"blank"}


@pytest.mark.parametrize("members", [',"record_id_paths":["/a"]', ',"record_id_paths":["/0","/a/b"]'])
def test_which_pointers_are_asked_for_changes_no_verdict_on_what_is_json(members: str) -> None:
    for name, content in suite():
        assert outcome(content, members) == outcome(content), name
