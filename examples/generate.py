"""Refresh the example project at the top of this repository: ``python examples/generate.py``."""

from pathlib import Path

from rootsys_dagster.examples import write_example_project

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    # An empty environment: what is committed must not depend on the row counts of whoever refreshes it.
    for path in write_example_project(root, environment={}, overwrite=True):
        print(path.relative_to(root))
