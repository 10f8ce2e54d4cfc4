"""A JSONL file that holds exactly the committed lines. Mark: its path, its length, and the hash of its last 4 KiB."""

import hashlib
import os
from collections.abc import Iterable
from typing import Any, BinaryIO

from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.core.ports import DeadLetterSink, SinkPlace
from rootsys_dagster.core.registry import SINKS

TAIL_BYTES = 4096


@SINKS.register("file")
class FileSink(DeadLetterSink):
    """Appends; what a crash left behind the last mark is cut off first, so that no line stands there twice."""

    def __init__(self, place: SinkPlace) -> None:
        super().__init__(place)
        self.path = place.path
        self._stream: BinaryIO | None = None

    def resume(self, mark: dict[str, Any]) -> bool:
        """Cut the file back to the mark; False when it is another file, or was written over or cut since."""
        length = mark.get("bytes", 0)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            stream = self._stream = self._stream or self.path.open("r+b" if self.path.exists() else "w+b")
            known = mark.get("path") in (None, str(self.path.absolute()))
            if not known or os.fstat(stream.fileno()).st_size < length:
                return False
            if mark and _tail_sha256(stream, length) != mark.get("tail_sha256"):
                return False
            stream.truncate(length)
            stream.seek(length)
        except OSError as error:
            raise self._unavailable(error) from error
        return True

    def write(self, lines: Iterable[bytes], *, run_id: str, commit_seq: int) -> int:
        """Append the lines."""
        assert self._stream is not None
        written = 0
        try:
            for line in lines:
                self._stream.write(line)
                written += 1
        except OSError as error:
            raise self._unavailable(error) from error
        return written

    def mark(self) -> dict[str, Any]:
        """Path and length, synced."""
        assert self._stream is not None
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            length = self._stream.tell()
            tail_sha256 = _tail_sha256(self._stream, length)
            return {"path": str(self.path.absolute()), "bytes": length, "tail_sha256": tail_sha256}
        except OSError as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            try:
                self._stream.close()
            except OSError as error:
                raise self._unavailable(error) from error
            finally:
                self._stream = None

    def _unavailable(self, error: OSError) -> TransientError:
        return TransientError(
            f"cannot write {self.path}: {error.strerror}; the lines are safe in the commit log, the next run "
            "writes them",
            code="SINK.UNAVAILABLE",
        )


def _tail_sha256(stream: BinaryIO, length: int) -> str:
    """The hash of what stands before *length*, where the stream is left."""
    begin = max(length - TAIL_BYTES, 0)
    stream.seek(begin)
    return hashlib.sha256(stream.read(length - begin)).hexdigest()
