"""Followers: after each commit, sinks take over what they have not seen. One that is down delays only itself."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rootsys_dagster.core.errors import ConfigError, RootsysError
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.paths import inside_roots
from rootsys_dagster.core.ports import DeadLetterSink
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.core.registry import SINKS
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.followers import FollowerState, follower_lock, read_state, write_state
from rootsys_dagster.log.manifest import SegmentKind
from rootsys_dagster.pipeline.export import commit_lines

COMMITS_PER_MARK = 64


@dataclass(frozen=True, slots=True)
class FollowerReport:
    """How far a follower is now. ``error`` says why it is not at the newest commit; the data itself is safe."""

    name: str
    seq: int
    behind: int
    written: int
    error: RootsysError | None = None


def follow(log: CommitLog, name: str, sink: DeadLetterSink, kind: SegmentKind) -> FollowerReport:
    """Give *sink* every commit that it has not taken over, and remember how far it got."""
    newest = log.last_seq()
    state, written, error = FollowerState(), 0, None
    try:
        with follower_lock(log, name), closing(sink):
            state = read_state(log, name)
            if not sink.resume(state.mark):
                state = FollowerState()
                sink.resume(state.mark)
            last = state.seq
            for manifest in log.manifests(state.seq):
                written += sink.write(
                    commit_lines(log, manifest, kind), run_id=manifest.run_id, commit_seq=manifest.seq
                )
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


def dead_letter_path(interface: Interface, root: Path, data_roots: Iterable[Path]) -> Path:
    """Where the dead-letter sink of an interface keeps its file: as named, else below ``dead_letters/``."""
    policy = interface.dead_letters
    assert policy is not None
    suffix = {"file": "jsonl", "sqlite": "db"}[policy.kind]
    named = policy.path or f"dead_letters/{interface.name.replace('/', '_')}.{suffix}"
    return inside_roots(root / named, root, tuple(data_roots), "dead_letters.path")


def publish(entry: InterfaceFile, project: Project) -> list[FollowerReport]:
    """Bring the dead-letter sink of an interface up to the newest commit."""
    interface = entry.require()
    policy = interface.dead_letters
    if policy is None:
        return []
    log = CommitLog(project.state_root, StreamId(interface.name, interface.version))
    path = dead_letter_path(interface, project.root, project.data_roots)
    if path.is_dir():
        raise ConfigError(f"dead_letters.path {path} is a folder; name a file", code="DEAD_LETTERS.PATH")
    sink = SINKS.get(policy.kind)(path, policy.table)
    return [follow(log, f"dead_letters-{policy.kind}-{path.name}", sink, "dead_letters")]
