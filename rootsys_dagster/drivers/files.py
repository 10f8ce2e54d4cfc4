"""What the file drivers share: which files an ``input`` names, and how their content is read."""

import errno
import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import ConfigError, PermanentError
from rootsys_dagster.core.paths import inside_roots, is_utf8
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.spelling import shown

STDIN = "-"
COMPRESSIONS: dict[str, Literal["gzip", "zstd"]] = {".gz": "gzip", ".zst": "zstd"}
GLOB_CHARACTERS = frozenset("*?[")


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
