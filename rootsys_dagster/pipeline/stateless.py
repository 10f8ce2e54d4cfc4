"""The reference's run: from the beginning of the source into plain files, nothing remembered.

A file is written under a temporary name and gets its own name at the end, so a run that fails leaves what was there.
Source: spec/1-reference.md 1.10 and 1.13.
"""

import os
import stat
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Protocol, Self

from rootsys_dagster.core.errors import ConfigError, PermanentError
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.ports import Batch, DeadLetterSink
from rootsys_dagster.log.manifest import Counts
from rootsys_dagster.log.store import sync_folder
from rootsys_dagster.pipeline.normalise import Normaliser
from rootsys_dagster.pipeline.run import Progress, limit_reached

BUFFER_BYTES = 1 << 20
FILE_MODE = 0o644


class OutputError(PermanentError):
    """An output cannot be written; what it held before the run is as it was."""


@dataclass(slots=True)
class StatelessReport:
    """What one run did. ``stopped`` names the limit or the request that ended it before the source was done."""

    counts: Counts = field(default_factory=Counts)
    elapsed_s: float = 0.0
    stopped: str | None = None
    published: bool = False


class Output(Protocol):
    """Takes lines; they show only after :meth:`publish`. Leaving the block without it drops them."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, data: bytes) -> None:
        """Add whole lines."""
        ...

    def publish(self) -> None:
        """Make the lines visible and durable."""
        ...


def run_stateless(
    interface: Interface,
    source: str,
    batches: Iterable[Batch],
    records: Output,
    dead_letters: Output,
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> StatelessReport:
    """Normalise *batches* into two outputs, which are published together at the end, or not at all.

    Raises:
        BlockedError: ``on_fail`` is ``block`` and a unit was rejected; nothing was published.
        OutputError: an output cannot be written.
    """
    report = StatelessReport()
    normaliser = Normaliser(interface, source)
    began_s = time.monotonic()
    with dead_letters, records:
        for batch in batches:
            out = normaliser.normalise(batch)
            records.write(out.records)
            dead_letters.write(out.dead_letters)
            report.counts.add(out.counts)
            if progress is not None:
                progress(report.counts)
            counts, report.elapsed_s = report.counts, time.monotonic() - began_s
            report.stopped = limit_reached(interface.limits, counts.fetched, counts.raw_bytes, report.elapsed_s)
            if report.stopped:
                break
        report.elapsed_s = time.monotonic() - began_s
        if stop is not None and stop():
            report.stopped = "stop requested"
            return report
        report.counts.check_conservation()
        # Records last: whoever waits for them finds the dead letters of the same run.
        dead_letters.publish()
        records.publish()
        report.published = True
    return report


def default_dead_letter_path(output: Path, kind: Literal["file", "sqlite"]) -> Path:
    """``out.jsonl`` gives ``out.dlq.jsonl``, for SQLite ``out.dlq.db.jsonl``; ``out`` gives ``out.dlq``."""
    return output.with_name(f"{output.stem}{'.dlq' if kind == 'file' else '.dlq.db'}{output.suffix}")


class FileOutput:
    """A file that is replaced in one step; with *append* it is added to, and cut back when the run fails."""

    def __init__(self, path: Path, *, append: bool = False) -> None:
        self.path = path
        self.append = append

    def __enter__(self) -> Self:
        with _write_errors(self.path), ExitStack() as opened:
            # A link is followed, so that what it leads to is replaced and not the link.
            self._final = self.path.resolve()
            status = self._final.stat() if self._final.exists() else None
            self._final.parent.mkdir(parents=True, exist_ok=True)
            self._temporary: Path | None = None
            if status is not None and not stat.S_ISREG(status.st_mode):
                self._stream = opened.enter_context(_open_special(self.path, status))
            elif self.append:
                self._stream = opened.enter_context(self._final.open("ab", BUFFER_BYTES))
            else:
                temporary = self._final.with_name(f".{self._final.name}.{os.getpid()}.tmp")
                self._stream = opened.enter_context(temporary.open("wb", BUFFER_BYTES))
                self._temporary = temporary
                os.fchmod(self._stream.fileno(), status.st_mode & 0o777 if status else FILE_MODE & ~_umask())
            self._length = self._stream.tell() if self.append and self._stream.seekable() else None
            self._published = False
            self._opened = opened.pop_all()
        return self

    def write(self, data: bytes) -> None:
        """Add whole lines."""
        if data:
            with _write_errors(self.path):
                self._stream.write(data)

    def publish(self) -> None:
        """Sync, give the file its name, sync the folder."""
        with _write_errors(self.path):
            self._stream.flush()
            if self._temporary is not None or self._length is not None:
                os.fsync(self._stream.fileno())
            if self._temporary is not None:
                self._temporary.replace(self._final)
                sync_folder(self._final.parent)
            self._published = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._published:
            self._opened.close()
            return
        # What cannot be flushed is dropped anyway.
        with suppress(OSError):
            self._opened.close()
        with _write_errors(self.path):
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)
            elif self._length is not None:
                os.truncate(self._final, self._length)


class SinkOutput:
    """Lines wait in a nameless file until the run is done and then go to a dead-letter sink at once."""

    def __init__(self, sink: DeadLetterSink, path: Path, run_id: str) -> None:
        self.sink = sink
        self.path = path
        self.run_id = run_id

    def __enter__(self) -> Self:
        with _write_errors(self.path):
            self._waiting = tempfile.TemporaryFile()
        return self

    def write(self, data: bytes) -> None:
        """Add whole lines."""
        with _write_errors(self.path):
            self._waiting.write(data)

    def publish(self) -> None:
        """Hand every line to the sink."""
        with _write_errors(self.path):
            self._waiting.seek(0)
        self.sink.resume({})
        self.sink.write(self._waiting, run_id=self.run_id, commit_seq=0)
        self.sink.mark()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.close()
        self.sink.close()


def _open_special(path: Path, status: os.stat_result) -> IO[bytes]:
    """A terminal, a pipe or /dev/null is written as it is; nothing can be renamed over it."""
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"output {path} is a folder; name a file in it", code="OUTPUT.NOT_A_FILE")
    # Without the flag, opening a pipe waits for somebody to read from it.
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb", BUFFER_BYTES)


def _umask() -> int:
    # The only way to read it is to set it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@contextmanager
def _write_errors(path: Path) -> Generator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {(error.strerror or 'input/output error').lower()}; "
            "the run published nothing, mend that and run it again",
            code="OUTPUT.WRITE_FAILED",
        ) from error
