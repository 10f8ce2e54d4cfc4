"""One run of one interface through its commit log, told of while it goes on, and the followers of any log after it."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from rootsys_dagster.cli.events import commit_event
from rootsys_dagster.cli.lag import unread_bytes
from rootsys_dagster.cli.output import report as report_error
from rootsys_dagster.cli.progress import LiveLine
from rootsys_dagster.cli.run_options import RunOptions, open_driver
from rootsys_dagster.cli.stop import Stop
from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.paths import is_utf8
from rootsys_dagster.core.ports import Driver, SinkPlace
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.core.registry import SINKS
from rootsys_dagster.log.commit import CommitLog, LogWriter, StreamId
from rootsys_dagster.log.controls import this_person
from rootsys_dagster.log.manifest import Counts, Manifest, SegmentKind
from rootsys_dagster.pipeline.admission import pause_watch, require_admission
from rootsys_dagster.pipeline.publish import FollowerReport, follow, publish
from rootsys_dagster.pipeline.replay import read_dead_letters
from rootsys_dagster.pipeline.run import Line, ingest
from rootsys_dagster.pipeline.stateless import default_dead_letter_path


class Report(Protocol):
    """What runs and merges report alike."""

    run_id: str
    end: Position | None
    manifests: list[Manifest]
    counts: Counts
    elapsed_s: float


@dataclass(slots=True)
class Outcome:
    """What one run of one interface or fabric did.

    Attributes:
        stopped: the limit or request that ended the run before the source was done.
        waiting: bytes at the end of the input that are no complete line yet.
    """

    name: str
    source: str
    log: CommitLog
    report: Report
    is_merge: bool = False
    stopped: str | None = None
    waiting: int = 0
    followers: list[FollowerReport] = field(default_factory=list[FollowerReport])

    @property
    def failed(self) -> bool:
        """Whether a follower could not take over what is committed."""
        return any(follower.error is not None for follower in self.followers)

    def members(self) -> dict[str, Any]:
        """What the event of the run says beyond the reference."""
        report = self.report
        return {
            "interface": self.log.stream.name,
            "version": self.log.stream.version,
            "run_id": report.run_id,
            "commits": [manifest.seq for manifest in report.manifests],
            "duplicates": report.counts.duplicates,
            "skipped": report.counts.skipped,
            "reasons": report.counts.reasons,
            "elapsed_ms": round(report.elapsed_s * 1000),
            "stopped": self.stopped,
        }


def new_run_id() -> str:
    """Names the segments of a run and stands in its manifests."""
    return f"cli-{uuid.uuid4().hex[:16]}"


def ingest_interface(
    entry: InterfaceFile, project: Project, chosen: RunOptions, stop: Stop, *, events: bool
) -> Outcome:
    """Go on from the last commit, or replay dead letters, and let the interface's own dead-letter sink catch up.

    Args:
        events: print an event line for every commit.
    """
    interface = entry.require()
    files = exports(chosen, is_merge=False)
    driver = open_driver(interface, chosen, project)
    spare([files.records, files.dead_letters], files_read(entry, driver, chosen))
    log = CommitLog(project.state_root, StreamId(interface.name, interface.version))

    def wanted() -> bool:
        return stop.requested

    source = chosen.source or interface.name
    require_admission(project, entry, by=this_person(), action="replay" if chosen.replay_dlq else "run")
    ends = pause_watch(project, entry)
    line = Line(interface, entry.sha256, log, driver, source, entry.contract_sha256, ends)
    with log.writer(new_run_id()) as writer, told(interface.name, writer, chosen, events) as progress:
        if chosen.replay_dlq is not None:
            batches = read_dead_letters(chosen.replay_dlq, chosen.replay_dlq_source, chosen.replay_dlq_table)
            report = ingest(line, writer, stop.until_requested(batches), mode="replay", progress=progress, stop=wanted)
        else:
            batches = driver.read(writer.position)
            report = ingest(line, writer, stop.until_requested(batches), progress=progress, stop=wanted)
    outcome = Outcome(interface.name, line.source, log, report)
    outcome.stopped = report.stopped
    if not outcome.stopped and not chosen.replay_dlq:
        outcome.waiting = unread_bytes(driver, report.end) or 0
    outcome.followers = publish(entry, project)
    files.follow(outcome)
    return outcome


def files_read(entry: InterfaceFile, driver: Driver[DriverConfig], chosen: RunOptions) -> list[Path]:
    """What a run reads. Not what it replays: those dead letters may be replaced by the ones that are left of them."""
    return [entry.path, *(() if chosen.replay_dlq else driver.files())]


def spare(written: Iterable[Path | None], read: Iterable[Path]) -> None:
    """Refuse to write over what is read.

    Raises:
        ConfigError: one file is both.
    """
    sources = set(map(_file_of, read))
    for path in written:
        if path is not None and (file := _file_of(path)) is not None and file in sources:
            message = f"{path} is read by this run and would be written over; name another output"
            raise ConfigError(message, code="OUTPUT.IS_INPUT")


def _file_of(path: Path) -> tuple[int, int] | None:
    """What two names of one file have in common; None when there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def told(name: str, writer: LogWriter, chosen: RunOptions, events: bool) -> Iterator[Callable[[Counts], None]]:
    """A progress callback that moves the live line and, at the end too, tells of each new commit."""
    live = LiveLine(name, wanted=not chosen.json_only)
    seen = writer.head

    def tell_of_commit() -> None:
        nonlocal seen
        if events and writer.head is not None and writer.head is not seen:
            commit_event(writer.head)
        seen = writer.head

    def progress(counts: Counts) -> None:
        tell_of_commit()
        live(counts)

    try:
        yield progress
    finally:
        live.clear()
        tell_of_commit()


@dataclass(frozen=True, slots=True)
class Exports:
    """The files that a command line wants kept equal to what is committed."""

    records: Path | None
    dead_letters: Path | None
    kind: Literal["file", "sqlite"]
    table: str

    def follow(self, outcome: Outcome) -> None:
        """Bring them up to the newest commit."""
        if self.records is not None:
            outcome.followers.append(follow_file(outcome.log, self.records, "file", "", "records"))
        if self.dead_letters is not None:
            follower = follow_file(outcome.log, self.dead_letters, self.kind, self.table, "dead_letters")
            outcome.followers.append(follower)


def exports(chosen: RunOptions, *, is_merge: bool) -> Exports:
    """What to write besides the commit log; asked for before anything is read.

    Raises:
        ConfigError: one of the files cannot be one.
    """
    output, dead_letters, kind = chosen.output, chosen.dlq, chosen.dlq_sink or "file"
    _refuse_unsuitable(output)
    if dead_letters is None and output is not None and not is_merge:
        dead_letters = default_dead_letter_path(output, kind)
    _refuse_unsuitable(dead_letters)
    return Exports(output, dead_letters, kind, chosen.dlq_table)


def _refuse_unsuitable(path: Path | None) -> None:
    if path is not None and path.exists() and not path.is_file():
        message = f"{path} is no regular file; 'rootsys records' and 'rootsys dead-letters export' print to a pipe"
        raise ConfigError(message, code="OUTPUT.NOT_A_FILE")
    if path is not None and not is_utf8(str(path)):
        # How far a follower got is remembered in JSON, which cannot carry such a name.
        message = f"output {os.fsencode(path)!r}: the name is not UTF-8; choose another"
        raise ConfigError(message, code="OUTPUT.NAME_NOT_UTF8")


def follow_file(log: CommitLog, path: Path, kind: str, table: str, lines: SegmentKind) -> FollowerReport:
    """Keep the file or table at *path* equal to what is committed."""
    digest = hashlib.sha256(str(path.resolve()).encode(errors="surrogateescape")).hexdigest()[:12]
    sink = SINKS.get(kind)(SinkPlace(path=path.resolve(), table=table))
    return follow(log, f"{lines}-{kind}-{digest}", sink, lines)


def report_followers(outcome: Outcome) -> None:
    """Print why a follower is behind; the data itself is safe."""
    for follower in outcome.followers:
        if follower.error is not None:
            report_error(follower.error, outcome.name)
