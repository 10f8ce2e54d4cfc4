"""Interfaces that run by themselves: by the schedule in their file, or behind what they depend on."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import dagster as dg

from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.defs.assets import why_not_executable
from rootsys_dagster.defs.groups import MEMBER
from rootsys_dagster.defs.jobs import ALL, run_tags
from rootsys_dagster.defs.pairs import AssetPair
from rootsys_dagster.defs.schedules import schedule_of
from rootsys_dagster.defs.triggers import TRIGGERED_BY
from rootsys_dagster.pipeline.admission import refusal

AUTOMATION = "automation"


def interface_schedules(
    project: Project, pairs: Mapping[Path, AssetPair], member: dg.OpDefinition, taken: Collection[str]
) -> tuple[list[dg.JobDefinition], list[dg.ScheduleDefinition]]:
    """The schedule of each interface that has one, and the jobs that only they run.

    A scheduled run is one of the assets, as the button in the UI starts it. What is read by windows has none that does
    not name some: its schedule runs a job of one step, which reads those that are due.

    Args:
        taken: names of jobs that there are already.
    """
    jobs: list[dg.JobDefinition] = []
    schedules: list[dg.ScheduleDefinition] = []
    for file in project.interfaces:
        # One that is broken keeps its schedule, and its runs say what is wrong.
        if file.interface is None or file.interface.schedule is None or why_not_executable(file.interface):
            continue
        pair = pairs[file.path]
        asset = pair.keys["records"].path[-1]
        job, selection = ALL, list(pair.keys.values())
        if pair.partitions is not None:
            job, selection = f"{asset}_due_windows", None
            while job in taken:
                job += "_job"
            jobs.append(_due_windows(file, job, member))
        name = f"{asset}_schedule"
        refused = partial(refusal, project, file, by=f"schedule {name}")
        schedules.append(
            schedule_of(file.interface.schedule, name, job, refused, asset_selection=selection, tags=run_tags(pair))
        )
    return jobs, schedules


def _due_windows(file: InterfaceFile, name: str, member: dg.OpDefinition) -> dg.JobDefinition:
    step = dg.NodeInvocation(member.name, alias=file.asset, tags={MEMBER: file.path.name})
    graph = dg.GraphDefinition(f"{name}_graph", node_defs=[member], dependencies={step: {}})
    return graph.to_job(name, description=f"Reads every window of {file.name} that is due")


def eager(upstream: Sequence[dg.AssetKey]) -> dg.AutomationCondition:
    """Run when one of *upstream* has new data and all of them have some.

    Nothing else counts: a source system is no asset that anything could materialize, and would hold it up for ever.
    """
    return dg.AutomationCondition.eager().allow(dg.AssetSelection.assets(*upstream))


def automation_sensor(keys: Sequence[dg.AssetKey]) -> dg.AutomationConditionSensorDefinition:
    """One for all assets with a condition, switched on: a file that asks for it means it."""
    return dg.AutomationConditionSensorDefinition(
        AUTOMATION,
        target=dg.AssetSelection.assets(*keys),
        default_status=dg.DefaultSensorStatus.RUNNING,
        run_tags={TRIGGERED_BY: f"sensor:{AUTOMATION}"},
        description='Runs what has "automation" in its file behind what it needs.',
    )
