"""``rootsys merge`` over plain files: foreign lines, broken lines, and outputs that must not be harmed."""

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootsys_dagster.core.errors import ConfigError, PermanentError
from rootsys_dagster.core.record import key_seed, record_key
from rootsys_dagster.pipeline import merge_files as merge_files_module
from rootsys_dagster.pipeline import merge_source
from rootsys_dagster.pipeline.merge_copy import line_blocks
from rootsys_dagster.pipeline.merge_files import MergeStats, merge_files
from rootsys_dagster.pipeline.merge_lines import block_keys


def record(
    record_id: str = "1", name: str = "mes", source: str | None = None, version: str = "v1", **other: Any
) -> dict[str, Any]:
    return {
        "source": source or name,
        "interface": {"name": name, "version": version},
        "record_id": record_id,
        "ingested_at_unix_ms": 1,
        "payload": {"kind": "Json", "data": {"a": 1}},
        "metadata": {},
        "warnings": [],
        **other,
    }


def compact(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def merged(tmp_path: Path, *files: bytes, dedupe: bool = True) -> tuple[bytes, MergeStats]:
    paths = [tmp_path / f"{number}.jsonl" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    stats = merge_files(paths, tmp_path / "out.jsonl", dedupe)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*(path.name for path in paths), "out.jsonl"])
    return (tmp_path / "out.jsonl").read_bytes(), stats


def key_of(line: bytes) -> bytes:
    (block,) = line_blocks([line])
    return block_keys(block)[0]


def test_the_first_of_each_key_stays_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    one, two, again = compact(record("1")) + b"\n", compact(record("2")) + b"\n", compact(record("1", n=9)) + b"\n"
    assert merged(tmp_path, two + two, again + one) == (two + again, MergeStats(total=4, written=2, duplicates=2))
    assert merged(tmp_path, two, one + two, dedupe=False) == (
        two + one + two,
        MergeStats(total=3, written=3, duplicates=0),
    )


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(compact(dict(reversed(record("ü/1").items()))), id="other member order"),
        pytest.param(json.dumps(record("ü/1"), indent=None).encode(), id="whitespace and escapes"),
        pytest.param(compact(record("ü/1")).replace(b"/", rb"\/"), id="escaped slash"),
        pytest.param(
            compact(record("ü/1", extra=[1], interface={"version": "v1", "name": "mes", "x": 0})), id="more members"
        ),
        pytest.param(b" \t" + compact(record("ü/1")) + b" \r", id="around it"),
        pytest.param(compact(record("ü/1", metadata=None, payload={"data": "x", "kind": "Text"})), id="text"),
    ],
)
def test_the_key_is_that_of_the_sidecar_whoever_wrote_the_line(line: bytes) -> None:
    sidecar = record_key('"ü/1"'.encode(), key_seed("mes", "mes", "v1"))
    assert key_of(line + b"\n") == key_of(compact(record("ü/1")) + b"\n") == sidecar


texts = st.sampled_from(["", "a", "b", "a|b", "|", 'a"', "\\", "ü", "\u2028", "\x7f\x00"])
tuples = st.tuples(texts, texts.filter(bool), texts, texts)


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(st.lists(st.tuples(tuples, st.booleans(), st.integers(0, 2)), max_size=15), min_size=1, max_size=3),
    dedupe=st.booleans(),
    newline=st.sampled_from([b"\n", b"\r\n"]),
    end=st.booleans(),
)
def test_like_a_dict_of_parsed_records(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[Any]], dedupe: bool, newline: bytes, end: bool
) -> None:
    written: list[bytes] = []
    seen: set[tuple[str, ...]] = set()
    contents: list[bytes] = []
    total = 0
    for lines in files:
        content = b""
        for (source, name, version, record_id), ascii_only, blank in lines:
            document = {**record(record_id, name, version=version), "source": source}
            line = json.dumps(document, ensure_ascii=ascii_only).encode() + newline
            content += newline * blank + line
            total += 1
            if not dedupe or (source, name, version, record_id) not in seen:
                written.append(line)
            seen.add((source, name, version, record_id))
        contents.append(content if end else content[: -len(newline)])
    output, stats = merged(tmp_path_factory.mktemp("merge"), *contents, dedupe=dedupe)
    # A line without a newline gets one; else every byte is as it was.
    assert output.replace(b"\r\n", b"\n") == b"".join(written).replace(b"\r\n", b"\n")
    assert stats == MergeStats(total=total, written=len(written), duplicates=total - len(written))


def test_a_bar_in_a_member_does_not_make_two_keys_one(tmp_path: Path) -> None:
    lines = compact(record("c", "a|b", "s", "v")) + b"\n" + compact(record("b|v|c", "a", "s", "v")) + b"\n"
    assert merged(tmp_path, lines)[1].written == 2


@pytest.mark.parametrize(
    "alone_bytes", [pytest.param(0, id="several processes"), pytest.param(1 << 30, id="one process")]
)
def test_files_larger_than_every_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone_bytes: int) -> None:
    monkeypatch.setattr(merge_files_module, "CHUNK_KEYS", 50)
    monkeypatch.setattr(merge_source, "KEY_BLOCK_BYTES", 700)
    monkeypatch.setattr(merge_source, "REGION_BYTES", 2000)
    monkeypatch.setattr(merge_source, "ALONE_BYTES", alone_bytes)
    monkeypatch.setattr(merge_files_module, "BLOCK_BYTES", 1500)
    lines = [compact(record(str(n % 700))) + b"\n" + b" \n" * (n % 3) for n in range(2000)]
    long = compact(record("long", payload={"kind": "Text", "data": "x" * 10_000})) + b"\n"
    output, stats = merged(tmp_path, b"".join(lines[:900]) + long, b"".join(lines[900:]) + long)
    assert output == b"".join(line.replace(b" \n", b"") for line in lines[:700]) + long
    assert stats == MergeStats(total=2002, written=701, duplicates=1301)


def test_empty_files_and_blank_lines(tmp_path: Path) -> None:
    assert merged(tmp_path, b"", b"\n\n \t\r\n") == (b"", MergeStats(total=0, written=0, duplicates=0))


GOOD = compact(record())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param(b"not json", "is not JSON", id="text"),
        pytest.param(GOOD[:-20], "is not JSON", id="torn"),
        pytest.param(GOOD + GOOD, "is not JSON", id="two on one line"),
        pytest.param(GOOD + b" " + GOOD + b"\n", "is not JSON", id="two on one line and a blank one"),
        pytest.param(GOOD.replace(b'{"a":1}', b'{"a":1,}'), "is not JSON", id="inside the payload"),
        pytest.param(GOOD.replace(b'{"a":1}', b'{"a":NaN}'), "is not JSON", id="NaN"),
        pytest.param(GOOD.replace(b'{"a":1}', b'"\xff"'), "is not UTF-8", id="UTF-8"),
        pytest.param(GOOD.replace(b'{"a":1}', b"[" * 100_000 + b"]" * 100_000), "is not JSON", id="depth"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, "is not JSON", id="byte order mark"),
        pytest.param(b"[]", "is not an IntegrationRecord", id="array"),
        pytest.param(b"null", "is not an IntegrationRecord", id="null"),
        pytest.param(b"{}", "is not an IntegrationRecord", id="no members"),
        pytest.param(compact({**record(), "record_id": 1}), "is not an IntegrationRecord", id="number as id"),
        pytest.param(compact({**record(), "warnings": None}), "is not an IntegrationRecord", id="no warnings"),
        pytest.param(GOOD.replace(b'"Json"', b'"json"'), "is not an IntegrationRecord", id="kind"),
        pytest.param(GOOD.replace(b'"1"', rb'"\ud800"'), "", id="lone surrogate"),
    ],
)
def test_a_bad_line_is_named_and_the_output_left_alone(tmp_path: Path, line: bytes, says: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"\n" + GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    (tmp_path / "out.jsonl").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=rf"in\.jsonl: line 3 .*{says}") as raised:
        merge_files([tmp_path / "in.jsonl"], tmp_path / "out.jsonl")
    assert raised.value.code == "MERGE.BAD_LINE"
    assert (tmp_path / "out.jsonl").read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_record_over_two_lines_is_two_bad_lines(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(GOOD + GOOD + b"\n" + GOOD.replace(b",", b",\n", 1) + b"\n")
    with pytest.raises(ConfigError, match="line 1 is not JSON"):
        merge_files([tmp_path / "in.jsonl"], tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    "alone_bytes", [pytest.param(0, id="several processes"), pytest.param(1 << 30, id="one process")]
)
def test_line_numbers_count_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone_bytes: int) -> None:
    monkeypatch.setattr(merge_source, "KEY_BLOCK_BYTES", 300)
    monkeypatch.setattr(merge_source, "REGION_BYTES", 1000)
    monkeypatch.setattr(merge_source, "ALONE_BYTES", alone_bytes)
    monkeypatch.setattr(merge_files_module, "CHUNK_KEYS", 4)
    (tmp_path / "in.jsonl").write_bytes((GOOD + b"\n") * 20 + b"bad\n")
    with pytest.raises(ConfigError, match="line 21 "):
        merge_files([tmp_path / "in.jsonl"], tmp_path / "out.jsonl")


def test_the_output_is_never_an_input(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(GOOD + b"\n")
    (tmp_path / "link.jsonl").symlink_to(path)
    for output in (path, tmp_path / "link.jsonl", tmp_path / "." / "in.jsonl"):
        with pytest.raises(ConfigError, match="both an input and the output"):
            merge_files([path], output)
    assert path.read_bytes() == GOOD + b"\n"


@pytest.mark.parametrize("name", ["missing.jsonl", "folder"])
def test_an_input_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=name):
        merge_files([tmp_path / name], tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("name", ["folder", "missing/out.jsonl"])
def test_an_output_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=name.split("/", maxsplit=1)[0]):
        merge_files([], tmp_path / name)


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(GOOD + b"\n")
    with pytest.raises(PermanentError, match="No space left"):
        merge_files([tmp_path / "in.jsonl"], Path("/dev/full"))


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(GOOD + b"\n")
    (tmp_path / "out.jsonl").write_bytes(b"old")
    (tmp_path / "out.jsonl").chmod(0o640)
    (tmp_path / "link.jsonl").symlink_to("out.jsonl")
    merge_files([tmp_path / "in.jsonl"], tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "out.jsonl").read_bytes() == GOOD + b"\n"
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o640


def test_standard_output_as_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(compact(record("1")) + b"\n")
    code = "from pathlib import Path; from rootsys_dagster.pipeline.merge import merge_files as merge; "
    code += f"merge([Path({str(tmp_path / 'in.jsonl')!r})], Path('/dev/stdout'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == compact(record("1")) + b"\n"


def test_pipes_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("in", "out"):
        os.mkfifo(tmp_path / name)
    piped = tmp_path / "piped.jsonl"
    piped.write_bytes(compact(record("stdin")) + b"\n")
    received: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: (tmp_path / "in").write_bytes(GOOD + b"\n" + GOOD + b"\n")),
        threading.Thread(target=lambda: received.append((tmp_path / "out").read_bytes())),
    ]
    for thread in threads:
        thread.start()
    with piped.open("rb") as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        stats = merge_files([tmp_path / "in", Path("-")], tmp_path / "out")
    for thread in threads:
        thread.join()
    assert received == [GOOD + b"\n" + compact(record("stdin")) + b"\n"]
    assert stats == MergeStats(total=3, written=2, duplicates=1)
