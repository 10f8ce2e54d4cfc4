"""One run of one interface: read from the last commit, normalise, commit again and again until the source is done."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import ConfigError, FencedError, RootsysError
from rootsys_dagster.core.incremental import Window
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.policy import Limits
from rootsys_dagster.core.ports import Batch, Driver, DriverContext
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.core.record import ALREADY_COMMITTED, unit_fingerprint
from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.log.commit import CommitLog, LogWriter, StreamId
from rootsys_dagster.log.manifest import ConservationError, Counts, Manifest, Mode
from rootsys_dagster.pipeline.admission import pause_watch
from rootsys_dagster.pipeline.committed_units import CommittedUnits
from rootsys_dagster.pipeline.normalise import Normaliser

Progress = Callable[[Counts], None]
"""Called after every batch with the sums of the run so far; returns nothing and must be quick."""
Ends = Callable[[], str | None]
"""Asked after every batch: why the run should end there with what it has committed, None to go on; must be quick."""


@dataclass(frozen=True, slots=True)
class Line:
    """An interface, where its records go, and how its source is read."""

    interface: Interface
    interface_sha256: str
    log: CommitLog
    driver: Driver[DriverConfig]
    source: str
    contract_sha256: str | None = None
    ends: Ends | None = None
    """None: only the source and the limits end a run."""


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


def driver_context(interface: Interface, project: Project, window: Window | None = None) -> DriverContext:
    """What the driver of *interface* may know of its surroundings."""
    return DriverContext(
        root=project.root,
        data_roots=project.data_roots,
        max_record_bytes=interface.limits.max_record_bytes,
        name=interface.name,
        version=interface.version,
        state_root=project.state_root,
        secrets_root=project.secrets_root,
        incremental=interface.incremental,
        watermarks=interface.watermarks,
        max_run_s=interface.limits.max_run_s,
        connections=project.connections,
        window=window,
    )


def open_line(entry: InterfaceFile, project: Project, source: str | None = None, window: Window | None = None) -> Line:
    """The line of one interface file of a project.

    Raises:
        ConfigError: the file has problems, or no driver of its kind is part of this version.
    """
    interface = entry.require()
    context = driver_context(interface, project, window)
    driver = DRIVERS.get(interface.driver.kind)(interface.driver, context)
    log = CommitLog(project.state_root, StreamId(interface.name, interface.version))
    source = source or interface.name
    ends = pause_watch(project, entry)
    return Line(interface, entry.sha256, log, driver, source, entry.contract_sha256, ends)


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
        if batch.resumable and batch.position == writer.position:
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
        if stop is not None and stop():
            run.report.stopped = "stop requested"
        elif line.ends is not None and (why := line.ends()):
            run.report.stopped = why
        elif batch.stopped:
            run.report.stopped = batch.stopped
        elif limit := run.limit_reached():
            refuse_to_split(batch, limit, line.interface.name)
            run.report.stopped = limit
        if run.report.stopped:
            break
    else:
        # Whoever asks to stop may end the batches as well.
        run.report.stopped = "stop requested" if stop is not None and stop() else None
    return run.finish()


def refuse_to_split(batch: Batch, limit: str, name: str) -> None:
    """Raise ConfigError when a run that ends with *batch*, by *limit*, could never get any further."""
    if not batch.resumable:
        raise ConfigError(
            f"{name}: {limit} ended the read at a place where it cannot be resumed, so nothing of it was committed; "
            "raise the limit, or read incrementally",
            code="LIMITS.NOT_RESUMABLE",
        )


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
        self.replaces = False
        self.is_split = False
        """Whether the last batch is one that a commit cannot end with."""
        self.asked: dict[str, Any] | None = None
        self.committed = CommittedUnits(writer.log, line.driver, writer.head) if mode == "ingest" else None
        self.commit_s = commit_seconds(line)
        self.began_s = self.committed_s = time.monotonic()

    def take(self, batch: Batch) -> None:
        if batch.replaces or not (batch.resumable or self.is_split):
            # What came before has an end of its own: it must not wait for, or fall with, what cannot be split.
            self.commit()
        self.replaces = self.replaces or batch.replaces
        self.asked = batch.asked or self.asked
        self.is_split = not batch.resumable
        batch, known = self.committed.without_known(batch) if self.committed else (batch, 0)
        out = self.normaliser.normalise(batch)
        out.counts.add(Counts(fetched=sum(batch.skipped.values()), skipped=batch.skipped, warnings=batch.warnings))
        if known:
            out.counts.add(Counts(fetched=known, skipped={ALREADY_COMMITTED: known}))
        if self.committed and batch.units and self.line.driver.remembers_units:
            self.writer.remember(b"".join(map(unit_fingerprint, batch.units)))
        if out.records:
            self.writer.write("records", out.records, out.counts.accepted, out.keys)
        if out.dead_letters:
            self.writer.write("dead_letters", out.dead_letters, out.counts.dead_letters)
        self.open.add(out.counts)
        self.total.add(out.counts)
        # A replay brings back what was fetched before: it must not move the position of the source.
        self.end = (self.writer.position or {}) if self.mode == "replay" else batch.position
        every = self.line.interface.commit_every
        if batch.resumable and (
            self.open.fetched >= every.records
            or self.open.raw_bytes >= every.bytes
            or time.monotonic() - self.committed_s >= self.commit_s
        ):
            self.commit()

    def commit(self) -> None:
        if self.end is None or self.is_split:
            return
        self.check_span(self.end)
        nothing_new = self.end == self.writer.position and not (self.open.accepted or self.open.dead_letters)
        # A source that is read again and has nothing new would otherwise make a commit each time it is asked.
        if not nothing_new or self.replaces or self.mode != "ingest":
            self.publish(self.end)
        self.open, self.end = Counts(), None

    def publish(self, end: Position) -> None:
        manifest = self.writer.commit(
            end=end,
            counts=self.open,
            interface_sha256=self.line.interface_sha256,
            mode=self.mode,
            replaces=self.replaces,
            asked=self.asked,
            contract_sha256=self.line.contract_sha256,
        )
        self.normaliser.committed()
        self.report.manifests.append(manifest)
        self.report.end = manifest.end
        self.replaces = False
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
        if self.is_split and not self.report.stopped:
            raise ConservationError(
                f"{self.line.interface.name}: the source ended in the middle of what cannot be split; "
                "the commit was not made",
                code="LOG.CONSERVATION",
            )
        self.commit()
        self.report.counts = self.total
        self.report.elapsed_s = time.monotonic() - self.began_s
        return self.report


def commit_seconds(line: Line) -> float:
    """How long a run keeps what it has read: what the interface file says, else what its driver does."""
    every = line.interface.commit_every
    given = "seconds" in every.model_fields_set
    return every.seconds if given or line.driver.commit_s is None else line.driver.commit_s


def limit_reached(limits: Limits, units: int, raw_bytes: int, elapsed_s: float) -> str | None:
    """The name of the first run limit that is reached, None when the run may go on."""
    values: dict[str, tuple[float, int | None]] = {
        "limits.max_run_records": (units, limits.max_run_records),
        "limits.max_run_bytes": (raw_bytes, limits.max_run_bytes),
        "limits.max_run_s": (elapsed_s, limits.max_run_s),
    }
    return next((name for name, (value, most) in values.items() if most is not None and value >= most), None)
