"""The verbs of an interface as ops, shared by all of them: fetch, validate (which commits), emit dead letters, publish.

An op finds its interface through the metadata of the assets that it belongs to. What ops hand on are small JSON
handles; the names of outputs are the roles of the assets, because Dagster looks a result up by that name.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

import rootsys_dagster.drivers
import rootsys_dagster.sinks  # noqa: F401  (both register what interface files name)
from rootsys_dagster.core.errors import FencedError
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.defs import checks
from rootsys_dagster.defs.controls import run_name, terminated_between_batches
from rootsys_dagster.defs.errors import told_to_dagster
from rootsys_dagster.defs.letters import OPEN_DEAD_LETTERS, check_result, open_dead_letters
from rootsys_dagster.defs.metadata import commit_tags, data_version, describe, summed
from rootsys_dagster.defs.mirror import mirror_pair
from rootsys_dagster.defs.pairs import PREFIX, AssetPair, Role, pair_of
from rootsys_dagster.defs.pools import op_suffix, pool_of
from rootsys_dagster.defs.resources import Execute, driver_key
from rootsys_dagster.defs.sources import has_columns
from rootsys_dagster.defs.windows import asked_window
from rootsys_dagster.log.manifest import Manifest
from rootsys_dagster.log.spool import SpoolDamagedError
from rootsys_dagster.pipeline.admission import require_admission
from rootsys_dagster.pipeline.fetch import Spooled, drop_spool, fetch_to_spool, read_spool
from rootsys_dagster.pipeline.publish import publish as catch_up
from rootsys_dagster.pipeline.run import Line, RunReport, open_line

# Later steps first: what is spooled is committed before the next interface fetches.
FIRST, SECOND, THIRD = ({"dagster/priority": str(n)} for n in (0, 1, 2))


@cache
def fetch_op(kind: str, pool: str | None = None) -> dg.OpDefinition:
    """The op that reads source systems of one driver kind into the spool.

    Args:
        pool: named after the server that is asked: with a limit for it in Dagster, so many runs ask it at once.
    """
    suffix = "" if pool is None else f"__{op_suffix(pool)}"

    @dg.op(
        name=f"{PREFIX}fetch_{kind}{suffix}",
        pool=pool,
        description=f"Copy what the {kind} source has beyond the last commit into the spool, as received.",
        out={"spool": dg.Out(dict)},
        required_resource_keys={"project", driver_key(kind)},
        tags=FIRST,
    )
    def fetch(context: dg.OpExecutionContext) -> dict[str, Any]:
        project, entry, pair = _surroundings(context)
        for warning in entry.warnings:
            context.log.warning(f"{entry.path.name}: {warning}")
        with told_to_dagster(context):
            require_admission(project, entry, by=run_name(context))
            line = getattr(context.resources, driver_key(kind)).open(entry, project, asked_window(context))
            fetched = _fetch(line, context.run.run_id)
        context.log.info(f"{pair.stream}: {fetched['spool']['units']} units after commit {fetched['base_seq']}")
        return fetched

    return fetch


def fetch_op_of(interface: Interface) -> dg.OpDefinition:
    """The op that reads the source of one interface; interfaces of one connection or one host share it."""
    driver = interface.driver
    if driver.connection is not None:
        return fetch_op(driver.kind, pool_of(driver.connection))
    rest = driver.rest if driver.kind == "rest" else None
    host = None if rest is None else urlsplit(rest.url).hostname
    return fetch_op(driver.kind, None if host is None else f"rest/{host}")


@dg.op(
    name=f"{PREFIX}validate",
    description="Judge every unit and commit records, dead letters and the new position together, batch by batch.",
    out={"commit": dg.Out(dict)},
    required_resource_keys={"project", "execute"},
    tags=SECOND,
)
def validate(context: dg.OpExecutionContext, spool: dict[str, Any]) -> dict[str, Any]:
    project, entry, pair = _surroundings(context)
    with told_to_dagster(context):
        line = open_line(entry, project, window=asked_window(context))
        # The first try commits what a fetch that failed has brought; the next one goes on behind that.
        fetched = _fetch(line, context.run.run_id) if context.retry_number and spool["spool"]["failure"] else spool
        try:
            report = _execute(context, line, fetched)
        except (FencedError, SpoolDamagedError) as error:
            # What was fetched overlaps with what another run committed, or is lost: the source still has it.
            context.log.warning(f"{error}; fetching again")
            fetched = _fetch(line, context.run.run_id)
            report = _execute(context, line, fetched)
        Spooled(**fetched["spool"]).raise_failure()
        # From the log and not from the report: an earlier try of this step may have committed before it failed.
        commits = [one for one in line.log.manifests(after=spool["base_seq"]) if one.run_id == context.run.run_id]
    tell_outcome(context, pair, commits, commits[-1].seq if commits else spool["base_seq"], report.stopped)
    return {"seqs": [commit.seq for commit in commits], "stopped": report.stopped}


@dg.op(
    name=f"{PREFIX}emit_dead_letters",
    description="Bring the dead-letter sink up to date with the commit log.",
    out={"dead_letters": dg.Out(dg.Nothing), OPEN_DEAD_LETTERS: dg.Out(dg.Nothing)},
    required_resource_keys={"project"},
    tags=THIRD,
)
def emit_dead_letters(context: dg.OpExecutionContext, commit: dict[str, Any]):
    project, entry, pair = _surroundings(context)
    with told_to_dagster(context):
        result = emitted(context, project, entry, pair, _commits(pair, project, commit))
    yield result


@dg.op(
    name=f"{PREFIX}publish",
    description="Tell Dagster of the committed records, and of commits that it has not heard of.",
    out={
        "records": dg.Out(dg.Nothing),
        checks.CONSERVATION: dg.Out(dg.Nothing),
        checks.CONTRACT: dg.Out(dg.Nothing),
        # Not every source has columns.
        checks.COLUMNS: dg.Out(dg.Nothing, is_required=False),
    },
    required_resource_keys={"project"},
    tags=THIRD,
)
def publish(context: dg.OpExecutionContext, commit: dict[str, Any]):
    project, entry, pair = _surroundings(context)
    with told_to_dagster(context):
        result = published(context, project, entry, pair, _commits(pair, project, commit))
    yield result


def tell_outcome(
    context: dg.OpExecutionContext, pair: AssetPair, commits: Sequence[Manifest], seq: int, stopped: str | None
) -> None:
    """Log what a run came to: its commits, at which commit the log is, and what has ended it early."""
    counts = summed(commits)
    outcome = f"{counts.accepted} records, {counts.dead_letters} dead letters" if commits else "nothing new"
    context.log.info(f"{pair.stream}: {outcome}, at commit {seq}")
    if stopped:
        context.log.warning(f"{pair.stream}: stopped by {stopped}; the next run goes on from there")


def emitted(
    context: dg.OpExecutionContext,
    project: Project,
    entry: InterfaceFile,
    pair: AssetPair,
    commits: Sequence[Manifest],
) -> dg.MaterializeResult:
    """The dead letters of *commits*, once the sink has them, and whether too many wait."""
    for follower in catch_up(entry, project):
        if follower.error is not None:
            raise follower.error
    waiting = open_dead_letters(pair.log(project), entry, pair.keys["dead_letters"])
    results = [check_result(waiting)]
    return materialized(context, pair, project, "dead_letters", commits, results, more=waiting.metadata)


def published(
    context: dg.OpExecutionContext,
    project: Project,
    entry: InterfaceFile,
    pair: AssetPair,
    commits: Sequence[Manifest],
) -> dg.MaterializeResult:
    """The records of *commits*, and what the checks say of them."""
    log = pair.log(project)
    key = pair.keys["records"]
    head = log.head()
    results = [
        checks.conservation(log, commits or [head] if head else [], key),
        checks.contract(project, entry, head, key),
    ]
    if has_columns(entry.require()):
        results.append(checks.columns(log, commits, key))
    return materialized(context, pair, project, "records", commits, results)


def materialized(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    pair: AssetPair,
    project: Project,
    role: Role,
    commits: Sequence[Manifest],
    check_results: Sequence[dg.AssetCheckResult],
    more: Mapping[str, dg.MetadataValue] | None = None,
) -> dg.MaterializeResult:
    """The event of one asset at the end of a run; what the mirror has to tell comes first, so the newest stays last."""
    log = pair.log(project)
    mirror_pair(pair, project, context.instance, roles=[role], but_run_id=context.run.run_id, thorough=False)
    last = commits[-1].seq if commits else log.last_seq()
    return dg.MaterializeResult(
        asset_key=pair.keys[role],
        metadata={**describe(log, role, commits), **(more or {})},
        tags=commit_tags(log, commits[0].seq if commits else last, last) if last else None,
        data_version=dg.DataVersion(data_version(log, last)),
        check_results=check_results,
    )


def _fetch(line: Line, run_id: str) -> dict[str, Any]:
    base_seq = line.log.last_seq()
    return {"base_seq": base_seq, "spool": fetch_to_spool(line, run_id).to_json()}


def _execute(context: dg.OpExecutionContext, line: Line, fetched: dict[str, Any]) -> RunReport:
    execute: Execute = context.resources.execute
    spooled = Spooled(**fetched["spool"])
    with terminated_between_batches(line) as line:
        report = execute(line, read_spool(spooled), spooled.start, run_id=context.run.run_id)
        drop_spool(spooled)
    return report


def _surroundings(context: dg.OpExecutionContext) -> tuple[Project, InterfaceFile, AssetPair]:
    project: Project = context.resources.project.project
    pair = pair_of(context)
    return project, project.interface(pair.stream.name, pair.stream.version), pair


def _commits(pair: AssetPair, project: Project, commit: dict[str, Any]) -> list[Manifest]:
    return [pair.log(project).manifest(seq) for seq in commit["seqs"]]
