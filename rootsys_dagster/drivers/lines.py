"""Newline-delimited input: from the last committed byte to the last complete line, in bounded memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, count, repeat
from operator import add
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import msgspec

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.core.ports import Batch, Driver, Oversized, PayloadKind
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.registry import LOCATORS
from rootsys_dagster.drivers.files import InputFile, check_inputs, input_files, open_input, paths_of
from rootsys_dagster.drivers.marks import (
    WINDOW_BYTES,
    Mark,
    Starts,
    is_made_from,
    marks_of,
    match_marks,
    sha256,
    windows,
)
from rootsys_dagster.drivers.whole_lines import OversizedLine, WholeLines


class Place(msgspec.Struct, gc=False):
    """Where a line stands."""

    line: int
    byte: int
    length: int


encode_lines = msgspec.json.Encoder().encode_lines


@LOCATORS.register("lines")
@dataclass(frozen=True, slots=True)
class LineRange:
    """Consecutive lines of one file. Lines count from 1, bytes from 0, ``endings`` are the bytes of each line ending.

    Of a line above the limit, which is alone in its range, ``length`` and ``sha256`` are those of the whole line.
    """

    locator: str
    content_type: str | None
    filename: str | None
    first_line: int
    first_byte: int
    endings: int | list[int] = 1
    length: int | None = None
    sha256: str | None = None

    source_type: ClassVar[str] = "file"

    def positions(self, units: Sequence[bytes]) -> Iterable[bytes]:
        """``{"line": …, "byte": …, "length": …}`` of each unit; an oversized one has its hash too."""
        if self.sha256 is not None:
            shape = '{"line":%d,"byte":%d,"length":%d,"sha256":"%s"}'
            return [(shape % (self.first_line, self.first_byte, self.length, self.sha256)).encode()]
        endings = repeat(self.endings) if isinstance(self.endings, int) else self.endings
        starts = accumulate(map(add, map(len, units), endings), initial=self.first_byte)
        # An encoder that is told the shape is twice as fast as formatting each line.
        places = list(map(Place, count(self.first_line), starts, map(len, units)))
        return encode_lines(places).split(b"\n")[:-1]

    def to_json(self) -> dict[str, Any]:
        """JSON members for the spool."""
        return {"kind": "lines"} | {name: getattr(self, name) for name in self.__slots__}


class LineDriver(Driver[DriverConfig]):
    """What jsonl and text have in common: one unit per line."""

    source_type = "file"
    unit_kind: ClassVar[PayloadKind]
    content_type: ClassVar[str]

    def check(self) -> None:
        """Raise ConfigError unless every named input can be opened."""
        check_inputs(self.config, self.context)

    def files(self) -> Iterable[Path]:
        """The files that ``driver.input`` names now."""
        return paths_of(input_files(self.config, self.context))

    def read(self, resume: Position | None) -> Iterator[Batch]:
        """Batches of about 64 KiB, file by file in the order of their names."""
        files, marks = input_files(self.config, self.context), marks_of(resume)
        if files and files[0].is_stdin:
            starts = Starts({}, {name: mark for name, mark in marks.items() if name != files[0].locator})
        else:
            starts = match_marks(files, marks, self.context.root, on_replace=self.config.on_replace)
        kept = starts.absent | starts.continued
        given_up = _bytes(marks.values()) - _bytes(kept.values())
        done = Done(kept, (resume or {}).get("replaced_bytes", 0) + given_up)
        for file in files:
            start = starts.continued.get(file.locator)
            if start is None or start.stored_bytes is None or start.stored_bytes != file.status().st_size:
                yield from FileLines(self, file, start, done).batches()

    def span(self, start: Position | None, end: Position) -> int:
        """Bytes of unpacked content, those of files that were replaced since included."""
        return _covered(end) - _covered(start)

    def unread_bytes(self, resume: Position | None) -> int | None:
        """Stored bytes that no mark covers; of a packed file that was read in part, all of them."""
        marks, unread = marks_of(resume), 0
        for file in input_files(self.config, self.context):
            if file.is_stdin:
                return None
            mark = marks.get(file.locator)
            known = 0 if mark is None else (mark.stored_bytes or 0) if file.compression else mark.byte
            unread += max(file.status().st_size - known, 0)
        return unread

    def head(self, resume: Position | None) -> str | None:
        """Names, sizes and times of the files that differ from *resume*; None when there is nothing new."""
        marks = marks_of(resume)
        new: list[str] = []
        for file in input_files(self.config, self.context):
            status, mark = file.status(), marks.get(file.locator)
            known = None if mark is None else mark.stored_bytes if file.compression else mark.byte
            if status.st_size != (known or 0):
                new.append(f"{file.locator}:{status.st_size}:{status.st_mtime_ns}")
        return "|".join(new) or None


def _bytes(marks: Iterable[Mark]) -> int:
    return sum(mark.byte for mark in marks)


def _covered(position: Position | None) -> int:
    return _bytes(marks_of(position).values()) + (position or {}).get("replaced_bytes", 0)


class Done:
    """The position while it grows: a mark per file, and how many committed bytes were in files that were replaced."""

    def __init__(self, marks: dict[str, Mark], replaced_bytes: int) -> None:
        self.files = {name: mark.to_json() for name, mark in marks.items()}
        self.replaced_bytes = replaced_bytes

    def position(self) -> Position:
        """A copy that later batches do not change."""
        position: Position = {"files": dict(self.files)}
        return position | {"replaced_bytes": self.replaced_bytes} if self.replaced_bytes else position


class FileLines:
    """Reads one file from *start* and knows, after every batch, the position that covers it."""

    def __init__(self, driver: LineDriver, file: InputFile, start: Mark | None, done: Done) -> None:
        self.driver = driver
        self.file = file
        self.done = done
        self.start = start
        self.byte = start.byte if start else 0
        self.line = start.line if start else 0
        self.head = b""
        self.tail = b""

    def batches(self) -> Iterator[Batch]:
        """Whole lines; the last one without its newline only when ``eof`` says so or the content is final."""
        with open_input(self.file) as stream:
            self._continue(stream)
            if self.file.compression is None:
                yield from self._pieces(stream)
                return
            stored_bytes = self.file.status().st_size
            last: Batch | None = None
            for batch in self._pieces(stream):
                if last is not None:
                    yield last
                last = batch
            if last is not None:
                # Only the batch that reaches the end may say that all of the packed bytes are behind it.
                self.done.files[self.file.locator]["stored_bytes"] = stored_bytes
                yield replace(last, position=self.done.position())

    def _pieces(self, stream: BinaryIO) -> Iterator[Batch]:
        lines = WholeLines(stream, self.driver.context.max_record_bytes)
        # Nothing can be added to packed content or to standard input once it has ended.
        final = self.file.is_stdin or self.file.compression is not None
        for piece in lines.read(unterminated=final or self.driver.config.eof == "accept"):
            yield self._oversized(piece) if isinstance(piece, OversizedLine) else self._lines(piece)

    def _continue(self, stream: BinaryIO) -> None:
        self.head, self.tail = windows(stream, self.file, self.byte)
        # The files were matched before the first was read, which may be hours ago.
        if self.start is not None and not is_made_from(self.start, self.head, self.tail):
            raise TransientError(
                f"input {self.file.locator} was replaced while this run was reading; nothing was lost, run it again",
                code="FILE.REPLACED_MEANWHILE",
            )

    def _lines(self, block: bytes) -> Batch:
        units = block.split(b"\n")
        terminated = not units[-1]
        if terminated:
            units.pop()
        endings = line_endings(units, terminated=terminated) if b"\r" in block or not terminated else 1
        return self._batch(units, endings, block, len(block), None)

    def _oversized(self, line: OversizedLine) -> Batch:
        return self._batch([line.head], 1, line.last, line.raw_bytes, Oversized(line.length, line.sha256))

    def _batch(
        self, units: list[bytes], endings: int | list[int], last: bytes, raw_bytes: int, oversized: Oversized | None
    ) -> Batch:
        config = self.driver.config
        locators = LineRange(
            locator=self.file.locator,
            content_type=config.content_type or self.driver.content_type,
            filename=config.filename or (None if self.file.is_stdin else self.file.path.name),
            first_line=self.line + 1,
            first_byte=self.byte,
            endings=endings,
            length=oversized.length if oversized else None,
            sha256=oversized.sha256 if oversized else None,
        )
        self.byte += raw_bytes
        self.line += len(units)
        if len(self.head) < WINDOW_BYTES:
            self.head = (self.head + (last if raw_bytes <= len(last) else units[0]))[:WINDOW_BYTES]
        self.tail = (self.tail + last)[-WINDOW_BYTES:]
        self.done.files[self.file.locator] = Mark(self.byte, self.line, sha256(self.head), sha256(self.tail)).to_json()
        return Batch(units, self.driver.unit_kind, locators, self.done.position(), raw_bytes, oversized)


def line_endings(units: list[bytes], *, terminated: bool) -> int | list[int]:
    """Take the carriage returns off *units* and say how many bytes each line ending had."""
    endings = [1] * len(units)
    if not terminated:
        endings[-1] = 0
    for n, unit in enumerate(units):
        if unit.endswith(b"\r"):
            units[n] = unit[:-1]
            endings[n] += 1
    return endings
