"""The reference's run: from the beginning of the source into plain files, nothing remembered.

A file is written under a temporary name and gets its own name at the end, so a run that fails leaves what was there.
Source: spec/1-reference.md 1.10 and 1.13.
"""

import os
import stat
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Protocol

from rootsys_dagster.core.errors import ConfigError, PermanentError, TransientError
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.ports import Batch, DeadLetterSink
from rootsys_dagster.log.manifest import Counts
from rootsys_dagster.log.store import create, sync_folder
from rootsys_dagster.pipeline.normalise import Normaliser
from rootsys_dagster.pipeline.run import Progress, limit_reached

BUFFER_BYTES = 1 << 20


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
    """Takes lines that nobody sees before :meth:`publish`; without it they are dropped at the end."""

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
    records_output: AbstractContextManager[Output],
    dead_letters_output: AbstractContextManager[Output],
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
    with dead_letters_output as dead_letters, records_output as records:
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
    """Lines for one file; what :meth:`publish` does depends on how the file was opened."""

    def __init__(self, path: Path, stream: IO[bytes], publish: Callable[[], None]) -> None:
        self._path = path
        self._stream = stream
        self._publish = publish

    def write(self, data: bytes) -> None:
        """Add whole lines."""
        with _write_errors(self._path):
            self._stream.write(data)

    def publish(self) -> None:
        """Make the lines visible and durable."""
        with _write_errors(self._path):
            self._stream.flush()
            self._publish()


def file_output(path: Path, *, append: bool = False) -> AbstractContextManager[Output]:
    """A file that is replaced in one step; with *append* it is added to, and cut back when the run fails.

    Raises:
        ConfigError: *path* is a folder.
        OutputError: it cannot be written.
    """
    status = path.stat() if path.exists() else None
    if status is not None and (not stat.S_ISREG(status.st_mode) or path.is_relative_to("/dev")):
        return _special(path, status)
    return _appended(path) if append else _replaced(path, status)


@contextmanager
def _replaced(path: Path, status: os.stat_result | None) -> Generator[Output]:
    # A link is followed, so that what it leads to is replaced and not the link.
    final = path.resolve()
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    with _write_errors(path):
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        stream = os.fdopen(create(temporary), "wb", BUFFER_BYTES)

    def publish() -> None:
        if status is not None:
            os.fchmod(stream.fileno(), status.st_mode & 0o7777)
        os.fsync(stream.fileno())
        temporary.replace(final)
        sync_folder(final.parent)

    try:
        yield FileOutput(path, stream, publish)
    finally:
        _close(stream)
        with _write_errors(path):
            temporary.unlink(missing_ok=True)


@contextmanager
def _appended(path: Path) -> Generator[Output]:
    with _write_errors(path):
        stream = path.open("ab", BUFFER_BYTES)
    published = os.fstat(stream.fileno()).st_size

    def publish() -> None:
        nonlocal published
        os.fsync(stream.fileno())
        published = stream.tell()

    try:
        yield FileOutput(path, stream, publish)
    finally:
        _close(stream)
        with _write_errors(path):
            os.truncate(path, published)


@contextmanager
def _special(path: Path, status: os.stat_result) -> Generator[Output]:
    """A terminal, a pipe or /dev/null is written as it is; nothing can be renamed over it."""
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"output {path} is a folder; name a file in it", code="OUTPUT.NOT_A_FILE")
    if stat.S_ISREG(status.st_mode):
        raise ConfigError(f"output {path} leads to a file here; name that file itself", code="OUTPUT.NOT_A_FILE")
    with _write_errors(path):
        # Without the flag, opening a pipe waits for somebody to read from it.
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(descriptor, True)
        stream = os.fdopen(descriptor, "wb", BUFFER_BYTES)
    try:
        yield FileOutput(path, stream, lambda: None)
    finally:
        _close(stream)


@contextmanager
def sink_output(sink: DeadLetterSink, path: Path, run_id: str) -> Generator[Output]:
    """Lines wait in a nameless file until the run is done and then go to a dead-letter sink at once."""
    with _write_errors(path):
        waiting = tempfile.TemporaryFile()  # noqa: SIM115  (closed below; the block above is only for its errors)

    def publish() -> None:
        waiting.seek(0)
        try:
            sink.resume({})
            sink.write(waiting, run_id=run_id, commit_seq=0)
            sink.mark()
        except TransientError as error:
            # A sink takes for granted that there is a commit log to come back to.
            message = f"cannot write dead letters to {path}; the run published nothing, mend that and run it again"
            raise OutputError(message, code=error.code) from error

    try:
        yield FileOutput(path, waiting, publish)
    finally:
        waiting.close()
        sink.close()


def _close(stream: IO[bytes]) -> None:
    # What was not flushed by publish() is dropped, so failing to flush it is no loss.
    with suppress(OSError):
        stream.close()


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
