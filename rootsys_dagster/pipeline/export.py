"""Committed lines, in order, for whoever wants to read them."""

from collections.abc import Iterator
from itertools import islice

from rootsys_dagster.core.errors import LogDamagedError
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.manifest import Manifest, SegmentKind


def commit_lines(log: CommitLog, manifest: Manifest, kind: SegmentKind) -> Iterator[bytes]:
    """The lines of one commit, each with its newline.

    Raises:
        LogDamagedError: the segment cannot be read.
    """
    file = manifest.file(kind)
    if file is None:
        return
    path = log.path(file)
    try:
        with path.open("rb") as stream:
            yield from stream
    except OSError as error:
        message = f"{log.stream}: cannot read {path}: {error.strerror}; restore it from a backup"
        raise LogDamagedError(message) from error


def export_lines(log: CommitLog, kind: SegmentKind, *, after: int = 0, limit: int | None = None) -> Iterator[bytes]:
    """Every committed line of *kind* above commit *after*, oldest first, at most *limit*.

    What a later read brought anew is history and left out, unless *after* asks for less still.
    """
    head = log.head()
    after = max(after, head.replaced if head else 0)
    lines = (line for manifest in log.manifests(after) for line in commit_lines(log, manifest, kind))
    return islice(lines, limit)
