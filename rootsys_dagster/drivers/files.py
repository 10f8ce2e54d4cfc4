"""What the file drivers share: which files an ``input`` names, how they are opened, and how one is known again.

Position: ``{"files": {"data/mes.jsonl": {"byte": 700, "line": 2, "head_sha256": …, "tail_sha256": …}}}``. The hashes
cover the first and the last 4 KiB before ``byte``, so that a truncated, rotated or rewritten file is never continued.
"""

import errno
import glob
import hashlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import ConfigError, PermanentError, RootsysError
from rootsys_dagster.core.paths import inside_roots, is_utf8
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.spelling import shown

WINDOW_BYTES = 4096
STDIN = "-"
COMPRESSIONS: dict[str, Literal["gzip", "zstd"]] = {".gz": "gzip", ".zst": "zstd"}
GLOB_CHARACTERS = frozenset("*?[")


class SourceReplacedError(PermanentError):
    """A file is no longer the one that was read: its committed beginning has changed or is gone."""


def unreadable(locator: str, error: OSError) -> ConfigError:
    """The error for an input that the operating system refuses."""
    return ConfigError(f"input {locator} cannot be read: {error.strerror}", code="FILE.UNREADABLE")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of an ``input``; ``locator`` is its path as people know it."""

    path: Path
    locator: str

    @property
    def compression(self) -> Literal["gzip", "zstd"] | None:
        """How the content is packed, by the ending of the name."""
        return COMPRESSIONS.get(self.path.suffix)

    @property
    def is_stdin(self) -> bool:
        """Whether this stands for standard input."""
        return self.path == Path(STDIN)

    def status(self) -> os.stat_result:
        """Size and times.

        Raises:
            ConfigError: the file went away after it was found.
        """
        try:
            return self.path.stat()
        except OSError as error:
            raise unreadable(self.locator, error) from error


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


def input_files(config: DriverConfig, context: DriverContext) -> list[InputFile]:
    """The files that ``driver.input`` names, sorted by path; a pattern may match none.

    Raises:
        ConfigError: there is no input, or a named file is absent, not a regular file or outside the data roots.
    """
    raw = config.input
    if raw is None or not raw.strip():
        raise ConfigError("driver.input names no file; set it, or pass --input", code="FILE.INPUT_MISSING")
    if raw == STDIN:
        return [InputFile(Path(STDIN), "stdin")]
    literal = context.root / raw
    try:
        if GLOB_CHARACTERS.isdisjoint(raw) or literal.exists():
            return [_input_file(raw, literal, context)]
        found = sorted(glob.glob(raw, root_dir=context.root, recursive=True))
        matches = [(name, path) for name in found if (path := context.root / name).is_file()]
        folder = _fixed_part(literal)
        folder_exists = bool(found) or folder.is_dir()
    except OSError as error:
        raise unreadable(raw, error) from error
    except ValueError as error:
        raise ConfigError(f"input {shown(raw)} is not a path: it holds a NUL", code="PATH.UNUSABLE") from error
    if not folder_exists:
        raise ConfigError(
            f"input {raw} matches nothing: folder {folder} does not exist; relative paths start at {context.root}",
            code="FILE.NOT_FOUND",
        )
    return [_input_file(name, path, context) for name, path in matches]


def check_inputs(config: DriverConfig, context: DriverContext) -> None:
    """Raise ConfigError unless every named input can be opened."""
    for file in input_files(config, context):
        if not file.is_stdin:
            with open_input(file):
                pass


def paths_of(files: Iterable[InputFile]) -> list[Path]:
    """Where *files* are, standard input left out."""
    return [file.path for file in files if not file.is_stdin]


def _fixed_part(pattern: Path) -> Path:
    parts = pattern.parts
    stop = next(n for n, part in enumerate(parts) if not GLOB_CHARACTERS.isdisjoint(part))
    return Path(*parts[:stop])


def _input_file(raw: str, path: Path, context: DriverContext) -> InputFile:
    resolved = inside_roots(Path(raw), context.root, context.data_roots, "input") if context.data_roots else path
    if not is_utf8(raw):
        # Locators and positions are JSON, which cannot carry such a name.
        message = f"input {os.fsencode(raw)!r}: the name is not UTF-8; rename the file"
        raise ConfigError(message, code="FILE.NAME_NOT_UTF8")
    try:
        mode = resolved.stat().st_mode
    except FileNotFoundError:
        raise ConfigError(
            f"input {raw} does not exist; relative paths start at {context.root}", code="FILE.NOT_FOUND"
        ) from None
    except OSError as error:
        raise unreadable(raw, error) from error
    if not stat.S_ISREG(mode):
        kind = (
            "a folder; name a file, or a pattern such as folder/*.jsonl" if stat.S_ISDIR(mode) else "not a regular file"
        )
        raise ConfigError(f"input {raw} is {kind}", code="FILE.NOT_REGULAR")
    return InputFile(resolved, raw)


@contextmanager
def open_input(file: InputFile) -> Iterator[BinaryIO]:
    """Open *file* for reading its unpacked content.

    Raises:
        ConfigError: it cannot be opened or read.
        PermanentError: packed content is damaged or cut short; whole units before the damage were handed over.
    """
    try:
        if file.is_stdin:
            # Unbuffered: what a slow producer has sent is handed over at once.
            yield cast(BinaryIO, getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))
            return
        with file.path.open("rb", buffering=0) as stream:
            if file.compression is None:
                yield cast(BinaryIO, stream)
            else:
                import pyarrow as pa

                with pa.CompressedInputStream(stream, file.compression) as unpacked:
                    yield cast(BinaryIO, unpacked)
    except OSError as error:
        if error.errno in (None, 0, errno.EIO):
            raise PermanentError(
                f"input {file.locator}: {error}; what was read before is kept, replace the file and run again",
                code="FILE.DAMAGED",
            ) from error
        raise unreadable(file.locator, error) from error


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


def skip(stream: BinaryIO, file: InputFile, count: int) -> None:
    """Move *count* bytes of unpacked content ahead: a seek in a plain file, reading in a packed one."""
    if file.compression is None and count > 0:
        stream.seek(count, os.SEEK_CUR)
        return
    while count > 0 and (data := stream.read(min(count, 1 << 16))):
        count -= len(data)


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    """The next *count* bytes, fewer only at the end of the content."""
    parts: list[bytes] = []
    while count > 0 and (data := stream.read(count)):
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


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
    strangers = [file for file in files if file.locator not in continued]
    for name, mark in marks.items():
        if continued.get(name) is mark:
            continue
        homes = strangers if name in names else _not_beside(InputFile(root / name, name), mark, strangers)
        home = next((file for file in homes if mark.byte and fits(file, mark)), None)
        if home is None:
            lost[name] = mark
        else:
            continued[home.locator] = mark
            strangers.remove(home)
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


def _not_beside(old: InputFile, mark: Mark, files: list[InputFile]) -> list[InputFile]:
    """Those of *files* that *old* may be now: all when it is gone, else only itself under another spelling."""
    try:
        if not (files and old.path.is_file() and fits(old, mark)):
            return files
    except (OSError, RootsysError):
        return files
    return [file for file in files if os.path.samestat(file.status(), old.status())]
