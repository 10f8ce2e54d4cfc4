"""``rootsys doctor``: what a run needs from this machine, each with what to do when it is not there."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from rootsys_dagster.cli.output import bytes_text, emit, plural
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.project import Project, load_project
from rootsys_dagster.log.find import find_logs
from rootsys_dagster.log.store import preflight

PACKAGES = ("rootsys-dagster", "dagster", "dagster-webserver", "dagster-postgres", "pydantic", "msgspec", "pyarrow")
PYTHON = ((3, 11), (3, 14))
LITTLE_BYTES = 1 << 30
POSTGRES = "ROOTSYS_DAGSTER_POSTGRES_URL"


@dataclass(frozen=True, slots=True)
class Examined:
    """One thing that was looked at. A warning hinders nothing; a failure does."""

    name: str
    state: str
    detail: str


@click.command()
@click.option("--fix", is_flag=True, help="Make what can be made: the state root and Dagster's folder.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.option("--state-root", type=PATH, help="Where commit logs are.")
@click.option("--project", type=PATH, help="Project folder.")
@click.pass_context
def doctor(ctx: click.Context, fix: bool, as_json: bool, state_root: Path | None, project: Path | None) -> None:
    """Check this installation, the project, its state root and Dagster's home. Exit code 1 when something fails."""
    failed = False
    for examined in examine(project, state_root, fix):
        failed |= examined.state == "failed"
        if as_json:
            emit({"name": examined.name, "state": examined.state, "detail": examined.detail})
        else:
            click.echo(f"{examined.state:8}{examined.name:14}{examined.detail}")
    ctx.exit(1 if failed else 0)


def examine(project: Path | None, state_root: Path | None, fix: bool) -> Iterator[Examined]:
    """Everything, the cheap and general first."""
    yield python()
    yield packages()
    try:
        loaded = load_project(project, state_root)
    except RootsysError as error:
        yield Examined("project", "failed", f"{error.message} [{error.code}]")
        return
    yield attempt("project", lambda: files(loaded))
    yield attempt("state root", lambda: state(loaded, fix))
    yield attempt("commit logs", lambda: logs(loaded))
    yield space(loaded)
    yield dagster_home(loaded, fix)
    yield storage()


def attempt(name: str, look: Callable[[], Examined]) -> Examined:
    """What *look* finds; an error of ours is a finding too."""
    try:
        return look()
    except RootsysError as error:
        return Examined(name, "failed", f"{error.message} [{error.code}]")


def python() -> Examined:
    low, high = PYTHON
    here = ".".join(map(str, sys.version_info[:3]))
    if low <= sys.version_info[:2] < high:
        return Examined("python", "ok", f"{here}, {sys.executable}")
    return Examined("python", "failed", f"{here} is not supported; use {low[0]}.{low[1]} to {high[0]}.{high[1] - 1}")


def packages() -> Examined:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Examined("packages", "failed", f"not installed: {', '.join(missing)}; run make setup")
    return Examined("packages", "ok", ", ".join(found))


def files(project: Project) -> Examined:
    every = [*project.interfaces, *project.fabrics]
    broken = [file.path.name for file in every if file.problems]
    if broken or project.contract_problems:
        named = ", ".join(broken[:5]) or "the contract registry"
        return Examined("project", "failed", f"{project.root}: problems in {named}; see rootsys check")
    counted = f"{plural(len(project.interfaces), 'interface')}, {plural(len(project.fabrics), 'fabric')}"
    return Examined("project", "ok", f"{project.root}: {counted}")


def state(project: Project, fix: bool) -> Examined:
    root = project.state_root
    if not root.exists() and not fix:
        return Examined("state root", "ok", f"{root} is made by the first run")
    preflight(root)
    return Examined("state root", "ok", f"{root}: link, folder sync and lock work")


def logs(project: Project) -> Examined:
    found = find_logs(project.state_root)
    for log in found:
        log.head()
    return Examined("commit logs", "ok", f"{len(found)} with commits; rootsys verify reads every byte of them")


def space(project: Project) -> Examined:
    folder = next(path for path in (project.state_root, *project.state_root.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    text = f"{bytes_text(free)} free at {folder}"
    return Examined("disk space", "ok" if free >= LITTLE_BYTES else "warning", text)


def dagster_home(project: Project, fix: bool) -> Examined:
    named = os.environ.get("DAGSTER_HOME")
    if not named:
        text = f"DAGSTER_HOME is not set: runs would be forgotten; export DAGSTER_HOME={project.root}"
        return Examined("dagster home", "warning", text)
    home = Path(named)
    if not home.is_absolute():
        return Examined("dagster home", "failed", f"DAGSTER_HOME={named} is relative, which Dagster refuses")
    if not home.is_dir():
        if not fix:
            return Examined("dagster home", "failed", f"{home} does not exist; --fix makes it")
        home.mkdir(parents=True)
    if not (home / "dagster.yaml").is_file():
        return Examined("dagster home", "warning", f"{home} has no dagster.yaml: Dagster uses its own defaults")
    return Examined("dagster home", "ok", str(home))


def storage() -> Examined:
    # The address itself holds a password.
    if os.environ.get(POSTGRES):
        return Examined("storage", "ok", f"PostgreSQL, named by {POSTGRES}")
    return Examined("storage", "ok", f"SQLite; set {POSTGRES} to use PostgreSQL")
