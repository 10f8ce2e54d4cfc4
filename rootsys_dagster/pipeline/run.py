"""One run of one interface: read from the last commit, normalise, commit again and again until the source is done."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import FencedError, RootsysError
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.policy import Limits
from rootsys_dagster.core.ports import Batch, Driver, DriverContext
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.log.commit import CommitLog, LogWriter, StreamId
from rootsys_dagster.log.manifest import ConservationError, Counts, Manifest, Mode
from rootsys_dagster.pipeline.normalise import Normaliser

Progress = Callable[[Counts], None]
"""Called after every batch with the sums of the run so far; returns nothing and must be quick."""


@dataclass(frozen=True, slots=True)
class Line:
    """An interface, where its records go, and how its source is read."""

    interface: Interface
    interface_sha256: str
    log: CommitLog
    driver: Driver[DriverConfig]
    source: str


@dataclass(slots=True)
class RunReport:
    """What one run did. ``stopped`` names the limit or request that ended it before the source was done."""

    run_id: str
    start: Position | None
    end: Position | None
    manifests: list[Manifest] = field(default_factory=list[Manifest])
    counts: Counts = field(default_factory=Counts)
    elapsed_s: float = 0.0
    stopped: str | None = None


def open_line(entry: InterfaceFile, project: Project, source: str | None = None) -> Line:
    """The line of one interface file of a project.

    Raises:
        ConfigError: the file has problems, or no driver of its kind is part of this version.
    """
    interface = entry.require()
    context = DriverContext(project.root, project.data_roots, interface.limits.max_record_bytes)
    driver = DRIVERS.get(interface.driver.kind)(interface.driver, context)
    log = CommitLog(project.state_root, StreamId(interface.name, interface.version))
    return Line(interface, entry.sha256, log, driver, source or interface.name)


def run_interface(
    entry: InterfaceFile,
    project: Project,
    *,
    run_id: str,
    source: str | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> RunReport:
    """Fetch, normalise and commit everything that the source has after the last commit."""
    line = open_line(entry, project, source)
    with line.log.writer(run_id) as writer:
        return ingest(line, writer, line.driver.read(writer.position), progress=progress, stop=stop)


def run_fetched(
    line: Line,
    batches: Iterable[Batch],
    fetched_from: Position | None,
    *,
    run_id: str,
    progress: Progress | None = None,
) -> RunReport:
    """Normalise and commit batches that were fetched before, those that an earlier try has committed left out.

    Args:
        fetched_from: the position that the fetch began at.
    Raises:
        FencedError: another run has committed since the fetch.
    """
    with line.log.writer(run_id) as writer:
        if writer.position != fetched_from:
            batches = _after(batches, writer, line.interface.name)
        return ingest(line, writer, batches, progress=progress)


def _after(batches: Iterable[Batch], writer: LogWriter, name: str) -> Iterable[Batch]:
    remaining = iter(batches)
    for batch in remaining:
        if batch.position == writer.position:
            return remaining
    raise FencedError(f"{name}: another run committed after this one fetched; nothing was lost, run it again")


def ingest(
    line: Line,
    writer: LogWriter,
    batches: Iterable[Batch],
    *,
    mode: Mode = "ingest",
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> RunReport:
    """Normalise *batches* and commit them every so often, by ``commit_every``.

    Raises:
        BlockedError: ``on_fail`` is ``block`` and a unit was rejected; earlier commits of the run stay.
    """
    run = _OpenRun(line, writer, mode)
    for batch in _until_failure(batches, run):
        run.take(batch)
        if progress is not None:
            progress(run.total)
        run.report.stopped = "stop requested" if stop is not None and stop() else run.limit_reached()
        if run.report.stopped:
            break
    return run.finish()


def _until_failure(batches: Iterable[Batch], run: "_OpenRun") -> Iterator[Batch]:
    """The batches; when the source fails, what came before is committed and the failure goes on."""
    remaining = iter(batches)
    while True:
        try:
            batch = next(remaining)
        except StopIteration:
            return
        except RootsysError:
            run.commit()
            raise
        yield batch


class _OpenRun:
    def __init__(self, line: Line, writer: LogWriter, mode: Mode) -> None:
        self.line = line
        self.writer = writer
        self.mode: Mode = mode
        self.normaliser = Normaliser(line.interface, line.source)
        self.report = RunReport(writer.run_id, writer.position, writer.position)
        self.total = Counts()
        self.open = Counts()
        self.end: Position | None = None
        self.began_s = self.committed_s = time.monotonic()

    def take(self, batch: Batch) -> None:
        out = self.normaliser.normalise(batch)
        if out.records:
            self.writer.write("records", out.records, out.counts.accepted, out.keys)
        if out.dead_letters:
            self.writer.write("dead_letters", out.dead_letters, out.counts.dead_letters)
        self.open.add(out.counts)
        self.total.add(out.counts)
        # A replay brings back what was fetched before: it must not move the position of the source.
        self.end = (self.writer.position or {}) if self.mode == "replay" else batch.position
        every = self.line.interface.commit_every
        if (
            self.open.fetched >= every.records
            or self.open.raw_bytes >= every.bytes
            or time.monotonic() - self.committed_s >= every.seconds
        ):
            self.commit()

    def commit(self) -> None:
        if self.end is None:
            return
        self.check_span(self.end)
        manifest = self.writer.commit(
            end=self.end, counts=self.open, interface_sha256=self.line.interface_sha256, mode=self.mode
        )
        self.report.manifests.append(manifest)
        self.report.end = manifest.end
        self.open, self.end = Counts(), None
        self.committed_s = time.monotonic()

    def check_span(self, end: Position) -> None:
        span = self.line.driver.span(self.writer.position, end) if self.mode == "ingest" else None
        if span is not None and span != self.open.raw_bytes:
            raise ConservationError(
                f"{self.line.interface.name}: {self.open.raw_bytes} bytes were read, the position moves by {span}; "
                "the commit was not made",
                code="LOG.CONSERVATION",
            )

    def limit_reached(self) -> str | None:
        elapsed_s = time.monotonic() - self.began_s
        return limit_reached(self.line.interface.limits, self.total.fetched, self.total.raw_bytes, elapsed_s)

    def finish(self) -> RunReport:
        self.commit()
        self.report.counts = self.total
        self.report.elapsed_s = time.monotonic() - self.began_s
        return self.report


def limit_reached(limits: Limits, units: int, raw_bytes: int, elapsed_s: float) -> str | None:
    """The name of the first run limit that is reached, None when the run may go on."""
    values: dict[str, tuple[float, int | None]] = {
        "limits.max_run_records": (units, limits.max_run_records),
        "limits.max_run_bytes": (raw_bytes, limits.max_run_bytes),
        "limits.max_run_s": (elapsed_s, limits.max_run_s),
    }
    return next((name for name, (value, most) in values.items() if most is not None and value >= most), None)
