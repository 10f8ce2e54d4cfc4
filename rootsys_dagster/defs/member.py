"""One interface or fabric in a step that belongs to no asset: run it, then report what a run of its assets reports."""

import time
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from rootsys_dagster.core.errors import FencedError, TransientError
from rootsys_dagster.core.order import Entry
from rootsys_dagster.core.project import FabricFile, InterfaceFile, Project
from rootsys_dagster.defs.assets import code_version
from rootsys_dagster.defs.controls import run_name, terminated_between_batches
from rootsys_dagster.defs.errors import DEFAULT_RETRY_AFTER_S, MAX_RETRIES
from rootsys_dagster.defs.fabric import merged
from rootsys_dagster.defs.ops import emitted, published, tell_outcome
from rootsys_dagster.defs.pairs import AssetPair
from rootsys_dagster.defs.resources import Execute
from rootsys_dagster.defs.windows import partition_keys
from rootsys_dagster.log.manifest import Manifest
from rootsys_dagster.pipeline.admission import require_admission
from rootsys_dagster.pipeline.run import Line, open_line
from rootsys_dagster.secrets import redact


def run_member(
    context: dg.OpExecutionContext,
    project: Project,
    entry: Entry,
    pair: AssetPair,
    parents: Sequence[dg.AssetKey],
) -> None:
    """Run *entry*, and log the materializations and checks of its assets in the running step.

    Args:
        parents: what the assets are made of; their events say in which version.
    Raises:
        RootsysError: a TransientError only after as many tries as an asset's step would have had.
    """
    entry.refuse_if_broken()
    base_seq = pair.log(project).last_seq()
    # Before the run: what comes to a parent meanwhile may not be in it.
    made_of = _versions(parents, context.instance)
    for tried in range(MAX_RETRIES + 1):
        try:
            for event in _events(context, project, entry, pair, base_seq, made_of):
                # Dagster takes checks here too, its annotation does not say so.
                context.log_event(event)  # pyright: ignore[reportArgumentType]
            return
        except TransientError as error:
            if tried == MAX_RETRIES:
                raise
            wait_s = DEFAULT_RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
            context.log.warning(f"{redact(str(error))} [{error.code}]; trying again in {wait_s:g} s")
            time.sleep(wait_s)


def _versions(keys: Sequence[dg.AssetKey], instance: dg.DagsterInstance) -> dict[str, str]:
    """The tags by which Dagster knows later whether one of *keys* has changed since."""
    records = {record.asset_entry.asset_key: record for record in instance.get_asset_records(keys)} if keys else {}
    tags: dict[str, str] = {}
    for key in keys:
        record = records[key].asset_entry.last_materialization_record if key in records else None
        version = extract_data_version_from_entry(record.event_log_entry) if record is not None else None
        tags[get_input_data_version_tag(key)] = (version or DEFAULT_DATA_VERSION).value
        tags[get_input_event_pointer_tag(key)] = NULL_EVENT_POINTER if record is None else str(record.storage_id)
    return tags


def _events(
    context: dg.OpExecutionContext,
    project: Project,
    entry: Entry,
    pair: AssetPair,
    base_seq: int,
    made_of: Mapping[str, str],
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    if isinstance(entry, FabricFile):
        version = entry.sha256[:16]
        results = merged(context, project, entry, pair)
        windows = list[str]()
    else:
        version = code_version(entry, entry.require())
        commits = _run_line(context, project, entry, pair, base_seq)
        results = [
            emitted(context, project, entry, pair, commits),
            published(context, project, entry, pair, commits),
        ]
        windows = [key for one in commits for key in partition_keys(pair.partitions, one)] if pair.partitions else []
    for result in results:
        # An asset with partitions has no materialization of the whole; without a window nothing was made.
        for window in windows if pair.partitions is not None else [None]:
            yield _materialization(result, window, {**made_of, CODE_VERSION_TAG: version})
        yield from _evaluations(result)


def _run_line(
    context: dg.OpExecutionContext, project: Project, entry: InterfaceFile, pair: AssetPair, base_seq: int
) -> Sequence[Manifest]:
    """Fetch, normalise and commit at once: there is no step between that would need a spool."""
    require_admission(project, entry, by=run_name(context))
    line = open_line(entry, project)
    for warning in entry.warnings:
        context.log.warning(f"{entry.path.name}: {warning}")
    try:
        stopped = _execute(context, line)
    except FencedError as error:
        context.log.warning(f"{error}; fetching again")
        stopped = _execute(context, line)
    # From the log and not from a report: an earlier try may have committed before it failed.
    commits = [one for one in line.log.manifests(after=base_seq) if one.run_id == context.run.run_id]
    tell_outcome(context, pair, commits, line.log.last_seq(), stopped)
    return commits


def _execute(context: dg.OpExecutionContext, line: Line) -> str | None:
    execute: Execute = context.resources.execute
    head = line.log.head()
    start = head.end if head else None
    with terminated_between_batches(line) as line:
        return execute(line, line.driver.read(start), start, run_id=context.run.run_id).stopped


def _materialization(
    result: dg.MaterializeResult, window: str | None, made_of: Mapping[str, str]
) -> dg.AssetMaterialization:
    assert result.asset_key is not None
    tags = {**(result.tags or {}), **made_of}
    if result.data_version is not None:
        tags |= {DATA_VERSION_TAG: result.data_version.value, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    return dg.AssetMaterialization(asset_key=result.asset_key, metadata=result.metadata, partition=window, tags=tags)


def _evaluations(result: dg.MaterializeResult) -> Iterator[dg.AssetCheckEvaluation]:
    for check in result.check_results or ():
        assert check.asset_key is not None
        assert check.check_name is not None
        yield dg.AssetCheckEvaluation(
            asset_key=check.asset_key,
            check_name=check.check_name,
            passed=check.passed,
            severity=check.severity,
            description=check.description,
            metadata=check.metadata,
        )
