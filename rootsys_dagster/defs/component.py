"""A project as a component, for those who build on it: override how an asset looks or how it runs."""

from collections.abc import Iterable
from pathlib import Path

import dagster as dg

from rootsys_dagster.core.ports import Batch
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.defs.assets import interface_spec
from rootsys_dagster.defs.build import build_definitions
from rootsys_dagster.defs.pairs import AssetPair, Role
from rootsys_dagster.defs.resources import current_project
from rootsys_dagster.pipeline.run import Line, RunReport, run_fetched


class InterfaceFolderComponent(dg.Component, dg.Model, dg.Resolvable):
    """Every interface and fabric file of a project, as assets, checks, jobs and sensors."""

    project: str = "."
    """The folder that holds interfaces/ and contracts/; relative to the project of the code location."""
    job_per_interface: bool | None = None
    """None: switched off above some hundreds of interfaces."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        project = current_project(Path(context.project_root, self.project))
        return build_definitions(
            project, spec_of=self.get_asset_spec, execute=self.execute, job_per_interface=self.job_per_interface
        )

    def get_asset_spec(self, project: Project, entry: InterfaceFile, pair: AssetPair, role: Role) -> dg.AssetSpec:
        """How one asset of an interface looks: key, group, owners, tags, metadata."""
        return interface_spec(project, entry, pair, role)

    def execute(self, line: Line, batches: Iterable[Batch], fetched_from: Position | None, *, run_id: str) -> RunReport:
        """Normalise and commit what was fetched after *fetched_from*; called again when the step is retried."""
        return run_fetched(line, batches, fetched_from, run_id=run_id)
