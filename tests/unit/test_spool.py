"""The spool gives back what went in, and nothing else."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootsys_dagster.core.ports import Batch, Oversized
from rootsys_dagster.drivers.lines import LineRange
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.spool import SpoolDamagedError, SpoolWriter, read_batches, remove_spool

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
positions = st.lists(st.dictionaries(st.text(max_size=3), values, max_size=4), max_size=8)


def batches_at(positions: list[dict[str, Any]]) -> list[Batch]:
    locators = LineRange("data/mes.jsonl", "application/x-ndjson", "mes.jsonl", 1, 0)
    return [
        Batch([b"{}", b"\xff"], "json", locators, position, 5, Oversized(9, "ab") if number % 2 else None)
        for number, position in enumerate(positions)
    ]


def spooled(folder: Path, batches: list[Batch]) -> tuple[Path, str]:
    return SpoolWriter(CommitLog(folder, StreamId("mes", "v1")), "run").write(iter(batches))


@given(positions=positions)
def test_batches_come_back_as_they_were_whatever_the_positions(
    positions: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    batches = batches_at(positions)
    path, sha256 = spooled(tmp_path_factory.mktemp("spool"), batches)
    assert list(read_batches(path, sha256)) == batches


def test_a_batch_costs_what_it_moves_and_not_what_the_position_holds(tmp_path: Path) -> None:
    files: dict[str, Any] = {}
    positions: list[dict[str, Any]] = []
    for number in range(1000):
        files[f"data/{number}.jsonl"] = {"byte": number, "head_sha256": "0" * 64}
        positions.append({"files": dict(files)})
    path, _ = spooled(tmp_path, batches_at(positions))
    assert path.stat().st_size < 1_000_000


def test_large_units_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    locators = LineRange("scan.bin", None, None, 1, 0)
    unit = bytes(6 << 20)
    path, sha256 = spooled(tmp_path, [Batch([unit], "binary", locators, {"n": n}, len(unit)) for n in range(10)])
    with path.open("rb") as stream, pa.ipc.open_stream(stream) as reader:
        assert [rows.num_rows for rows in reader] == [3, 3, 3, 1]
    assert [batch.position for batch in read_batches(path, sha256)] == [{"n": n} for n in range(10)]


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_spool_that_was_changed_is_not_used(tmp_path: Path, place: int) -> None:
    path, sha256 = spooled(tmp_path, batches_at([{"byte": 1}]))
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(SpoolDamagedError):
        next(read_batches(path, sha256))


def test_a_spool_that_is_gone_is_named(tmp_path: Path) -> None:
    path, sha256 = spooled(tmp_path, batches_at([{"byte": 1}]))
    remove_spool(path.parent)
    with pytest.raises(SpoolDamagedError, match="fetch anew"):
        next(read_batches(path, sha256))
