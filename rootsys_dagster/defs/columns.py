"""The columns of a source as commits remember them: what Dagster shows, and what has changed since an earlier run."""

from collections.abc import Sequence

import dagster as dg

from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.manifest import Manifest

Columns = dict[str, str]
"""Types by name, in order."""


def columns_of(commit: Manifest | None) -> Columns | None:
    """The columns that a commit was read from; None where its source has none, or nothing of it was told."""
    found = (commit.asked or {}).get("columns") if commit else None
    return {column["name"]: column["type"] for column in found} if found else None


def column_schema(columns: Columns) -> dg.TableSchema:
    """As Dagster's catalogue shows it."""
    return dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()])


def columns_before(log: CommitLog, seq: int) -> tuple[int, Columns] | None:
    """The columns of the newest commit below *seq* that has some, and its number."""
    for earlier in range(seq - 1, 0, -1):
        if (found := columns_of(log.manifest(earlier))) is not None:
            return earlier, found
    return None


def differences(before: Columns, after: Columns) -> list[str]:
    """What has changed, one line each."""
    added = [f"{name} {kind} was added" for name, kind in after.items() if name not in before]
    removed = [f"{name} {kind} is gone" for name, kind in before.items() if name not in after]
    changed = [
        f"{name} was {before[name]} and is {kind}"
        for name, kind in after.items()
        if name in before and before[name] != kind
    ]
    return added + removed + changed


def changes(log: CommitLog, commits: Sequence[Manifest]) -> list[str]:
    """What has changed between *commits*, which are neighbours, and what was read before them."""
    told = [found for commit in commits if (found := columns_of(commit)) is not None]
    earlier = columns_before(log, commits[0].seq) if told else None
    return [] if earlier is None else differences(earlier[1], told[-1])
