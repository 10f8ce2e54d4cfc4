"""Followers: after each commit, sinks take over what they have not seen, and sources hear how far they are committed.

One that is down delays only itself.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rootsys_dagster.core.errors import ConfigError, RootsysError
from rootsys_dagster.core.paths import inside_roots
from rootsys_dagster.core.policy import DeadLetterPolicy
from rootsys_dagster.core.ports import DeadLetterSink, SinkPlace
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.core.record import rejected_by
from rootsys_dagster.core.registry import SINKS
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.followers import FollowerState, follower_lock, read_state, write_state
from rootsys_dagster.log.manifest import SegmentKind
from rootsys_dagster.pipeline.export import commit_lines
from rootsys_dagster.pipeline.run import Line, open_line

COMMITS_PER_MARK = 64
MAX_FIRST_LINE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class FollowerReport:
    """How far a follower is now. ``error`` says why it is not at the newest commit; the data itself is safe."""

    name: str
    seq: int
    behind: int
    written: int
    error: RootsysError | None = None


def follow(
    log: CommitLog, name: str, sink: DeadLetterSink, kind: SegmentKind, *, may_be_of_others: Path | None = None
) -> FollowerReport:
    """Give *sink* every commit that it has not taken over, and remember how far it got.

    Args:
        may_be_of_others: the file of the sink, not to be replaced when it holds anything but dead letters of this log.
    """
    newest = log.last_seq()
    state, written, error = FollowerState(), 0, None
    try:
        with follower_lock(log, name), closing(sink):
            state = read_state(log, name)
            if may_be_of_others is not None and state.mark.get("path") != str(may_be_of_others):
                _refuse_file_of_others(may_be_of_others, log.stream)
            if not sink.resume(state.mark):
                if may_be_of_others is not None:
                    _refuse_file_of_others(may_be_of_others, log.stream)
                state = FollowerState()
                sink.resume(state.mark)
            if not state.mark:
                # Before the first line: what a crash leaves there is then known to be ours.
                state = _remember(log, name, sink, state.seq)
            last = state.seq
            for manifest in log.manifests(state.seq):
                written += sink.write(
                    commit_lines(log, manifest, kind), run_id=manifest.run_id, commit_seq=manifest.seq
                )
                if kind == "dead_letters" and manifest.file("outcomes") is not None:
                    told = commit_lines(log, manifest, "outcomes")
                    sink.outcomes(told, run_id=manifest.run_id, commit_seq=manifest.seq)
                last = manifest.seq
                if last % COMMITS_PER_MARK == 0:
                    state = _remember(log, name, sink, last)
            if last > state.seq:
                state = _remember(log, name, sink, last)
    except RootsysError as problem:
        error = problem
    return FollowerReport(name, state.seq, max(newest - state.seq, 0), written, error)


def _remember(log: CommitLog, name: str, sink: DeadLetterSink, seq: int) -> FollowerState:
    state = FollowerState(seq, sink.mark())
    write_state(log, name, state)
    return state


def _refuse_file_of_others(path: Path, stream: StreamId) -> None:
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_FIRST_LINE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigError(f"dead_letters.path {path}: {error.strerror}", code="DEAD_LETTERS.PATH") from error
    if line and rejected_by(line) != (stream.name, stream.version):
        raise ConfigError(
            f"dead_letters.path {path} holds something else than dead letters of {stream}, and was left as it is; "
            "name another file, or move this one away",
            code="DEAD_LETTERS.PATH",
        )


def acknowledge(log: CommitLog, name: str, tell: Callable[[Position], None]) -> FollowerReport:
    """Tell a source where the newest commit ends, unless it has heard of that commit."""
    newest = log.last_seq()
    state, error = FollowerState(), None
    try:
        with follower_lock(log, name):
            state = read_state(log, name)
            head = log.head()
            # The newest position says all: nothing is lost when those between are never told.
            if head is not None and head.end and state.seq < head.seq:
                tell(head.end)
                state = FollowerState(head.seq)
                write_state(log, name, state)
    except RootsysError as problem:
        error = problem
    return FollowerReport(name, state.seq, max(newest - state.seq, 0), 0, error)


def publish(entry: InterfaceFile, project: Project) -> list[FollowerReport]:
    """Bring the dead-letter sink of an interface, and what its source hears of commits, up to the newest commit."""
    line = open_line(entry, project)
    told = [acknowledge(line.log, name, tell) for name, tell in line.driver.acknowledgements().items()]
    return [*_dead_letters(line, project), *told]


def _dead_letters(line: Line, project: Project) -> list[FollowerReport]:
    policy = line.interface.dead_letters
    if policy is None:
        return []
    place, name = _place(policy, line.interface.name, project)
    sink = SINKS.get(policy.kind)(place)
    return [
        follow(line.log, name, sink, "dead_letters", may_be_of_others=place.path if policy.kind == "file" else None)
    ]


def _place(policy: DeadLetterPolicy, interface_name: str, project: Project) -> tuple[SinkPlace, str]:
    """Where the sink is, and the name of its follower."""
    if policy.kafka is not None:
        place = SinkPlace(
            kafka=policy.kafka, secrets_root=project.secrets_root, root=project.root, data_roots=project.data_roots
        )
        return place, f"dead_letters-kafka-{policy.kafka.topic}"
    file = policy.file_for(interface_name)
    if file is None:
        place = SinkPlace(connection=policy.connection or "", table=policy.table, secrets_root=project.secrets_root)
        return place, f"dead_letters-{policy.kind}-{policy.table}"
    path = inside_roots(file, project.root, project.data_roots, "dead_letters.path")
    if path.is_dir():
        raise ConfigError(f"dead_letters.path {path} is a folder; name a file", code="DEAD_LETTERS.PATH")
    return SinkPlace(path=path, table=policy.table), f"dead_letters-{policy.kind}-{path.name}"
