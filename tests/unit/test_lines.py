import gzip
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import PermanentError
from rootsys_dagster.core.ports import Batch, Driver, DriverContext
from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.drivers import lines as line_driver
from rootsys_dagster.drivers import marks, whole_lines

KIB_64 = 1 << 16


@dataclass(frozen=True)
class Unit:
    """A unit with its place, and the hash of the whole line when only its beginning was handed over."""

    content: bytes
    line: int
    byte: int
    length: int
    sha256: str | None = None


def driver(folder: Path, kind: str = "jsonl", limit: int = 16 << 20, **config: Any) -> Driver[DriverConfig]:
    members = {"kind": kind, "input": "in.jsonl", **config}
    return DRIVERS.get(kind)(DriverConfig(**members), DriverContext(folder, (folder,), limit))


def units_of(batches: Iterator[Batch] | list[Batch]) -> list[Unit]:
    """Units with their places; each batch is checked to add up."""
    found: list[Unit] = []
    for batch in batches:
        places = [json.loads(place) for place in batch.locators.positions(batch.units)]
        assert (batch.oversized is not None) == ("sha256" in places[0])
        assert [list(place)[:3] for place in places] == [["line", "byte", "length"]] * len(batch.units)
        found += [Unit(unit, **place) for unit, place in zip(batch.units, places, strict=True)]
    return found


def expected(content: bytes, limit: int = 16 << 20, *, last: bool = False) -> list[Unit]:
    """The lines of *content* in the obvious way; what stands behind the last line feed only when *last*."""
    found: list[Unit] = []
    byte = 0
    for line in content.split(b"\n")[: None if last and content[-1:] not in (b"", b"\n") else -1]:
        if len(line) > limit:
            unit = Unit(line[:KIB_64], len(found) + 1, byte, len(line), hashlib.sha256(line).hexdigest())
        else:
            bare = line.removesuffix(b"\r")
            unit = Unit(bare, len(found) + 1, byte, len(bare))
        found.append(unit)
        byte += len(line) + 1
    return found


def read(
    source: Driver[DriverConfig], resume: dict[str, Any] | None = None
) -> tuple[list[Unit], dict[str, Any] | None]:
    """Everything after *resume*, and the position behind it as it comes back from a manifest."""
    batches = list(source.read(resume))
    return units_of(batches), json.loads(json.dumps(batches[-1].position)) if batches else resume


@pytest.mark.parametrize(
    ("content", "units"),
    [
        pytest.param(b"", [], id="empty file"),
        pytest.param(b"a\nb\n", [b"a", b"b"], id="LF"),
        pytest.param(b"a\r\nb\r\n", [b"a", b"b"], id="CRLF"),
        pytest.param(b"a\r\nb\nc\r\r\n", [b"a", b"b", b"c\r"], id="mixed, and only one CR goes"),
        pytest.param(b"a\rb\n", [b"a\rb"], id="a CR inside a line ends nothing"),
        pytest.param(b"\n\r\n \n", [b"", b"", b" "], id="blank lines are units"),
        pytest.param(
            "a\u2028b\u2029c\u0085d\n".encode(), ["a\u2028b\u2029c\u0085d".encode()], id="only LF ends a line"
        ),
        pytest.param(b"a\x0bb\x0cc\x1cd\x00e\n", [b"a\x0bb\x0cc\x1cd\x00e"], id="no control character but LF"),
        pytest.param(b"\xef\xbb\xbf{}\n", [b"\xef\xbb\xbf{}"], id="a byte order mark stays"),
        pytest.param(b"\xff\xfe\n", [b"\xff\xfe"], id="bytes are not looked at"),
        pytest.param(b"a\nb", [b"a"], id="a line without its end waits"),
        pytest.param(b"a\nb\r", [b"a"], id="so does one whose LF may follow"),
        pytest.param(b"a", [], id="and a file of one such line"),
    ],
)
def test_lines_end_at_line_feeds_only(tmp_path: Path, content: bytes, units: list[bytes]) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    for kind in ("jsonl", "text"):
        found, _ = read(driver(tmp_path, kind))
        assert [unit.content for unit in found] == units
        assert found == expected(content)


@pytest.mark.parametrize("content", [b"a\nb", b"a\nb\r", b"\r", b"a\r\n\r", b"a\n", b""])
def test_eof_accept_takes_the_line_without_its_end(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    found, position = read(driver(tmp_path, eof="accept"))
    assert found == expected(content, last=True)
    assert read(driver(tmp_path, eof="accept"), position) == ([], position)


@pytest.mark.parametrize(
    ("kind", "config", "content_type", "filename"),
    [
        ("jsonl", {}, "application/x-ndjson", "in.jsonl"),
        ("text", {}, "text/plain", "in.jsonl"),
        ("jsonl", {"content_type": "application/json", "filename": "mes"}, "application/json", "mes"),
    ],
)
def test_where_lines_came_from(
    tmp_path: Path, kind: str, config: dict[str, Any], content_type: str, filename: str
) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"{}\n")
    (batch,) = driver(tmp_path, kind, **config).read(None)
    locators = batch.locators
    assert (locators.source_type, locators.locator) == ("file", "in.jsonl")
    assert (locators.content_type, locators.filename) == (content_type, filename)
    assert batch.kind == ("json" if kind == "jsonl" else "text")


def test_standard_input_is_read_to_its_end_and_has_no_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\r\nb")))
    batches = list(driver(tmp_path, input="-").read(None))
    assert {(batch.locators.locator, batch.locators.filename) for batch in batches} == {("stdin", None)}
    assert units_of(batches) == expected(b"a\r\nb", last=True)


def test_a_file_called_stdin_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"not this\n")))
    (tmp_path / "stdin").write_bytes(b"this\n")
    found, _ = read(driver(tmp_path, input="stdin"))
    assert [unit.content for unit in found] == [b"this"]


lines = st.one_of(
    st.binary(max_size=6).map(lambda data: data.replace(b"\n", b"\r")),
    st.integers(0, 40).map(lambda length: b"x" * length),
)
contents = st.builds(
    lambda parts, tail: b"".join(line + end for line, end in parts) + tail,
    st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\n", b"\r\n"])), max_size=12),
    lines,
)


@given(
    content=contents,
    cuts=st.lists(st.integers(0, 200), max_size=4),
    block=st.integers(1, 20),
    window=st.integers(1, 12),
    limit=st.integers(1, 30),
    packed=st.sampled_from([None, "gz"]),
)
def test_any_appends_and_runs_read_what_one_run_reads(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    cuts: list[int],
    block: int,
    window: int,
    limit: int,
    packed: str | None,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "appends"
    folder.mkdir(exist_ok=True)
    path = folder / "in.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_lines, "BLOCK_BYTES", block)
        for module in (line_driver, marks, whole_lines):
            patch.setattr(module, "WINDOW_BYTES", window)
        source = driver(folder, limit=limit)
        found: list[Unit] = []
        position: dict[str, Any] | None = None
        for end in [*sorted(cuts), len(content)]:
            path.write_bytes(content[:end])
            news, position = read(source, position)
            found += news
        assert found == expected(content, limit)
        byte = content.rfind(b"\n") + 1
        if byte == 0:
            assert position is None
            return
        # The position says nothing about how the content arrived, only what it is.
        assert position == {
            "files": {
                "in.jsonl": {
                    "byte": byte,
                    "line": content.count(b"\n"),
                    "head_sha256": hashlib.sha256(content[: min(window, byte)]).hexdigest(),
                    "tail_sha256": hashlib.sha256(content[max(0, byte - window) : byte]).hexdigest(),
                }
            }
        }
        if packed:
            (folder / "in.jsonl.gz").write_bytes(gzip.compress(content, 1))
            assert read(driver(folder, limit=limit, input="in.jsonl.gz"))[0] == expected(content, limit, last=True)


@given(content=contents, limit=st.integers(1, 30), block=st.integers(1, 20))
def test_a_place_points_at_the_bytes_of_its_unit(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, limit: int, block: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "places"
    folder.mkdir(exist_ok=True)
    (folder / "in.jsonl").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_lines, "BLOCK_BYTES", block)
        found, _ = read(driver(folder, limit=limit, eof="accept"))
    for unit in found:
        whole = content[unit.byte : unit.byte + unit.length]
        assert whole.startswith(unit.content)
        assert content[: unit.byte].count(b"\n") == unit.line - 1
        if unit.sha256 is None:
            assert whole == unit.content
            assert content[unit.byte + unit.length :][:1] in (b"", b"\n", b"\r")
        else:
            assert hashlib.sha256(whole).hexdigest() == unit.sha256


@given(content=contents, limit=st.integers(1, 30), at=st.integers(0, 11))
def test_a_run_that_stops_after_any_batch_is_continued_exactly_there(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, limit: int, at: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "stops"
    folder.mkdir(exist_ok=True)
    (folder / "in.jsonl").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_lines, "BLOCK_BYTES", 7)
        source = driver(folder, limit=limit)
        begun = list(source.read(None))[: at + 1]
        if begun:
            rest, _ = read(source, json.loads(json.dumps(begun[-1].position)))
            assert units_of(begun) + rest == expected(content, limit)
            assert sum(batch.raw_bytes for batch in begun) == begun[-1].position["files"]["in.jsonl"]["byte"]


@pytest.mark.parametrize("around", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("size", [KIB_64, 2 * KIB_64, 100_000])
def test_line_ends_at_the_borders_of_blocks(tmp_path: Path, size: int, around: int) -> None:
    first = b"x" * (size + around)
    for end in (b"\n", b"\r\n"):
        content = first + end + b"a" + end + b"y" * KIB_64 + end + b"b" + end
        (tmp_path / "in.jsonl").write_bytes(content)
        assert read(driver(tmp_path))[0] == expected(content)
        assert read(driver(tmp_path, limit=KIB_64))[0] == expected(content, KIB_64)


@pytest.mark.parametrize("limit", [KIB_64 - 1, KIB_64, KIB_64 + 1, 3 * KIB_64])
def test_a_line_of_the_limit_is_a_unit_and_one_byte_more_is_oversized(tmp_path: Path, limit: int) -> None:
    content = b"".join(
        b"%c" % (97 + n) * length + b"\n" for n, length in enumerate([limit, limit + 1, 1, limit + 1, limit + 9])
    )
    for prefix in (b"", b"begin\n", b"z" * (KIB_64 - 10) + b"\n"):
        (tmp_path / "in.jsonl").write_bytes(prefix + content)
        found, _ = read(driver(tmp_path, limit=limit))
        assert found == expected(prefix + content, limit)
        assert [unit.sha256 is not None for unit in found][-5:] == [False, True, False, True, True]


def test_an_oversized_line_without_its_end_waits_for_it_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    content = b"a\n" + b"x" * 300_000
    path.write_bytes(content)
    found, position = read(driver(tmp_path, limit=1000))
    assert [unit.content for unit in found] == [b"a"]
    path.write_bytes(content + b"y\nb\n")
    rest, _ = read(driver(tmp_path, limit=1000), position)
    assert found + rest == expected(content + b"y\nb\n", 1000)
    path.write_bytes(content)
    assert read(driver(tmp_path, limit=1000, eof="accept"))[0] == expected(content, 1000, last=True)


def test_no_batch_is_larger_than_a_block_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"x" * 99 + b"\n" + b"y" * 300_000 + b"\n" + b"z" * 99 + b"\n")
    for batch in driver(tmp_path, limit=100_000).read(None):
        assert sum(map(len, batch.units)) <= 2 * KIB_64


def test_packed_files_may_have_several_members(tmp_path: Path) -> None:
    parts = [b"a\nb", b"c\n", b"", b"d\r\ne"]
    (tmp_path / "in.jsonl.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    (tmp_path / "in.jsonl.zst").write_bytes(b"".join(pa.compress(part, "zstd", asbytes=True) for part in parts))
    for name in ("in.jsonl.gz", "in.jsonl.zst"):
        found, position = read(driver(tmp_path, input=name))
        assert found == expected(b"".join(parts), last=True)
        assert read(driver(tmp_path, input=name), position) == ([], position)
        assert driver(tmp_path, input=name).head(position) is None


def test_a_member_added_to_a_packed_file_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b"a\nb\n"))
    found, position = read(driver(tmp_path, input=path.name))
    path.write_bytes(gzip.compress(b"a\nb\n") + gzip.compress(b"c\n"))
    rest, _ = read(driver(tmp_path, input=path.name), position)
    assert found + rest == expected(b"a\nb\nc\n")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("in.jsonl.gz", "cut short"),
        ("in.jsonl.gz", "not packed at all"),
        ("in.jsonl.gz", "a byte changed"),
        ("in.jsonl.zst", "cut short"),
        # zstd has checksums only where its writer asked for them, so a changed byte there is not always seen.
        ("in.jsonl.zst", "not packed at all"),
    ],
)
def test_a_damaged_packed_file_is_named_after_its_sound_lines(tmp_path: Path, name: str, damage: str) -> None:
    content = b"".join(
        b'{"id":%d,"x":"%b"}\n' % (n, hashlib.sha256(b"%d" % n).hexdigest().encode()) for n in range(5000)
    )
    packed = gzip.compress(content) if name.endswith("gz") else pa.compress(content, "zstd", asbytes=True)
    broken = {
        "cut short": packed[: len(packed) // 2],
        "not packed at all": content,
        "a byte changed": packed[: len(packed) // 2]
        + bytes([packed[len(packed) // 2] ^ 0x55])
        + packed[len(packed) // 2 + 1 :],
    }[damage]
    (tmp_path / name).write_bytes(broken)
    seen: list[Batch] = []
    with pytest.raises(PermanentError) as caught:
        seen.extend(driver(tmp_path, input=name).read(None))
    assert caught.value.code == "FILE.DAMAGED"
    assert name in str(caught.value)
    if damage == "cut short":
        found = units_of(seen)
        assert found == expected(content)[: len(found)]


def test_head_changes_with_the_file_and_is_none_when_all_is_read(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"a\n")
    source = driver(tmp_path)
    assert source.head(None) is not None
    _, position = read(source)
    assert source.head(position) is None
    path.write_bytes(b"a\nb\n")
    waiting = source.head(position)
    assert waiting is not None
    path.write_bytes(b"a\nb\nc\n")
    assert source.head(position) not in (None, waiting)
