"""A group file as one job: a step for each member, named with its place, one after another.

A step is the whole line of its member, and reports the same materializations and checks as a run of the assets does.
Members go on after a failure because nothing connects their steps: the order is that of their priorities, which the
in-process executor keeps as long as a step never waits for anything but itself. That is why a step tries again by
itself, and claims no pool. With ``stop_on_failure`` each step depends on the one before.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import dagster as dg

from rootsys_dagster.core.errors import InvalidFileError, RefusedError, RootsysError
from rootsys_dagster.core.order import Entry, is_enabled
from rootsys_dagster.core.project import GroupFile, Project
from rootsys_dagster.core.project_file import asset_safe
from rootsys_dagster.defs.errors import failure
from rootsys_dagster.defs.jobs import is_reserved
from rootsys_dagster.defs.member import run_member
from rootsys_dagster.defs.pairs import PREFIX, AssetPair
from rootsys_dagster.defs.schedules import interval_sensor, schedule_of
from rootsys_dagster.defs.triggers import trigger_of
from rootsys_dagster.log.trigger import asked_by
from rootsys_dagster.pipeline.admission import group_refusal

GROUP_TAG = "rootsys/group"
"""Of runs and steps; the run queue keeps two runs of one group apart by it."""
MEMBER = "rootsys/member"
REFUSE, MEMBER_OP, NOBODY = (f"{PREFIX}{name}" for name in ("refuse_group", "member", "no_member"))


def group_job(
    project: Project, file: GroupFile, name: str, member: dg.OpDefinition, refuse: dg.OpDefinition
) -> dg.JobDefinition:
    """The job *name* of one group; that of a broken file fails with its problems."""
    tags = {**(file.group.tags if file.group is not None else {}), GROUP_TAG: file.name}
    graph = f"{PREFIX}group_{asset_safe(file.name)}"
    if file.problems or file.group is None:
        problems = "\n".join(f"- {problem}" for problem in file.problems)
        broken = dg.GraphDefinition(graph, node_defs=[refuse], dependencies={_invoke(refuse, "refuse", file, file): {}})
        return broken.to_job(name, description=f"{file.path.name} cannot be used:\n\n{problems}", tags=tags)
    members = [(place, entry) for place, entry in project.members(file) if is_enabled(entry)]
    steps = [(step_name(place, entry), place, entry) for place, entry in members]
    before = {after: first for (first, *_), (after, *_) in pairwise(steps)} if file.group.stop_on_failure else {}
    dependencies = {
        _invoke(member, step, file, entry, priority=-place): (
            {"after": dg.DependencyDefinition(before[step], "done")} if step in before else {}
        )
        for step, place, entry in steps
    }
    made = dg.GraphDefinition(graph, node_defs=[member if steps else nobody], dependencies=dependencies)
    return made.to_job(
        name,
        description=description(file, [entry.name for _, entry in members]),
        tags=tags,
        metadata={"owners": ", ".join(file.group.owners)} if file.group.owners else None,
        # The order of the steps is its order.
        executor_def=dg.in_process_executor,
    )


def step_name(place: int, entry: Entry) -> str:
    """``01_mes`` for the first member."""
    return f"{place + 1:02}_{entry.asset}"


def description(file: GroupFile, members: Sequence[str]) -> str:
    """What a person reads above the job."""
    group = file.require()
    mode = "stops at the first that fails" if group.stop_on_failure else "goes on when one fails, and fails then"
    order = ", ".join(members) or "nobody: every member is switched off"
    return f"{group.description or ''}\n\nRuns {order}; {mode}.".strip()


def _invoke(
    op: dg.OpDefinition, step: str, group: GroupFile, file: Entry | GroupFile, priority: int = 0
) -> dg.NodeInvocation:
    tags = {GROUP_TAG: group.name, MEMBER: file.path.name, "dagster/priority": str(priority)}
    return dg.NodeInvocation(op.name, alias=step, tags=tags)


def refuse_op(groups: Sequence[GroupFile]) -> dg.OpDefinition:
    """The op of groups whose file cannot be used: the step says why."""
    by_file = {file.path.name: file for file in groups}

    @dg.op(name=REFUSE, description="Says what is wrong with the group file.")
    def refuse(context: dg.OpExecutionContext):
        file = by_file[context.op.tags[MEMBER]]
        raise failure(InvalidFileError(str(file.path), file.problems))

    return refuse


@dg.op(name=NOBODY, description="Every member of the group is switched off.")
def nobody(context: dg.OpExecutionContext):
    """A job without steps would be a success that says nothing."""
    context.log.warning("nothing was run: every member of this group is switched off")


def member_op(pairs: Mapping[Path, AssetPair], parents: Mapping[Path, Sequence[dg.AssetKey]]) -> dg.OpDefinition:
    """The op behind every step of every group.

    Args:
        pairs: the assets of each file, as the code location has them.
        parents: what these are made of.
    """
    by_file = {path.name: (pair, parents.get(path, ())) for path, pair in pairs.items()}

    @dg.op(
        name=MEMBER_OP,
        description="Fetch, judge and commit one interface, or merge one fabric; tell Dagster of its assets.",
        ins={"after": dg.In(dg.Nothing)},
        out={"done": dg.Out(dg.Nothing)},
        required_resource_keys={"project", "execute"},
    )
    def member(context: dg.OpExecutionContext):
        project: Project = context.resources.project.project
        name = context.op.tags[MEMBER]
        group = context.op.tags.get(GROUP_TAG)
        through = asked_by(f"group:{group}") if group is not None else nullcontext()
        with asked_by(trigger_of(context.run)), through:
            try:
                if group is not None and (refused := group_refusal(project, group)):
                    raise RefusedError(refused)
                run_member(context, project, project.file(name), *by_file[name])
            except RootsysError as error:
                raise failure(error) from None

    return member


@dataclass(frozen=True, slots=True)
class Groups:
    """What the groups of a project come to."""

    jobs: list[dg.JobDefinition] = field(default_factory=list[dg.JobDefinition])
    schedules: list[dg.ScheduleDefinition] = field(default_factory=list[dg.ScheduleDefinition])
    sensors: list[dg.SensorDefinition] = field(default_factory=list[dg.SensorDefinition])


def groups_of(project: Project, member: dg.OpDefinition, names: Collection[str]) -> Groups:
    """Jobs, schedules and sensors of every group.

    Args:
        member: the op of its steps.
        names: of jobs that there are already.
    """
    made = Groups()
    refuse = refuse_op(project.groups)
    for file in project.groups:
        name = group_job_name(file, {*names, *(job.name for job in made.jobs)})
        made.jobs.append(group_job(project, file, name, member, refuse))
        if file.group is None:
            continue
        refusal = partial(group_refusal, project, file.name)
        # They stay when a member cannot be found: a run that is red every night is seen, one that is not there is not.
        for number, schedule in enumerate(file.group.schedules, start=1):
            schedule_name = f"{name}_schedule" if number == 1 else f"{name}_schedule_{number}"
            made.schedules.append(schedule_of(schedule, schedule_name, name, refusal))
        if file.group.interval is not None:
            made.sensors.append(interval_sensor(file.group.interval, f"{name}_interval", name, refusal))
    return made


def group_job_name(file: GroupFile, taken: Collection[str]) -> str:
    """The name of the group, with ``_group`` behind it where an interface or Dagster itself has that name."""
    name = asset_safe(file.name)
    if name in taken or is_reserved(name):
        name = f"{name}_group"
    while name in taken:
        name += "_"
    return name
