"""Whether something may run now: what people have paused or drained is asked before every run, whoever starts it."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from rootsys_dagster.core.errors import RefusedError
from rootsys_dagster.core.project import FabricFile, InterfaceFile, Project
from rootsys_dagster.log.commit import utc_now
from rootsys_dagster.log.controls import HELD, Controls, Entry, Scope

ProjectEntry: TypeAlias = InterfaceFile | FabricFile
ALL = Scope("all")


def scopes_of(project: Project, entry: ProjectEntry) -> list[Scope]:
    """Everything by which *entry* can be held, the widest first."""
    return [ALL, Scope("interface", entry.name)]


def hold_on(project: Project, entry: ProjectEntry) -> Entry | None:
    """The strictest hold on *entry*, None when it is free."""
    return Controls(project.state_root).standing().hold_on(scopes_of(project, entry))


def refusal(project: Project, entry: ProjectEntry, by: str | None = None) -> str | None:
    """Why *entry* may not run now: who, when, why, and the way out. None when it may.

    For whoever starts runs of their own accord, schedules and sensors; a run asks :func:`require_admission` itself.

    Args:
        by: who wanted to run it; the refusal is kept in the audit then.
    """
    hold = hold_on(project, entry)
    if hold is None:
        return None
    message = _told(entry.name, Scope("interface", entry.name), hold)
    if by is not None:
        record(project, entry, "run", by=by, outcome="refused", message=message)
    return message


def group_refusal(project: Project, group: str) -> str | None:
    """Why a run of *group* may not start now. What holds only a member of it is asked when that member is run."""
    own = Scope("group", group)
    hold = Controls(project.state_root).standing().hold_on([ALL, own])
    return None if hold is None else _told(str(own), own, hold)


def _told(name: str, own: Scope, hold: Entry) -> str:
    """What a person reads of *hold*, which may be on something wider than the scope of *name* itself."""
    whose = "" if hold.scope == own else f"{hold.scope} is "
    return f"{name}: {whose}{hold}; to go on: rootsys controls resume {hold.scope.option} --reason WHY"


def require_admission(
    project: Project, entry: ProjectEntry, *, by: str, action: Literal["run", "replay"] = "run", reason: str = ""
) -> None:
    """Ask before a run or a replay; a refusal is kept in the audit.

    Args:
        by: who asks, a person or a run of Dagster.
        reason: why a replay is wanted; with one, a hold does not keep it back.
    Raises:
        RefusedError: it may not run now.
    """
    if action == "replay" and reason:
        return
    message = refusal(project, entry)
    if message is None:
        return
    if action == "replay":
        message += f", or replay all the same: rootsys controls replay --interface {entry.name} --reason WHY"
    record(project, entry, action, by=by, reason=reason, outcome="refused", message=message)
    raise RefusedError(message)


def record(
    project: Project,
    entry: ProjectEntry,
    action: Literal["run", "replay", "reset"],
    *,
    by: str,
    reason: str = "",
    outcome: Literal["done", "refused"] = "done",
    message: str = "",
) -> None:
    """Keep in the audit what was done with *entry*, or refused; a refusal that repeats is kept once."""
    scope = Scope("interface", entry.name)
    kept = Entry(at=utc_now(), by=by, action=action, scope=scope, reason=reason, outcome=outcome, message=message)
    Controls(project.state_root).record(kept, unless_repeated=outcome == "refused")


def pause_watch(project: Project, entry: ProjectEntry) -> Callable[[], str | None]:
    """To be asked between two batches: why a run that is going on should end there. Draining lets it go on."""

    def paused() -> str | None:
        hold = hold_on(project, entry)
        return None if hold is None or hold.action != "pause" else f"{hold.scope} {HELD[hold.action]} by {hold.by}"

    return paused
