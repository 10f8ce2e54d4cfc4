import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import ConfigError, PermanentError, TransientError
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.drivers.files import input_files

Position = dict[str, Any] | None


class Reader:
    """One interface over a folder, run again and again."""

    def __init__(self, folder: Path, kind: str = "jsonl", **config: Any) -> None:
        self.folder = folder
        context = DriverContext(folder, (folder,), 1 << 20)
        self.driver = DRIVERS.get(kind)(DriverConfig(**{"kind": kind, "input": "app.log*", **config}), context)
        self.position: Position = None

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def append(self, name: str, content: bytes) -> None:
        with (self.folder / name).open("ab") as stream:
            stream.write(content)

    def move(self, old: str, new: str) -> None:
        (self.folder / old).rename(self.folder / new)

    def run(self) -> list[tuple[str | None, bytes]]:
        """New units with the file that each came from; every batch has to move the position by its own bytes."""
        found: list[tuple[str | None, bytes]] = []
        for batch in self.driver.read(self.position):
            before, self.position = self.position, json.loads(json.dumps(batch.position))
            assert self.driver.span(before, batch.position) in (batch.raw_bytes, None)
            found += [(batch.locators.locator, unit) for unit in batch.units]
        return found


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def inputs(folder: Path, name: str | None, *roots: Path) -> list[str]:
    files = input_files(DriverConfig(kind="jsonl", input=name), DriverContext(folder, roots or (folder,), 1))
    return [file.locator for file in files]


def test_a_pattern_names_regular_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "B.jsonl", "a10.jsonl", "a9.jsonl", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "dangling.jsonl").symlink_to("nowhere")
    (tmp_path / "link.jsonl").symlink_to("a.jsonl")
    assert inputs(tmp_path, "*.jsonl") == ["B.jsonl", "a.jsonl", "a10.jsonl", "a9.jsonl", "b.jsonl", "link.jsonl"]
    assert inputs(tmp_path, "[ab].jsonl") == ["a.jsonl", "b.jsonl"]
    assert inputs(tmp_path, "z*.jsonl") == []


def test_a_pattern_reaches_into_folders(tmp_path: Path) -> None:
    (tmp_path / "2026" / "01").mkdir(parents=True)
    for name in ("x.jsonl", "2026/y.jsonl", "2026/01/z.jsonl", "2026/01/.hidden.jsonl"):
        (tmp_path / name).touch()
    assert inputs(tmp_path, "**/*.jsonl") == ["2026/01/z.jsonl", "2026/y.jsonl", "x.jsonl"]
    assert inputs(tmp_path, "2026/*/z.jsonl") == ["2026/01/z.jsonl"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    for name in ("a[1].jsonl", "a1.jsonl"):
        (tmp_path / name).touch()
    assert inputs(tmp_path, "a[1].jsonl") == ["a[1].jsonl"]


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        pytest.param(None, "FILE.INPUT_MISSING", "--input", id="no input"),
        pytest.param(" ", "FILE.INPUT_MISSING", "--input", id="blank input"),
        pytest.param("none.jsonl", "FILE.NOT_FOUND", "none.jsonl", id="missing"),
        pytest.param("none/*.jsonl", "FILE.NOT_FOUND", "none", id="pattern in a missing folder"),
        pytest.param("folder", "FILE.NOT_REGULAR", "folder/*.jsonl", id="folder"),
        pytest.param("pipe", "FILE.NOT_REGULAR", "not a regular file", id="FIFO"),
        pytest.param("../outside.jsonl", "PATH.OUTSIDE_ROOTS", "ROOTSYS_DATA_ROOTS", id="dots"),
        pytest.param("/etc/hostname", "PATH.OUTSIDE_ROOTS", "ROOTSYS_DATA_ROOTS", id="absolute"),
        pytest.param("out.jsonl", "PATH.OUTSIDE_ROOTS", "out.jsonl", id="link out of the root"),
        pytest.param("out*.jsonl", "PATH.OUTSIDE_ROOTS", "out.jsonl", id="the same by a pattern"),
        pytest.param("../*.jsonl", "PATH.OUTSIDE_ROOTS", "outside.jsonl", id="pattern with dots"),
        pytest.param("loop", "PATH.UNUSABLE", "loop", id="loop of links"),
        pytest.param("a\x00b", "PATH.UNUSABLE", "loop of links", id="NUL"),
        pytest.param("a\x00b/*.jsonl", "PATH.UNUSABLE", "NUL", id="NUL in a pattern"),
        pytest.param("x" * 500, "FILE.UNREADABLE", "too long", id="longer than any name"),
        pytest.param("file/below", "FILE.UNREADABLE", "file/below", id="a file as a folder"),
    ],
)
def test_an_input_that_cannot_be_read_is_named_with_the_way_out(
    tmp_path: Path, name: str | None, code: str, says: str
) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    os.mkfifo(root / "pipe")
    (root / "file").touch()
    (tmp_path / "outside.jsonl").touch()
    (root / "out.jsonl").symlink_to("../outside.jsonl")
    (root / "loop").symlink_to("loop")
    with pytest.raises(ConfigError) as caught:
        inputs(root, name)
    assert caught.value.code == code
    assert says in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_file_name_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jsonl")).touch()
    with pytest.raises(ConfigError, match=r"caf\\xe9\.jsonl") as caught:
        inputs(tmp_path, "*.jsonl")
    assert caught.value.code == "FILE.NAME_NOT_UTF8"


def test_a_second_root_may_be_read_too(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.jsonl").touch()
    path = str(tmp_path / "b" / "x.jsonl")
    assert inputs(tmp_path / "a", path, tmp_path / "a", tmp_path / "b") == [path]


def test_new_files_of_a_pattern_are_read_and_old_ones_only_where_they_grew(reader: Reader) -> None:
    reader.write("app.log.b", b"1\n")
    assert reader.run() == [("app.log.b", b"1")]
    reader.write("app.log.a", b"2\n")
    reader.append("app.log.b", b"3\n")
    assert reader.run() == [("app.log.a", b"2"), ("app.log.b", b"3")]
    assert reader.run() == []


def test_an_empty_file_is_nothing_until_it_has_a_line(reader: Reader) -> None:
    reader.write("app.log", b"")
    assert (reader.run(), reader.position) == ([], None)
    reader.append("app.log", b"1\n")
    assert reader.run() == [("app.log", b"1")]


def test_a_rotated_file_is_read_on_under_its_new_name(reader: Reader) -> None:
    reader.write("app.log", b"1\n2\n")
    reader.run()
    reader.append("app.log", b"3\n")
    reader.move("app.log", "app.log.1")
    reader.write("app.log", b"4\n")
    assert reader.run() == [("app.log", b"4"), ("app.log.1", b"3")]
    assert reader.run() == []


def test_rotation_after_rotation_loses_and_repeats_nothing(reader: Reader) -> None:
    """As logrotate does it: every name moves on by one, the oldest goes."""
    seen: list[bytes] = []
    reader.write("app.log", b"")
    for turn in range(8):
        reader.append("app.log", b"%d a\n" % turn)
        seen += [unit for _, unit in reader.run()]
        reader.append("app.log", b"%d b\n" % turn)
        for n in (3, 2, 1):
            if (reader.folder / f"app.log.{n}").exists():
                reader.move(f"app.log.{n}", f"app.log.{n + 1}")
        reader.move("app.log", "app.log.1")
        (reader.folder / "app.log.4").unlink(missing_ok=True)
        reader.write("app.log", b"")
        if turn % 2:
            seen += [unit for _, unit in reader.run()]
    seen += [unit for _, unit in reader.run()]
    assert sorted(seen) == sorted(b"%d %b" % (turn, half) for turn in range(8) for half in (b"a", b"b"))


def test_copy_and_truncate_is_followed_when_the_copy_is_named_too(reader: Reader) -> None:
    reader.write("app.log", b"1\n2\n")
    reader.run()
    reader.append("app.log", b"3\n")
    shutil.copy(reader.folder / "app.log", reader.folder / "app.log.1")
    reader.write("app.log", b"4\n")
    assert reader.run() == [("app.log", b"4"), ("app.log.1", b"3")]


def test_a_packed_rotated_file_is_read_on_too(reader: Reader) -> None:
    import gzip

    reader.write("app.log", b"1\n2\n")
    reader.run()
    reader.append("app.log", b"3\n")
    reader.write("app.log.1.gz", gzip.compress((reader.folder / "app.log").read_bytes()))
    reader.write("app.log", b"4\n")
    assert reader.run() == [("app.log", b"4"), ("app.log.1.gz", b"3")]
    assert reader.run() == []


@pytest.mark.parametrize(
    ("now", "how"),
    [
        pytest.param(b"", "emptied", id="emptied"),
        pytest.param(b"1\n", "shorter", id="truncated"),
        pytest.param(b"9\n2\n3\n", "other first byte", id="rewritten from its first byte"),
        pytest.param(b"1\n2\n9\n4\n", "other last byte", id="rewritten at the last committed byte"),
    ],
)
def test_a_replaced_file_stops_the_run_by_name_and_position_stays(tmp_path: Path, now: bytes, how: str) -> None:
    reader = Reader(tmp_path, input="app.log")
    reader.write("app.log", b"1\n2\n3\n")
    reader.run()
    before = reader.position
    reader.write("app.log", now)
    with pytest.raises(PermanentError) as caught:
        reader.run()
    assert caught.value.code == "FILE.REPLACED"
    assert "app.log" in str(caught.value)
    assert "on_replace" in str(caught.value)
    assert reader.position == before


def test_a_rotated_file_without_a_pattern_is_a_replaced_file(tmp_path: Path) -> None:
    reader = Reader(tmp_path, input="app.log")
    reader.write("app.log", b"1\n2\n")
    reader.run()
    reader.move("app.log", "app.log.1")
    reader.write("app.log", b"3\n")
    with pytest.raises(PermanentError, match=r"app\.log\*"):
        reader.run()


def test_a_file_that_begins_like_another_that_is_still_there_is_a_file_of_its_own(tmp_path: Path) -> None:
    one, two = (Reader(tmp_path, input=name) for name in ("monday.log", "tuesday.log"))
    one.write("monday.log", b"up\n")
    one.write("tuesday.log", b"up\ndown\n")
    one.run()
    two.position = one.position
    assert two.run() == [("tuesday.log", b"up"), ("tuesday.log", b"down")]
    one.position = two.position
    assert one.run() == []


def test_a_file_under_another_spelling_is_the_same_file(tmp_path: Path) -> None:
    one, two = Reader(tmp_path, input="app.log"), Reader(tmp_path, input=str(tmp_path / "app.log"))
    one.write("app.log", b"1\n2\n")
    one.run()
    one.append("app.log", b"3\n")
    two.position = one.position
    assert [unit for _, unit in two.run()] == [b"3"]


def test_on_replace_restart_reads_the_new_content_from_its_beginning(tmp_path: Path) -> None:
    reader = Reader(tmp_path, input="app.log", on_replace="restart")
    reader.write("app.log", b"1\n2\n")
    reader.run()
    reader.write("app.log", b"3\n")
    assert reader.run() == [("app.log", b"3")]
    reader.append("app.log", b"4\n")
    assert reader.run() == [("app.log", b"4")]


@pytest.mark.parametrize("now", [b"9\n9\n9\n9\n", b"9\n", b""])
def test_a_file_that_is_replaced_after_the_run_began_is_not_continued(reader: Reader, now: bytes) -> None:
    for name in ("app.log", "app.log.x"):
        reader.write(name, b"1\n2\n")
    reader.run()
    for name in ("app.log", "app.log.x"):
        reader.append(name, b"3\n")
    batches = reader.driver.read(reader.position)
    assert next(batches).locators.locator == "app.log"
    reader.write("app.log.x", now)
    with pytest.raises(TransientError, match=r"app\.log\.x was replaced") as caught:
        next(batches)
    assert caught.value.code == "FILE.REPLACED_MEANWHILE"


def test_a_deleted_file_is_known_again_when_it_comes_back(reader: Reader) -> None:
    reader.write("app.log", b"1\n")
    reader.write("app.log.x", b"2\n")
    reader.run()
    reader.move("app.log", "elsewhere")
    reader.append("app.log.x", b"3\n")
    assert reader.run() == [("app.log.x", b"3")]
    reader.move("elsewhere", "app.log")
    reader.append("app.log", b"4\n")
    assert reader.run() == [("app.log", b"4")]


def test_content_changed_between_the_two_windows_is_beyond_what_is_looked_at(tmp_path: Path) -> None:
    # The price of not reading a file again: stated here, so that a change of it is noticed.
    reader = Reader(tmp_path, input="app.log")
    reader.write("app.log", b"x\n" * 10_000)
    reader.run()
    reader.write("app.log", b"x\n" * 5000 + b"y\n" + b"x\n" * 4999)
    assert reader.run() == []


class TestWholeFiles:
    """The binary driver."""

    @pytest.fixture
    def reader(self, tmp_path: Path) -> Reader:
        return Reader(tmp_path, "binary", input="*.bin")

    def test_a_file_is_one_unit_the_empty_one_too(self, reader: Reader) -> None:
        reader.write("a.bin", b"")
        reader.write("b.bin", b"1\n2\r\n\x00\xff")
        assert reader.run() == [("a.bin", b""), ("b.bin", b"1\n2\r\n\x00\xff")]
        assert reader.run() == []

    def test_changed_content_is_a_new_unit_a_touched_file_is_not(self, reader: Reader) -> None:
        reader.write("a.bin", b"one")
        reader.run()
        os.utime(reader.folder / "a.bin", (1, 1))
        assert reader.run() == []
        reader.write("a.bin", b"two")
        assert reader.run() == [("a.bin", b"two")]
        reader.write("a.bin", b"")
        assert reader.run() == [("a.bin", b"")]

    @pytest.mark.parametrize("length", [10, 11, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 200_000])
    def test_the_first_64_kib_of_an_oversized_file_are_kept_whatever_the_limit(
        self, tmp_path: Path, length: int
    ) -> None:
        content = bytes(range(256)) * 1000
        (tmp_path / "a.bin").write_bytes(content[:length])
        config = DriverConfig(kind="binary", input="a.bin")
        (batch,) = DRIVERS.get("binary")(config, DriverContext(tmp_path, (tmp_path,), 10)).read(None)
        assert batch.units == [content[: min(length, 1 << 16)]]
        assert (batch.oversized is not None) == (length > 10)

    def test_where_it_came_from(self, reader: Reader) -> None:
        reader.write("a.bin", b"abc")
        (batch,) = reader.driver.read(None)
        locators = batch.locators
        assert (locators.content_type, locators.filename) == ("application/octet-stream", "a.bin")
        (place,) = locators.positions(batch.units)
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert json.loads(place) == {"byte": 0, "length": 3, "sha256": sha256}
        assert batch.raw_bytes == 3

    def test_above_the_limit_only_the_beginning_is_handed_over(self, reader: Reader) -> None:
        reader.write("a.bin", b"x" * (1 << 20))
        reader.write("b.bin", b"y" * ((1 << 20) + 1))
        whole, oversized = reader.driver.read(None)
        assert (len(whole.units[0]), whole.oversized) == (1 << 20, None)
        assert oversized.units == [b"y" * (1 << 16)]
        assert oversized.oversized is not None
        assert oversized.oversized.length == (1 << 20) + 1

    def test_head_is_none_when_all_is_read_packed_files_too(self, reader: Reader) -> None:
        import gzip

        reader.write("a.bin", b"one")
        gz = Reader(reader.folder, "binary", input="*.gz")
        gz.write("c.gz", gzip.compress(b"content " * 100))
        for one in (reader, gz):
            assert one.driver.head(None) is not None
            one.run()
            assert one.driver.head(one.position) is None
        reader.write("a.bin", b"two")
        assert reader.driver.head(reader.position) is not None
