"""Replay in Dagster: the job ``replay_dead_letters`` for any interface, and ``mes/replayed`` to materialize.

One job for all interfaces, because a job each would cost definitions the square of their number; what is replayed is
typed into the launchpad. An asset per interface is only there as long as jobs per interface are.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

import rootsys_dagster.drivers
import rootsys_dagster.sinks  # noqa: F401  (both register what interface files name)
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.defs.controls import run_name
from rootsys_dagster.defs.errors import told_to_dagster
from rootsys_dagster.defs.jobs import REPLAY
from rootsys_dagster.defs.letters import letters_metadata, open_dead_letters
from rootsys_dagster.defs.mirror import mirror_pair
from rootsys_dagster.defs.pairs import PREFIX, AssetPair, interface_pair
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.letters import LetterFilter, open_letters
from rootsys_dagster.pipeline.admission import record, require_admission
from rootsys_dagster.pipeline.mend import MendReport, replay_letters, try_letters
from rootsys_dagster.pipeline.publish import publish as catch_up
from rootsys_dagster.pipeline.run import open_line

GROUP = "replays"


class ReplayConfig(dg.Config):
    """Which open dead letters to replay; all of them when nothing is said."""

    reason: str | None = Field(default=None, description="Only those with this reason code.")
    pointer: str | None = Field(default=None, description="Only those with an error at this JSON Pointer.")
    ids: list[str] = Field(default=[], description="Only these, by id or its first characters.")
    since_unix_ms: int | None = Field(default=None, description="Only those rejected at this time or later.")
    until_unix_ms: int | None = Field(default=None, description="Only those rejected before this time.")
    limit: int | None = Field(default=None, description="At most so many, the oldest first.")
    why: str = Field(default="", description="For the audit; with it, an interface that is held is replayed too.")
    dry_run: bool = Field(default=False, description="Say what would become of them; commit nothing.")

    def wanted(self) -> LetterFilter:
        """The same, as the log is asked."""
        return LetterFilter(
            reason=self.reason,
            pointer=self.pointer,
            ids=self.ids,
            since_unix_ms=self.since_unix_ms,
            until_unix_ms=self.until_unix_ms,
        )


class ReplayOneConfig(ReplayConfig):
    """Which interface, and which of its open dead letters."""

    interface: str = Field(description="Its name, or name@version.")


def replay_job(pairs: Sequence[AssetPair]) -> dg.JobDefinition:
    """The job that replays any one of *pairs*, which are named as the code location has them."""
    by_stream = {pair.stream: pair for pair in pairs}

    @dg.op(
        name=f"{PREFIX}replay",
        description="Put open dead letters of one interface through it again; commit what comes of them.",
        required_resource_keys={"project"},
        out={"replayed": dg.Out(dg.Nothing)},
    )
    def replay(context: dg.OpExecutionContext, config: ReplayOneConfig):
        project: Project = context.resources.project.project
        with told_to_dagster(context):
            entry = project.interface(config.interface)
            interface = entry.require()
            pair = by_stream.get(StreamId(interface.name, interface.version)) or interface_pair(interface)
            metadata = _replay(context, project, entry, pair, config)
        context.add_output_metadata(metadata, output_name="replayed")

    description = (
        "Put open dead letters of one interface through it again, as its file is now. The position of the source does "
        "not move, and replaying again changes nothing."
    )
    return dg.GraphDefinition(name=f"{PREFIX}replay_graph", node_defs=[replay]).to_job(REPLAY, description=description)


def replayed_assets(pairs: Sequence[AssetPair]) -> dg.AssetsDefinition:
    """``mes/replayed`` for each pair: materializing it replays what is open.

    One definition that runs for those that are asked for: one each would more than double how long a code location of
    some hundred interfaces takes to load.
    """
    by_key = {dg.AssetKey([*pair.keys["records"].path, "replayed"]): pair for pair in pairs}
    specs = [
        dg.AssetSpec(
            key,
            deps=[pair.keys["dead_letters"]],
            description=f"Replays the open dead letters of {pair.stream} through its file as it is now.",
            group_name=GROUP,
            skippable=True,
        )
        for key, pair in by_key.items()
    ]

    @dg.multi_asset(name=f"{PREFIX}replayed", specs=specs, can_subset=True, required_resource_keys={"project"})
    def replayed(context: dg.AssetExecutionContext, config: ReplayConfig):
        project: Project = context.resources.project.project
        for key in sorted(context.selected_asset_keys):
            pair = by_key[key]
            with told_to_dagster(context):
                entry = project.interface(pair.stream.name, pair.stream.version)
                metadata = _replay(context, project, entry, pair, config)
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)

    return replayed


def _replay(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    project: Project,
    entry: InterfaceFile,
    pair: AssetPair,
    config: ReplayConfig,
) -> dict[str, Any]:
    """Replay, let the sink follow, tell Dagster of the commits and how the check stands now."""
    line = open_line(entry, project)
    if config.dry_run:
        outcomes = [outcome for _, outcome in try_letters(line, config.wanted(), config.limit)]
        resolved = sum(outcome.outcome == "replayed" for outcome in outcomes)
        context.log.info(f"{pair.stream}: {resolved} would be resolved, {len(outcomes) - resolved} would still fail")
        return {"would_resolve": resolved, "would_fail": len(outcomes) - resolved}
    require_admission(project, entry, by=run_name(context), action="replay", reason=config.why)
    report = replay_letters(line, config.wanted(), run_id=context.run.run_id, limit=config.limit)
    outcome = f"{report.resolved} resolved, {report.failing} still failing"
    record(project, entry, "replay", by=run_name(context), reason=config.why, message=outcome)
    context.log.info(f"{pair.stream}: {outcome}")
    for follower in catch_up(entry, project):
        if follower.error is not None:
            raise follower.error
    mirror_pair(pair, project, context.instance, thorough=False)
    key = pair.keys["dead_letters"]
    context.instance.report_runless_asset_event(open_dead_letters(line.log, entry, key))
    return _metadata(report) | _standing(line.log)


def _metadata(report: MendReport) -> dict[str, Any]:
    return {
        "resolved": report.resolved,
        "failed_again": report.failing,
        "reasons": dg.MetadataValue.json(report.reasons),
        "commits": dg.MetadataValue.json([manifest.seq for manifest in report.manifests]),
    }


def _standing(log: CommitLog) -> dict[str, Any]:
    with open_letters(log) as letters:
        return letters_metadata(letters)
