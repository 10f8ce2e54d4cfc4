"""Tell Dagster of commits that it has not heard of: made on the command line, or by a run killed too early to tell.

The commit log is the authority. An event counts as heard only when it names the hash of the manifest that it tells of,
so an event typed into the UI heals nothing and hides nothing, and telling twice is harmless.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.project import Project
from rootsys_dagster.defs.metadata import FIRST_SEQ, MANIFEST, SEQ, commit_tags, data_version, describe, manifest_proof
from rootsys_dagster.defs.pairs import AssetPair, Role
from rootsys_dagster.defs.windows import partition_keys
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.manifest import Manifest

PAGE_EVENTS = 200
MAX_EVENTS = 100
"""Of one asset in one pass: beyond that, older commits are told of together (a new instance beside an old log)."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event: commits *first* to *last*."""

    key: dg.AssetKey
    first: int
    last: int


def behind(pairs: Sequence[AssetPair], project: Project, instance: dg.DagsterInstance) -> list[AssetPair]:
    """The pairs of which Dagster has not heard the newest commit: one question for all, they may be a thousand."""
    newest = instance.get_latest_materialization_events([key for pair in pairs for key in pair.keys.values()])

    def knows_head(pair: AssetPair) -> bool:
        log = pair.log(project)
        try:
            head = log.last_seq()
            events = [newest.get(key) for key in pair.keys.values()]
            return not head or all(
                head in _proven(log, head, event.asset_materialization if event else None) for event in events
            )
        except RootsysError:
            # Whoever looks closer gets the same error, and names it.
            return False

    return [pair for pair in pairs if not knows_head(pair)]


def mirror_pair(
    pair: AssetPair,
    project: Project,
    instance: dg.DagsterInstance,
    *,
    roles: Iterable[Role] | None = None,
    but_run_id: str | None = None,
    thorough: bool = True,
) -> list[Told]:
    """Report the unheard commits of *pair* to *instance*, oldest first; returns what was told now.

    Args:
        roles: only these assets of the pair.
        but_run_id: the run that calls, which tells of its own commits itself.
        thorough: read the whole history of the assets and fill gaps in it, as deleting a run in the UI leaves them;
            otherwise only what follows the newest commit that was heard of.
    """
    log = pair.log(project)
    head = log.last_seq()
    if head == 0:
        return []
    keys: dict[Role, dg.AssetKey] = {role: pair.keys[role] for role in roles or pair.keys}
    newest = instance.get_latest_materialization_events(list(keys.values()))
    told: list[Told] = []
    for role, key in keys.items():
        event = newest.get(key)
        knows_head = head in _proven(log, head, event.asset_materialization if event else None)
        if knows_head and not thorough:
            continue
        heard = _heard(log, head, key, instance, thorough)
        missing = [seq for seq in range(1, head + 1) if seq not in heard]
        if not missing and not knows_head:
            # Everything was told, but something else was said after it: the last word is the commit's.
            missing = [head]
        commits = [commit for commit in map(log.manifest, missing) if commit.run_id != but_run_id]
        for group in _groups(commits):
            windows = (
                [name for commit in group for name in partition_keys(pair.partitions, commit)]
                if pair.partitions
                else []
            )
            told += [_tell(log, role, key, group, instance, window) for window in windows or [None]]
    return told


def _heard(log: CommitLog, head: int, key: dg.AssetKey, instance: dg.DagsterInstance, thorough: bool) -> set[int]:
    """The commits that events of *key* prove to tell of, newest event first."""
    heard: set[int] = set()
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(key, limit=PAGE_EVENTS, cursor=cursor)
        for record in page.records:
            heard.update(_proven(log, head, record.asset_materialization))
        if not thorough and heard:
            return heard | set(range(1, max(heard)))
        if not page.has_more or len(heard) == head:
            return heard
        cursor = page.cursor


def _groups(commits: Sequence[Manifest]) -> list[list[Manifest]]:
    """*commits* as neighbours of one run each, as the run itself would have told of them."""
    by_run = groupby(enumerate(commits), key=lambda item: (item[1].run_id, item[1].seq - item[0]))
    groups = [[commit for _, commit in group] for _, group in by_run]
    if len(groups) > MAX_EVENTS:
        older = [commit for group in groups[: -MAX_EVENTS + 1] for commit in group]
        groups = [older, *groups[-MAX_EVENTS + 1 :]]
    return groups


def _tell(
    log: CommitLog,
    role: Role,
    key: dg.AssetKey,
    commits: Sequence[Manifest],
    instance: dg.DagsterInstance,
    window: str | None = None,
) -> Told:
    told = Told(key, commits[0].seq, commits[-1].seq)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=key,
            partition=window,
            description=f"commits {told.first} to {told.last}, told from the commit log",
            metadata=describe(log, role, commits),
            tags=commit_tags(log, told.first, told.last) | {DATA_VERSION_TAG: data_version(log, told.last)},
        )
    )
    return told


def _proven(log: CommitLog, head: int, event: dg.AssetMaterialization | None) -> range:
    """The commits that *event* tells of; empty when it does not prove that it means this log."""
    tags = (event.tags if event else None) or {}
    try:
        first, last, proof = int(tags[FIRST_SEQ]), int(tags[SEQ]), tags[MANIFEST]
    except (KeyError, ValueError):
        return range(0)
    proven = 1 <= first <= last <= head and proof == manifest_proof(log, last)
    return range(first, last + 1) if proven else range(0)
