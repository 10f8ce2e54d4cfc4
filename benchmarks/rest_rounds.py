"""A whole run against the yardstick, in turn within one process: ``benchmarks.rest_rounds PROJECT NAME RUNS``.

Prints the seconds of each as JSON: fetched, normalised and committed with every sync, and the loop alone. Without the
start of a process, which is the same for one page and for a million.
"""

import json
import shutil
import sys
import uuid
from pathlib import Path

from benchmarks import httpx_loop
from benchmarks.core_loop import seconds
from rootsys_dagster.core.project import Project, load_project
from rootsys_dagster.pipeline.run import run_interface


def whole_run(project: Project, name: str) -> int:
    """The number of records, from the first page to the last commit."""
    shutil.rmtree(project.state_root, ignore_errors=True)
    return run_interface(project.interface(name), project, run_id=uuid.uuid4().hex).counts.accepted


def main(root: str, name: str, runs: str) -> None:
    """One round to warm up, then *runs* that count."""
    project = load_project(Path(root))
    rest = project.interface(name).require().driver.rest
    assert rest is not None
    url = rest.url
    rounds = [
        {"run": seconds(lambda: whole_run(project, name)), "loop": seconds(lambda: httpx_loop.main(url))}
        for _ in range(int(runs) + 1)
    ]
    print(json.dumps(rounds[1:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
