"""``rootsys connections``: what the project names, and whether it answers."""

from pathlib import Path
from typing import Any

import click

from rootsys_dagster.cli.output import emit, exit_code_of, note, plural, table
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.core.connection_config import Connection
from rootsys_dagster.core.connections import CONNECTIONS
from rootsys_dagster.core.errors import InvalidFileError
from rootsys_dagster.core.project import Project, load_project
from rootsys_dagster.secrets import redact


@click.group()
def connections() -> None:
    """List the connections of the project, or test whether they answer."""


@connections.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.option("--project", type=PATH, help="Project folder.")
def list_connections(as_json: bool, project: Path | None) -> None:
    """Every connection of connections.json, and what uses it. Nothing is asked, and no secret is read."""
    loaded = load_project(project)
    found = [(one, users(one.name, loaded)) for one in all_of(loaded)]
    if as_json:
        for one, used_by in found:
            emit(
                {
                    "name": one.name,
                    "kind": one.kind,
                    "place": one.place,
                    "max_runs": one.max_runs,
                    "used_by": used_by,
                    "notes": one.notes,
                }
            )
        return
    table(
        ["NAME", "KIND", "PLACE", "RUNS", "USED BY", "NOTES"],
        (
            [one.name, one.kind, one.place, str(one.max_runs or ""), ", ".join(used_by), one.notes or ""]
            for one, used_by in found
        ),
        right=[3],
    )


@connections.command()
@click.argument("names", nargs=-1)
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="For each; all are asked at the same time.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.option("--project", type=PATH, help="Project folder.")
@click.pass_context
def test(ctx: click.Context, names: tuple[str, ...], timeout_s: float, as_json: bool, project: Path | None) -> None:
    """Ask connections NAMES, or all of them, whether they answer.

    Databases with SELECT 1, services with a HEAD or GET of their URL, mail servers with NOOP; each signed in as it is
    for a run. Exit code 1 when one does not answer, 2 when only settings are wrong.
    """
    from rootsys_dagster.hooks.probe import probe_all
    from rootsys_dagster.hooks.service import Surroundings

    loaded = load_project(project)
    chosen = [loaded.connections.get(name) for name in dict.fromkeys(names)] if names else all_of(loaded)
    found = probe_all(chosen, Surroundings.of(loaded), timeout_s)
    for one in found:
        state = "ok" if one.error is None else "failed"
        detail = one.detail if one.error is None else redact(f"{one.error.message} [{one.error.code}]")
        if as_json:
            code = None if one.error is None else one.error.code
            line: dict[str, Any] = {"name": one.name, "kind": one.kind, "place": one.place, "state": state}
            emit({**line, "elapsed_ms": one.elapsed_ms, "detail": detail, "code": code})
        else:
            click.echo(f"{state:8}{one.name:20}{one.elapsed_ms:>6} ms  {detail}")
    failures = [one.error for one in found if one.error is not None]
    if not as_json:
        note(f"{len(found) - len(failures)} of {plural(len(found), 'connection')} answered")
    ctx.exit(min((exit_code_of(error) for error in failures), default=0))


def all_of(project: Project) -> list[Connection]:
    """Every connection in the order of the file.

    Raises:
        InvalidFileError: with every problem of the file.
    """
    if project.connections.problems:
        raise InvalidFileError(str(project.root / CONNECTIONS), project.connections.problems)
    return list(project.connections.by_name.values())


def users(name: str, project: Project) -> list[str]:
    """The interfaces that name a connection."""
    found: list[str] = []
    for entry in project.interfaces:
        interface = entry.interface
        if interface is not None and (
            name == interface.driver.connection or any(name == one.connection for one in interface.watermarks)
        ):
            found.append(entry.name)
    return found
