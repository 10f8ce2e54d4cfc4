"""Tell Dagster of commits that it has not heard of: made on the command line, or by a run killed too early to tell.

The commit log is the authority. An event counts as heard only when it names the hash of the manifest that it tells of,
so an event typed into the UI heals nothing and hides nothing, and telling twice is harmless.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from rootsys_dagster.core.project import Project
from rootsys_dagster.defs.metadata import FIRST_SEQ, MANIFEST, SEQ, commit_tags, data_version, describe, manifest_proof
from rootsys_dagster.defs.pairs import AssetPair, Role
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.manifest import Manifest

MAX_EVENTS = 100
"""Of one asset in one pass: beyond that, older commits are told of together (a new instance beside an old log)."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event: commits *first* to *last*."""

    key: dg.AssetKey
    first: int
    last: int


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
        thorough: look for gaps in the whole history, not only whether the newest commit is known. A gap opens when a
            run is deleted in the UI.
    """
    log = pair.log(project)
    head = log.last_seq()
    if head == 0:
        return []
    keys = {role: key for role, key in pair.keys.items() if roles is None or role in roles}
    newest = instance.get_latest_materialization_events(list(keys.values()))
    told: list[Told] = []
    for role, key in keys.items():
        event = newest.get(key)
        tags = (event.asset_materialization.tags if event and event.asset_materialization else None) or {}
        knows_head = head in _heard(log, head, tags)
        if knows_head and not thorough:
            continue
        heard = {
            seq for tags in instance.event_log_storage.get_event_tags_for_asset(key) for seq in _heard(log, head, tags)
        }
        missing = [seq for seq in range(1, head + 1) if seq not in heard]
        if not missing and not knows_head:
            # Everything was told, but something else was said after it: the last word is the commit's.
            missing = [head]
        commits = [commit for commit in map(log.manifest, missing) if commit.run_id != but_run_id]
        told += [_tell(log, role, key, group, instance) for group in _groups(commits)]
    return told


def _groups(commits: Sequence[Manifest]) -> list[list[Manifest]]:
    """*commits* as neighbours of one run each, as the run itself would have told of them."""
    by_run = groupby(enumerate(commits), key=lambda item: (item[1].run_id, item[1].seq - item[0]))
    groups = [[commit for _, commit in group] for _, group in by_run]
    if len(groups) > MAX_EVENTS:
        older = [commit for group in groups[: -MAX_EVENTS + 1] for commit in group]
        groups = [older, *groups[-MAX_EVENTS + 1 :]]
    return groups


def _tell(
    log: CommitLog, role: Role, key: dg.AssetKey, commits: Sequence[Manifest], instance: dg.DagsterInstance
) -> Told:
    told = Told(key, commits[0].seq, commits[-1].seq)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=key,
            description=f"commits {told.first} to {told.last}, told from the commit log",
            metadata=describe(log, role, commits),
            tags=commit_tags(log, told.first, told.last) | {DATA_VERSION_TAG: data_version(log, told.last)},
        )
    )
    return told


def _heard(log: CommitLog, head: int, tags: Mapping[str, str]) -> range:
    """The commits that an event with these tags tells of; empty when it does not prove that it means this log."""
    try:
        first, last, proof = int(tags[FIRST_SEQ]), int(tags[SEQ]), tags[MANIFEST]
    except (KeyError, ValueError):
        return range(0)
    proven = 1 <= first <= last <= head and proof == manifest_proof(log, last)
    return range(first, last + 1) if proven else range(0)
