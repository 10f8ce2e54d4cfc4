"""Whole files: one record per file, the empty file too. A file whose content has changed is a new unit.

Position: ``{"files": {"scan.pdf": {"byte": 3400, "sha256": …, "stored_bytes": …, "mtime_ns": …}}}``: the content that
was last read under each name, and the size and time of its file then.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.ports import Batch, Driver, Oversized
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.registry import DRIVERS, LOCATORS
from rootsys_dagster.drivers.files import InputFile, check_inputs, input_files, open_input, paths_of
from rootsys_dagster.drivers.whole_lines import BLOCK_BYTES, KEPT_BYTES


@LOCATORS.register("file")
@dataclass(frozen=True, slots=True)
class WholeFile:
    """The one unit of a batch is all of a file."""

    locator: str
    content_type: str | None
    filename: str | None
    length: int
    sha256: str

    source_type: ClassVar[str] = "file"

    def positions(self, units: Sequence[bytes]) -> Iterable[bytes]:
        """``{"byte": 0, "length": …, "sha256": …}``."""
        return [b'{"byte":0,"length":%d,"sha256":"%b"}' % (self.length, self.sha256.encode()) for _ in units]

    def to_json(self) -> dict[str, Any]:
        """JSON members for the spool."""
        return {"kind": "file"} | {name: getattr(self, name) for name in self.__slots__}


@DRIVERS.register("binary")
class BinaryDriver(Driver[DriverConfig]):
    """Reads each file that is new or has changed since the last commit."""

    source_type = "file"

    def check(self) -> None:
        """Raise ConfigError unless every named input can be opened."""
        check_inputs(self.config, self.context)

    def files(self) -> Iterable[Path]:
        """The files that ``driver.input`` names now."""
        return paths_of(input_files(self.config, self.context))

    def read(self, resume: Position | None) -> Iterator[Batch]:
        """One batch per file, in the order of their names."""
        done: dict[str, Any] = dict((resume or {}).get("files", {}))
        for file in input_files(self.config, self.context):
            stored = {} if file.is_stdin else _stored(file)
            content, length, sha256 = self._content(file)
            if done.get(file.locator, {}).get("sha256") == sha256 and not file.is_stdin:
                continue
            done[file.locator] = {"byte": length, "sha256": sha256} | stored
            locators = WholeFile(
                locator=file.locator,
                content_type=self.config.content_type or "application/octet-stream",
                filename=self.config.filename or (None if file.is_stdin else file.path.name),
                length=length,
                sha256=sha256,
            )
            oversized = Oversized(length, sha256) if length > self.context.max_record_bytes else None
            yield Batch([content], "binary", locators, {"files": dict(done)}, length, oversized)

    def unread_bytes(self, resume: Position | None) -> int | None:
        """Stored bytes of the files that are new or have changed."""
        files = input_files(self.config, self.context)
        if any(file.is_stdin for file in files):
            return None
        return sum(file.status().st_size for file in files if _is_new(file, resume))

    def head(self, resume: Position | None) -> str | None:
        """Names, sizes and times of the files that differ in one from *resume*; None when there is nothing new."""
        new = [file for file in input_files(self.config, self.context) if _is_new(file, resume)]
        return "|".join(":".join([file.locator, *map(str, _stored(file).values())]) for file in new) or None

    def _content(self, file: InputFile) -> tuple[bytes, int, str]:
        """The content (its beginning when it is above the limit), its length and its hash."""
        kept: list[bytes] = []
        limit = max(self.context.max_record_bytes, KEPT_BYTES)
        length, digest = 0, hashlib.sha256()
        with open_input(file) as stream:
            while data := bytes(stream.read(BLOCK_BYTES)):
                digest.update(data)
                length += len(data)
                if length - len(data) < limit:
                    kept.append(data)
        content = b"".join(kept)
        return (
            (content if length <= self.context.max_record_bytes else content[:KEPT_BYTES]),
            length,
            digest.hexdigest(),
        )


def _stored(file: InputFile) -> dict[str, int]:
    status = file.status()
    return {"stored_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _is_new(file: InputFile, resume: Position | None) -> bool:
    done = (resume or {}).get("files", {}).get(file.locator, {})
    return not _stored(file).items() <= done.items()
