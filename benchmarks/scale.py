"""A thousand interfaces in twenty groups: how long definitions take to load, and the pages of the UI to answer."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.measure import RUNS, Case, interleave, scratch, table
from benchmarks.startup import BUILD, INTERFACES, write_interfaces
from tests.services import dagster_home, dagster_servers, wait_for

GROUPS, MOST_LOAD_S, MOST_PAGE_S = 20, 6.0, 3.0
HEAD = "| page of the UI, asked from a real webserver | median s | slowest s |"
LOADED = "{ assetNodes { id } }"
PAGES = {
    "asset graph": """{ assetNodes(loadMaterializations: false) {
      id groupName jobNames opNames opVersion description graphName computeKind kinds isPartitioned isObservable
      isMaterializable isExecutable hasAssetChecks assetKey { path } dependencyKeys { path } dependedByKeys { path }
      tags { key value } owners { __typename } internalFreshnessPolicy { __typename }
      repository { id name location { id name } }
    } }""",
    "jobs": "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {"
    " ... on RepositoryLocation { repositories { jobs { id name isJob isAssetJob } } } } } } } }",
    "automation": "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {"
    " ... on RepositoryLocation { repositories { schedules { id name cronSchedule scheduleState { status } }"
    " sensors { id name sensorState { status } } } } } } } } }",
    "job of a group": """{ pipelineOrError(params: {
      repositoryLocationName: "rootsys", repositoryName: "__repository__", pipelineName: "group_07"
    }) { ... on Pipeline { name solidHandles { handleID } modes { name } } } }""",
}


def main(runs: int = RUNS) -> str:
    """A Markdown section with the times."""
    with scratch() as folder:
        write_project(folder)
        loads = interleave(
            [
                Case("import dagster", [sys.executable, "-c", "import dagster"]),
                Case(
                    f"definitions of {INTERFACES} interfaces in {GROUPS} groups",
                    [sys.executable, "-c", BUILD.format(str(folder))],
                ),
            ],
            runs,
        )
        dagster_home(folder)
        with dagster_servers(folder) as server:
            wait_for("the code location", lambda: len(server.ask(LOADED)["assetNodes"]) > INTERFACES or None)
            times = {
                page: [timed(lambda query=query: server.ask(query)) for _ in range(runs)]
                for page, query in PAGES.items()
            }
    rows = [f"| {page} | {median(found):.2f} | {max(found):.2f} |" for page, found in times.items()]
    return "\n\n".join(
        [
            f"### {INTERFACES} interfaces in {GROUPS} groups",
            table(loads),
            "\n".join([HEAD, "|---|---|---|", *rows]),
            f"Definitions {loads[1].wall_s:.2f} s (under {MOST_LOAD_S}); "
            f"asset graph {median(times['asset graph']):.2f} s (under {MOST_PAGE_S}).",
        ]
    )


def write_project(folder: Path) -> None:
    """Interfaces that read files, fifty to a group, each group with a schedule."""
    names = write_interfaces(folder)
    for number in range(GROUPS):
        group = {
            "name": f"group_{number:02d}",
            "members": names[number::GROUPS],
            "schedules": [{"cron": f"{number} 2 * * *"}],
        }
        (folder / "interfaces" / f"{group['name']}.group.json").write_text(json.dumps(group))


def timed(work: Callable[[], object]) -> float:
    """Seconds that *work* takes."""
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    print(main())
