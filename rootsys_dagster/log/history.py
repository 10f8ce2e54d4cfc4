"""What runs have committed, told from the log itself, newest first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.manifest import Counts, Manifest


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """The commits of one run to one log, oldest first."""

    stream: StreamId
    commits: tuple[Manifest, ...]

    @property
    def run_id(self) -> str:
        return self.commits[0].run_id

    @property
    def triggered_by(self) -> str | None:
        """Who asked for it; None for a commit from before that was kept."""
        return self.commits[-1].triggered_by

    @property
    def started_at(self) -> datetime:
        return datetime.fromisoformat(self.commits[0].started_at)

    @property
    def ended_at(self) -> datetime:
        return datetime.fromisoformat(self.commits[-1].committed_at)

    @property
    def counts(self) -> Counts:
        """Of all its commits."""
        total = Counts()
        for commit in self.commits:
            total = total.plus(commit.counts)
        return total

    @property
    def asked(self) -> dict[str, Any] | None:
        """What the source was asked last, without secrets."""
        return next((commit.asked for commit in reversed(self.commits) if commit.asked is not None), None)


def runs_of(log: CommitLog, since: datetime | None = None) -> Iterator[LoggedRun]:
    """The runs that have committed to *log*, newest first.

    Args:
        since: leave out those whose last commit is older.
    Raises:
        LogDamagedError: a manifest on the way cannot be read.
    """
    commits: list[Manifest] = []
    for seq in range(log.last_seq(), 0, -1):
        manifest = log.manifest(seq)
        if commits and manifest.run_id != commits[0].run_id:
            yield LoggedRun(log.stream, tuple(reversed(commits)))
            commits = []
        if since is not None and not commits and datetime.fromisoformat(manifest.committed_at) < since:
            return
        commits.append(manifest)
    if commits:
        yield LoggedRun(log.stream, tuple(reversed(commits)))
