"""``rootsys check``: every problem of every file, before anything runs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import click

from rootsys_dagster.cli.output import emit, plural, warn
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.run_options import RunOptions, open_driver
from rootsys_dagster.cli.streams import Entry, find_entry
from rootsys_dagster.core.connections import CONNECTIONS
from rootsys_dagster.core.driver_config import FILE_KINDS
from rootsys_dagster.core.errors import InvalidFileError, Problem, RootsysError
from rootsys_dagster.core.project import InterfaceFile, Project, load_project, read_interface_file
from rootsys_dagster.core.project_file import FoundFile, read_fabric_file, read_group_file


@dataclass(slots=True)
class Checked:
    """What was found, by file."""

    files: int = 0
    problems: dict[str, list[Problem]] = field(default_factory=dict[str, list[Problem]])
    warnings: list[tuple[str, Problem]] = field(default_factory=list[tuple[str, Problem]])

    def add(self, path: Path, problems: Iterable[Problem]) -> None:
        """One file with what is wrong with it."""
        self.files += 1
        if found := list(problems):
            self.problems[str(path)] = found


@click.command()
@click.argument("targets", metavar="[NAME|PATH]...", nargs=-1)
@click.option("--online", is_flag=True, help="Ask servers too: sign in, and see whether the source answers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per problem.")
@click.option("--project", type=PATH, help="Project folder.")
@click.option("--contract-registry", type=PATH, help="contracts/allowlist.json by default.")
@click.pass_context
def check(
    ctx: click.Context,
    targets: tuple[str, ...],
    online: bool,
    as_json: bool,
    project: Path | None,
    contract_registry: Path | None,
) -> None:
    """Report every problem of every interface, fabric and group file, and of the inputs that they name.

    NAME is an interface or fabric of the project, PATH a file anywhere. Exit code 2 when there is a problem.
    """
    checked = Checked()
    paths = [Path(target) for target in targets if is_path(target)]
    names = [target for target in targets if not is_path(target)]
    for path in paths:
        check_file(path, checked)
    if names or not targets:
        loaded = load_project(project, contracts_path=contract_registry)
        if not names:
            checked.add(loaded.contracts_path, loaded.contract_problems)
            if (path := loaded.root / CONNECTIONS).exists():
                checked.add(path, loaded.connections.problems)
        for entry in named(loaded, names):
            check_entry(entry, loaded, checked, online=online)
        for group in loaded.groups if not names else ():
            checked.warnings += [(str(group.path), warning) for warning in group.warnings]
            checked.add(group.path, group.problems)
    print_findings(checked, as_json)
    ctx.exit(2 if checked.problems else 0)


def is_path(target: str) -> bool:
    """Whether a target names a file rather than an interface."""
    return "/" in target or target.endswith(".json")


def named(project: Project, names: list[str]) -> list[Entry]:
    """The files of *names*; all of them when none is named."""
    if not names:
        return [*project.interfaces, *project.fabrics]
    return [find_entry(project, name) for name in names]


def check_file(path: Path, checked: Checked) -> None:
    """A file on its own: no contract registry, no neighbours."""
    file = reader(path)(path)
    checked.warnings += [(str(path), warning) for warning in file.warnings]
    checked.add(path, file.problems)


def reader(path: Path) -> Callable[[Path], FoundFile]:
    """What reads the kind of file that the name of *path* says."""
    if path.name.endswith(".group.json"):
        return read_group_file
    return read_fabric_file if path.name.endswith(".fabric.json") else read_interface_file


def check_entry(entry: Entry, project: Project, checked: Checked, *, online: bool) -> None:
    """A file of a project, and whether its source can be read now; servers are asked only *online*."""
    problems = list(entry.problems)
    checked.warnings += [(str(entry.path), warning) for warning in entry.warnings]
    if isinstance(entry, InterfaceFile) and entry.interface is not None and entry.interface.enabled:
        try:
            driver = open_driver(entry.interface, RunOptions(), project)
            if online or entry.interface.driver.kind in FILE_KINDS:
                driver.check()
        except InvalidFileError as error:
            problems += error.problems
        except RootsysError as error:
            problems.append(Problem(error.code, "/driver", error.message))
    checked.add(entry.path, problems)


def print_findings(checked: Checked, as_json: bool) -> None:
    """The problems on standard output, in the form of the reference with the code behind each."""
    for path, problem in checked.warnings:
        warn(f"{path}: {problem.pointer}: {problem.message}", problem.code)
    if as_json:
        for path, problems in checked.problems.items():
            for problem in problems:
                emit({"file": path, "pointer": problem.pointer, "code": problem.code, "message": problem.message})
        return
    for path, problems in checked.problems.items():
        click.echo(str(InvalidFileError(path, problems)))
    good = checked.files - len(checked.problems)
    click.echo(f"{good} of {plural(checked.files, 'file')} fine")
