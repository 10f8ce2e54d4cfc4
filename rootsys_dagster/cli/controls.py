"""``rootsys controls``: pause, drain, resume and replay with a reason, and the audit of who did what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from rootsys_dagster.cli.output import emit, note, report, table
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.streams import find_entry
from rootsys_dagster.core.errors import RefusedError, RootsysError
from rootsys_dagster.core.ports import Place
from rootsys_dagster.core.project import InterfaceFile, Project, load_project
from rootsys_dagster.log.controls import HELD, Controls, Entry, Scope, this_person
from rootsys_dagster.pipeline.admission import hold_on, record, scopes_of

NEWEST = 20


def control_options(function: Any) -> Any:
    """What a control is about, why, and in which project."""
    for option in (
        click.option("--project", type=PATH, help="Project folder."),
        click.option("--state-root", type=PATH, help="Where commit logs are."),
        click.option("--reason", required=True, help="Why; whoever is held back by it reads this."),
        click.option("--all", "everything", is_flag=True, help="Every interface and fabric."),
        click.option("--interface", metavar="NAME", help="One interface or fabric, in all its versions."),
    ):
        function = option(function)
    return function


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON line: what is held, and every entry of the audit.")
@click.option("--state-root", type=PATH, help="Where commit logs are.")
@click.option("--project", type=PATH, help="Project folder.")
@click.pass_context
def controls(ctx: click.Context, as_json: bool, state_root: Path | None, project: Path | None) -> None:
    """Hold back runs and let them go again, each time with a reason; alone: what is held, and who did what.

    \b
    pause    no new run starts, and one that is going on ends at its next batch, with a commit
    drain    no new run starts, and one that is going on ends by itself
    resume   takes either back
    replay   puts dead letters through again, or reads a source anew, also while it is held

    Sensors, schedules, runs in Dagster and 'rootsys run' all ask first. Nothing is lost meanwhile: what a source has
    is read when it is resumed.
    """
    if ctx.invoked_subcommand is None:
        show(Controls(load_project(project, state_root).state_root), as_json)


def transition(action: Literal["pause", "drain", "resume"]) -> Callable[..., None]:
    """The callback of one command."""

    def change(everything: bool, interface: str | None, reason: str, **where: Path | None) -> None:
        project = load_project(where["project"], where["state_root"])
        scope = scope_of(project, everything, interface, may_be_gone=action == "resume")
        entry = Controls(project.state_root).change(action, scope, reason=reason, by=this_person())
        if entry.outcome == "refused":
            raise RefusedError(entry.message, code="CONTROLS.REFUSED")
        click.echo(f"{scope}: {'running' if action == 'resume' else HELD[action]}")
        if action == "resume":
            tell_what_stays(project, scope)

    return change


for _action, _help in (
    ("pause", "Start no new run, and end those that are going on at their next batch, with a commit."),
    ("drain", "Start no new run, and let those that are going on end by themselves."),
    ("resume", "Let runs start again: the next one goes on from the last commit."),
):
    controls.command(name=_action, help=_help)(control_options(transition(_action)))  # pyright: ignore[reportArgumentType]


@controls.command()
@click.option(
    "--from",
    "stage",
    type=click.Choice(["dead-letters", "source"]),
    default="dead-letters",
    show_default=True,
    help="Open dead letters, from their bytes as fetched; or all that the source has, by the next run.",
)
@control_options
@click.pass_context
def replay(
    ctx: click.Context,
    stage: Literal["dead-letters", "source"],
    everything: bool,
    interface: str | None,
    reason: str,
    state_root: Path | None,
    project: Path | None,
) -> None:
    """Put open dead letters through their interface as it is now, or set its source back to the beginning.

    Also while it is held: mend, replay, look at what came of it, and resume.
    """
    from rootsys_dagster.cli.replay import replay_entries
    from rootsys_dagster.log.letters import LetterFilter

    loaded = load_project(project, state_root)
    scope = scope_of(loaded, everything, interface)
    entries = [file for file in loaded.interfaces if not file.problems and scope in scopes_of(loaded, file)]
    if stage == "dead-letters":
        ctx.exit(replay_entries(loaded, entries, LetterFilter(), reason=reason, empty=scope.kind == "interface"))
    failed = [file for file in entries if not read_anew(loaded, file, reason)]
    ctx.exit(1 if failed else 0)


def read_anew(project: Project, entry: InterfaceFile, reason: str) -> bool:
    """Set one source back to its beginning; what cannot be is kept in the audit as refused."""
    import rootsys_dagster.drivers  # noqa: F401  (registers what interface files name)
    from rootsys_dagster.cli.ingest import new_run_id
    from rootsys_dagster.pipeline.reset import reset_position
    from rootsys_dagster.pipeline.run import open_line

    try:
        if open_line(entry, project).log.has_commits():
            commit = reset_position(entry, project, Place("earliest"), run_id=new_run_id(), reason=reason)
            click.echo(f"{entry.name}: the next run reads it from the beginning: commit {commit.seq}")
    except RootsysError as error:
        message = f"{error} [{error.code}]"
        record(project, entry, "reset", by=this_person(), reason=reason, outcome="refused", message=message)
        report(error, entry.name)
        return False
    return True


def scope_of(project: Project, everything: bool, interface: str | None, *, may_be_gone: bool = False) -> Scope:
    """What the options name.

    Args:
        may_be_gone: also what is held and has left the project since.
    Raises:
        UsageError: not exactly one thing is named.
        ConfigError: there is nothing of that name.
    """
    if everything + (interface is not None) != 1:
        raise click.UsageError("say what it is about: --interface NAME, or --all")
    if interface is None:
        return Scope("all")
    gone = Scope("interface", interface)
    if may_be_gone and gone in Controls(project.state_root).standing().holds:
        return gone
    return Scope("interface", find_entry(project, interface).name)


def tell_what_stays(project: Project, scope: Scope) -> None:
    """Something wider may hold back what was resumed."""
    for entry in (*project.interfaces, *project.fabrics):
        if scope in scopes_of(project, entry) and (hold := hold_on(project, entry)):
            note(f"{entry.name} does not run yet: {hold.scope} is {hold}")


def show(kept: Controls, as_json: bool) -> None:
    """What is held, then the audit."""
    standing, entries = kept.standing(), list(kept.entries())
    if as_json:
        held = [{"state": HELD[entry.action], **members(entry)} for entry in standing.holds.values()]
        emit({"held": held, "audit": [members(entry) for entry in entries]})
        return
    click.echo("nothing is held" if not standing.holds else "held now:")
    if standing.holds:
        rows = [(str(one.scope), HELD[one.action], one.by, one.at, one.reason) for one in standing.holds.values()]
        table(["WHAT", "STATE", "BY", "SINCE", "REASON"], rows)
    if entries:
        click.echo(f"\naudit, newest last{f', {NEWEST} of {len(entries):,}' if len(entries) > NEWEST else ''}:")
        table(["AT", "BY", "WHAT", "ACTION", "OUTCOME", "REASON", "MESSAGE"], map(cells, entries[-NEWEST:]))


def members(entry: Entry) -> dict[str, Any]:
    """One entry as JSON."""
    return msgspec.to_builtins(entry)


def cells(entry: Entry) -> list[str]:
    """One entry as a row."""
    return [entry.at, entry.by, str(entry.scope), entry.action, entry.outcome, entry.reason, entry.message]
