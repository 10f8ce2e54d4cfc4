"""The core against the yardstick, in turn within one process: ``python -m benchmarks.core_loop PROJECT NAME RUNS``.

Prints the seconds of each run as JSON: reading and normalising with the output dropped, and ``orjson.loads`` alone.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import rootsys_dagster.drivers  # noqa: F401  (registers the drivers)
from benchmarks import orjson_loop
from rootsys_dagster.core.project import load_project
from rootsys_dagster.pipeline.normalise import Normaliser
from rootsys_dagster.pipeline.run import Line, open_line


def normalise(line: Line) -> int:
    """The number of accepted records."""
    normaliser = Normaliser(line.interface, line.source)
    return sum(normaliser.normalise(batch).counts.accepted for batch in line.driver.read(None))


def seconds(work: Callable[[], int]) -> float:
    """How long *work* takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(root: str, name: str, runs: str) -> None:
    """One round to warm up, then *runs* that count."""
    project = load_project(Path(root))
    line = open_line(project.interface(name), project)
    path = str(line.interface.driver.input)
    rounds = [
        {"core": seconds(lambda: normalise(line)), "orjson": seconds(lambda: orjson_loop.main(path))}
        for _ in range(int(runs) + 1)
    ]
    print(json.dumps(rounds[1:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
