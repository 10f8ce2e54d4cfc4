"""One fabric file, two assets: ``defects`` (merged) and ``defects_duplicates``, downstream of its inputs."""

from collections.abc import Sequence

import dagster as dg

from rootsys_dagster.core.project import FabricFile, Project
from rootsys_dagster.defs import checks
from rootsys_dagster.defs.controls import run_name
from rootsys_dagster.defs.errors import told_to_dagster
from rootsys_dagster.defs.metadata import code_reference
from rootsys_dagster.defs.ops import materialized
from rootsys_dagster.defs.pairs import AssetPair, Role, pair_of
from rootsys_dagster.pipeline.admission import require_admission
from rootsys_dagster.pipeline.merge import merge_fabric

GROUP = "fabrics"
SHOWN = {"records": "Merged records", "duplicates": "Duplicates"}


def fabric_assets(
    project: Project, entry: FabricFile, pair: AssetPair, inputs: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    """The merge behind both assets; *inputs* are the record assets in the order of the fabric file."""
    specs = {role: _spec(project, entry, pair, role, inputs) for role in pair.keys}
    return dg.multi_asset(
        name=pair.node,
        specs=list(specs.values()),
        check_specs=[checks.check_spec(checks.CONSERVATION, specs["records"].key)],
        required_resource_keys={"project"},
    )(merge)


def merge(context: dg.AssetExecutionContext):
    """Append what the inputs have committed since the last merge, keeping the first of each key."""
    project: Project = context.resources.project.project
    pair = pair_of(context)
    with told_to_dagster(context):
        results = merged(context, project, project.fabric(pair.stream.name, pair.stream.version), pair)
    yield from results


def merged(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, project: Project, fabric: FabricFile, pair: AssetPair
) -> list[dg.MaterializeResult]:
    """Merge, and the events of both assets."""
    log = pair.log(project)
    base_seq = log.last_seq()
    require_admission(project, fabric, by=run_name(context))
    report = merge_fabric(fabric, project, run_id=context.run.run_id)
    outcome = f"{report.written} merged, {report.duplicates} duplicates" if report.total else "nothing new"
    context.log.info(f"{pair.stream}: {outcome}, at commit {log.last_seq()}")
    commits = [commit for commit in log.manifests(after=base_seq) if commit.run_id == context.run.run_id]
    head = log.head()
    checked = checks.conservation(log, commits or [head] if head else [], pair.keys["records"])
    return [
        materialized(context, pair, project, "records", commits, [checked]),
        materialized(context, pair, project, "duplicates", commits, []),
    ]


def _spec(
    project: Project, entry: FabricFile, pair: AssetPair, role: Role, inputs: Sequence[dg.AssetKey]
) -> dg.AssetSpec:
    fabric = entry.require()
    return dg.AssetSpec(
        pair.keys[role],
        deps=inputs,
        description=f"{SHOWN[role]} of {pair.stream}. {fabric.description or ''}".strip(),
        metadata={**pair.metadata(role), "dagster/code_references": code_reference(entry.path, project.root)},
        group_name=GROUP,
        code_version=entry.sha256[:16],
        owners=fabric.owners,
        tags=fabric.tags,
        kinds={"merge"},
        automation_condition=dg.AutomationCondition.eager() if fabric.automation is not None else None,
    )
