"""Fetch ahead of normalise: what the source has after the last commit goes into the spool."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rootsys_dagster.core.errors import ConfigError, PermanentError, RootsysError, TransientError
from rootsys_dagster.core.ports import Batch
from rootsys_dagster.core.position import Position
from rootsys_dagster.log.spool import SpoolWriter, read_batches, remove_spool
from rootsys_dagster.log.store import preflight
from rootsys_dagster.pipeline.run import Line, limit_reached, refuse_to_split


@dataclass(frozen=True, slots=True)
class Spooled:
    """A handle on what one run fetched: small, plain JSON."""

    path: str
    sha256: str
    start: Position | None
    """Where the fetch began; the batches are of use only to a run that continues there."""
    batches: int
    units: int
    raw_bytes: int
    fetch_s: float
    failure: dict[str, Any] | None = None
    """Why the fetch ended before its source did; what came before that is in the spool. See :meth:`raise_failure`."""

    def raise_failure(self) -> None:
        """Raise what ended the fetch, if anything did: to be called when the batches are committed."""
        if self.failure is None:
            return
        message, code = self.failure["message"], self.failure["code"]
        if self.failure["is_transient"]:
            raise TransientError(message, retry_after_s=self.failure["retry_after_s"], code=code)
        raise PermanentError(message, code=code)

    def to_json(self) -> dict[str, Any]:
        """Plain members."""
        return asdict(self)


def fetch_to_spool(line: Line, run_id: str) -> Spooled:
    """Read the source from the last commit on, within the limits of one run.

    A source that fails on the way leaves its failure in the handle, for after the commit of what came before.

    Raises:
        RootsysError: whatever the driver raises before its first batch; the spool of the run is removed.
    """
    preflight(line.log.state_root)
    head = line.log.head()
    start = head.end if head else None
    fetch = _Fetch(line)
    writer = SpoolWriter(line.log, run_id)
    try:
        path, sha256 = writer.write(fetch.batches(start))
    except BaseException:
        remove_spool(writer.folder)
        raise
    elapsed_s = time.monotonic() - fetch.began_s
    return Spooled(str(path), sha256, start, fetch.count, fetch.units, fetch.raw_bytes, elapsed_s, fetch.failure)


def read_spool(spooled: Spooled) -> Iterator[Batch]:
    """The batches that were fetched, in order.

    Raises:
        SpoolDamagedError: the file is gone or changed.
    """
    return read_batches(Path(spooled.path), spooled.sha256)


def drop_spool(spooled: Spooled) -> None:
    """Remove the spool of a run whose batches are committed."""
    remove_spool(Path(spooled.path).parent)


class _Fetch:
    def __init__(self, line: Line) -> None:
        self.line = line
        self.count = self.units = self.raw_bytes = 0
        self.failure: dict[str, Any] | None = None
        self.began_s = time.monotonic()

    def batches(self, start: Position | None) -> Iterator[Batch]:
        limits = self.line.interface.limits
        for batch in self._until_failure(self.line.driver.read(start)):
            self.count += 1
            self.units += len(batch.units)
            self.raw_bytes += batch.raw_bytes
            yield batch
            if self.line.ends is not None and batch.resumable and self.line.ends():
                return
            limit = limit_reached(limits, self.units, self.raw_bytes, time.monotonic() - self.began_s)
            if limit:
                refuse_to_split(batch, limit, self.line.interface.name)
                return

    def _until_failure(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; when the source fails behind the last place where a read can be resumed, they end there."""
        ends_well = False
        try:
            for batch in batches:
                yield batch
                ends_well = batch.resumable
        except RootsysError as error:
            # In the middle of what cannot be split nothing can be kept, and a file that has to be mended is no way on.
            if not ends_well or isinstance(error, ConfigError):
                raise
            is_transient = isinstance(error, TransientError)
            self.failure = {
                "message": error.message,
                "code": error.code,
                "is_transient": is_transient,
                "retry_after_s": error.retry_after_s if is_transient else None,
            }
