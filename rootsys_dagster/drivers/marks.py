"""How far each file was read, and how one is known again after it grew, moved or was replaced.

Position: ``{"files": {"data/mes.jsonl": {"byte": 700, "line": 2, "head_sha256": …, "tail_sha256": …}}}``. The hashes
cover the first and the last 4 KiB before ``byte``, so that a truncated, rotated or rewritten file is never continued.
"""

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rootsys_dagster.core.errors import PermanentError, RootsysError
from rootsys_dagster.drivers.files import InputFile, open_input, read_exactly, skip

WINDOW_BYTES = 4096


class SourceReplacedError(PermanentError):
    """A file is no longer the one that was read: its committed beginning has changed or is gone."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a file was read, and how to know it again. Bytes and lines are those of the unpacked content."""

    byte: int
    line: int
    head_sha256: str
    tail_sha256: str
    stored_bytes: int | None = None
    """Size of a packed file when it was read to its end: an unchanged one need not be unpacked again."""

    def to_json(self) -> dict[str, Any]:
        """JSON members of the position."""
        members: dict[str, Any] = {
            "byte": self.byte,
            "line": self.line,
            "head_sha256": self.head_sha256,
            "tail_sha256": self.tail_sha256,
        }
        return members if self.stored_bytes is None else members | {"stored_bytes": self.stored_bytes}


def marks_of(resume: dict[str, Any] | None) -> dict[str, Mark]:
    """The marks of a position by locator."""
    return {locator: Mark(**members) for locator, members in (resume or {}).get("files", {}).items()}


@dataclass(frozen=True, slots=True)
class Starts:
    """Where a read begins: the mark of each file that is continued, and the marks of files that are not there now."""

    continued: dict[str, Mark]
    absent: dict[str, Mark]


def match_marks(files: list[InputFile], marks: dict[str, Mark], root: Path, *, on_replace: str) -> Starts:
    """Find every committed file again, rotated ones under their new names.

    A file whose committed beginning has changed is looked for, by content, under the other names. Found there, it was
    rotated and is continued there, while its old name counts as a new file. Not so when the old name is only not asked
    for any more and its file is still there: then the other one is a file of its own that begins alike.

    Args:
        root: relative names start here.
    Raises:
        SourceReplacedError: the old content is nowhere and ``on_replace`` is ``fail``.
    """
    names = {file.locator for file in files}
    continued = {
        file.locator: marks[file.locator] for file in files if file.locator in marks and fits(file, marks[file.locator])
    }
    lost: dict[str, Mark] = {}
    # A shift such as log -> log.1 -> log.2 gives known names new content, so any file not continued is a candidate.
    beginnings = _Beginnings([file for file in files if file.locator not in continued])
    for name, mark in marks.items():
        if continued.get(name) is mark:
            continue
        homes = [file for file in beginnings.like(mark) if file.locator not in continued] if mark.byte else []
        if name not in names:
            homes = _not_beside(InputFile(root / name, name), mark, homes)
        home = next((file for file in homes if fits(file, mark)), None)
        if home is None:
            lost[name] = mark
        else:
            continued[home.locator] = mark
    for name, mark in lost.items():
        # A name that now holds another known content was rotated over: what it held has been deleted like any file.
        if name in names and name not in continued and on_replace == "fail":
            raise SourceReplacedError(
                f"input {name}: the first {mark.byte} bytes, already committed, are no longer there (truncated, "
                "rotated or rewritten); nothing was read. If the content now is new data, set driver.on_replace to "
                '"restart"; to follow rotated files, name them too (a pattern such as app.log*)',
                code="FILE.REPLACED",
            )
    absent = {name: mark for name, mark in lost.items() if name not in names}
    return Starts(continued, absent)


class _Beginnings:
    """The first 4 KiB of files, read when first asked for: thousands of marks look for thousands of files."""

    def __init__(self, files: list[InputFile]) -> None:
        self._files = files
        self._heads: list[bytes] | None = None
        self._by_sha256: dict[int, dict[str, list[InputFile]]] = {}

    def like(self, mark: Mark) -> list[InputFile]:
        """Those of the files that begin as *mark* says, in order."""
        length = min(WINDOW_BYTES, mark.byte)
        if length not in self._by_sha256:
            if self._heads is None:
                self._heads = [_head(file) for file in self._files]
            found = self._by_sha256[length] = defaultdict[str, list[InputFile]](list)
            for file, head in zip(self._files, self._heads, strict=True):
                found[sha256(head[:length])].append(file)
        return self._by_sha256[length].get(mark.head_sha256, [])


def _head(file: InputFile) -> bytes:
    with open_input(file) as stream:
        return read_exactly(stream, WINDOW_BYTES)


def _not_beside(old: InputFile, mark: Mark, files: list[InputFile]) -> list[InputFile]:
    """Those of *files* that *old* may be now: all when it is gone, else only itself under another spelling."""
    try:
        if not (files and old.path.is_file() and fits(old, mark)):
            return files
    except (OSError, RootsysError):
        return files
    return [file for file in files if os.path.samestat(file.status(), old.status())]


def sha256(data: bytes) -> str:
    """Lower-case hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def fits(file: InputFile, mark: Mark) -> bool:
    """Whether *file* still begins with the content that *mark* was made from."""
    if file.compression is None and file.status().st_size < mark.byte:
        return False
    with open_input(file) as stream:
        return is_made_from(mark, *windows(stream, file, mark.byte))


def is_made_from(mark: Mark, head: bytes, tail: bytes) -> bool:
    """Whether *mark* was made from content with these windows."""
    return sha256(head) == mark.head_sha256 and sha256(tail) == mark.tail_sha256


def windows(stream: BinaryIO, file: InputFile, byte: int) -> tuple[bytes, bytes]:
    """The first and the last 4 KiB of the content before *byte*, where the stream, freshly opened, stands then."""
    window = min(WINDOW_BYTES, byte)
    head = read_exactly(stream, window)
    skip(stream, file, byte - 2 * window)
    # Below two windows the end of the head is the beginning of the tail.
    rest = read_exactly(stream, byte - max(window, byte - window))
    return head, (head + rest)[-WINDOW_BYTES:]
