"""What ops need besides their input: the project with its state, one resource per driver kind, and the line itself."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import dagster as dg
from pydantic import PrivateAttr

from rootsys_dagster.core.incremental import Window
from rootsys_dagster.core.ports import Batch
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.project import InterfaceFile, Project, load_project
from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.defs.handles import json_handles
from rootsys_dagster.defs.triggers import tag_run
from rootsys_dagster.pipeline.run import Line, RunReport, open_line, run_fetched

_projects: dict[tuple[Path | None, Path | None], tuple[str, Project]] = {}


def current_project(root: Path | None = None, state_root: Path | None = None) -> Project:
    """The project as its files stand now; read again only when one of them has changed."""
    known = _projects.get((root, state_root))
    if known and known[0] == known[1].fingerprint():
        return known[1]
    project = load_project(root, state_root)
    # By its full name too, by which a run in this process will ask for it.
    _projects[root, state_root] = _projects[project.root, project.state_root] = project.fingerprint(), project
    return project


class ProjectResource(dg.ConfigurableResource[Project]):
    """The folder with interfaces/ and contracts/, and the state root with the commit logs."""

    root: str
    state_root: str
    _project: Project | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Read the project once per run: every step sees the same files, and a thousand of them are read once."""
        self._project = current_project(Path(self.root), Path(self.state_root))
        if context.run is not None and context.instance is not None:
            tag_run(context.run, context.instance)

    @property
    def project(self) -> Project:
        """The project as it stood when the run began."""
        assert self._project is not None
        return self._project


class DriverResource(dg.ConfigurableResource[Line]):
    """Opens the source systems of one driver kind."""

    kind: str

    def open(self, entry: InterfaceFile, project: Project, window: Window | None = None) -> Line:
        """The line of one interface: its driver, its log. Nothing is read yet."""
        return open_line(entry, project, window=window)


class Execute(Protocol):
    """Normalises and commits what an interface has fetched: :func:`run_fetched`, or a component's own way."""

    def __call__(
        self, line: Line, batches: Iterable[Batch], fetched_from: Position | None, *, run_id: str
    ) -> RunReport: ...


def driver_key(kind: str) -> str:
    """The name of the resource for drivers of *kind*."""
    return f"driver_{kind}"


def resources(project: Project, execute: Execute = run_fetched) -> dict[str, object]:
    """Every resource of a code location."""
    return {
        "project": ProjectResource(root=str(project.root), state_root=str(project.state_root)),
        "execute": dg.ResourceDefinition.hardcoded_resource(execute),
        "io_manager": json_handles,
        **{driver_key(kind): DriverResource(kind=kind) for kind in DRIVERS.kinds()},
    }
