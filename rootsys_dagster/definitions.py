"""The code location: the project that the environment or the current folder names."""

import dagster as dg

from rootsys_dagster.core.project import Project
from rootsys_dagster.defs.build import build_definitions
from rootsys_dagster.defs.resources import current_project

_built: tuple[Project, dg.Definitions] | None = None


@dg.definitions
def defs() -> dg.Definitions:
    """Built once per state of the files: Dagster asks for its definitions up to five times per command."""
    global _built
    project = current_project()
    if _built is None or _built[0] is not project:
        _built = project, build_definitions(project)
    return _built[1]
