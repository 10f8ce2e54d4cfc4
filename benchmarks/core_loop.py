"""The in-memory core: read, normalise, drop the output. ``python -m benchmarks.core_loop PROJECT NAME``."""

import sys
from pathlib import Path

import rootsys_dagster.drivers  # noqa: F401  (registers the drivers)
from rootsys_dagster.core.project import load_project
from rootsys_dagster.pipeline.normalise import Normaliser
from rootsys_dagster.pipeline.run import open_line


def main(root: str, name: str) -> int:
    """The number of accepted records."""
    project = load_project(Path(root))
    line = open_line(project.interface(name), project)
    normaliser = Normaliser(line.interface, name)
    return sum(normaliser.normalise(batch).counts.accepted for batch in line.driver.read(None))


if __name__ == "__main__":
    main(*sys.argv[1:])
