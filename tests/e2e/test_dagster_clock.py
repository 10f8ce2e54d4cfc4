"""By the clock: a real daemon and a real webserver, asked through GraphQL as the UI asks.

Schedules tick on whole minutes, so one instance serves every test here, and everything that waits for a minute is
started by the same one.
"""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import ProjectFolder
from tests.services import Webserver, dagster_env, dagster_home, dagster_servers, running, wait_for

EVERY_MINUTE = [{"cron": "* * * * *"}]
RUNS = """
query ($tag: String!, $value: String!) {
  runsOrError(filter: {tags: [{key: $tag, value: $value}]}) {
    ... on Runs { results {
      runId status jobName tags { key value } stepStats { stepKey status startTime endTime }
      assetMaterializations { assetKey { path } }
    } }
  }
}"""
LAUNCH = """
mutation ($job: String!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "rootsys", repositoryName: "__repository__", jobName: $job} runConfigData: "{}"
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}"""
TICKS = """
query ($name: String!) {
  scheduleOrError(scheduleSelector: {
    repositoryLocationName: "rootsys", repositoryName: "__repository__", scheduleName: $name
  }) { ... on Schedule { scheduleState { ticks { timestamp status } } } }
}"""
STALE = "query { assetNodes { assetKey { path } staleStatus } }"
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(frozen=True)
class Plant:
    """A project with its servers."""

    project: ProjectFolder
    server: Webserver

    def runs(self, tag: str, value: str) -> list[dict[str, Any]]:
        """The runs with one tag, newest first, their tags as a dictionary."""
        found = self.server.ask(RUNS, tag=tag, value=value)["runsOrError"]["results"]
        return [run | {"tags": {one["key"]: one["value"] for one in run["tags"]}} for run in found]

    def ended(self, tag: str, value: str, count: int = 1) -> list[dict[str, Any]]:
        """At least *count* runs with one tag that have ended, waited for."""

        def enough() -> list[dict[str, Any]] | None:
            found = [run for run in self.runs(tag, value) if run["status"] in ENDED]
            return found if len(found) >= count else None

        return wait_for(f"{count} runs with {tag} = {value}", enough, 120)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    project = ProjectFolder(tmp_path_factory.mktemp("clock") / "project")
    for name in ("mes", "gone", "qms", "late"):
        project.interface(name, record_id_paths=["/id"])
        project.data(f"{name}.jsonl", [{"id": 1}])
    (project.root / "data" / "gone.jsonl").unlink()
    project.interface("clocked", record_id_paths=["/id"], schedule=EVERY_MINUTE[0])
    project.data("clocked.jsonl", [{"id": 1}])
    project.fabric("defects", ["mes", "qms"])
    project.group("nightly", ["mes", "late"], schedules=EVERY_MINUTE)
    project.group("lenient", ["qms", "gone", "mes", "defects"])
    project.group("strict", ["qms", "gone", "late"], stop_on_failure=True)
    project.group("pulse", ["late"], interval={"every_s": 1, "max_runs": 2})
    dagster_home(project.root)
    with dagster_servers(project.root) as server:
        yield Plant(project, server)


def step_ends(run: dict[str, Any]) -> dict[str, str]:
    return {step["stepKey"]: step["status"] for step in run["stepStats"]}


@pytest.mark.parametrize(
    ("group", "ends"),
    [
        ("lenient", {"01_qms": "SUCCESS", "02_gone": "FAILURE", "03_mes": "SUCCESS", "04_defects": "SUCCESS"}),
        ("strict", {"01_qms": "SUCCESS", "02_gone": "FAILURE"}),
    ],
)
def test_a_group_with_a_failing_member_is_red_and_the_rest_is_as_its_file_says(
    plant: Plant, group: str, ends: dict[str, str]
) -> None:
    answer = plant.server.ask(LAUNCH, job=group)["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    (run,) = plant.ended("rootsys/group", group)
    assert (run["status"], run["tags"]["rootsys/triggered_by"]) == ("FAILURE", "manual")
    assert step_ends(run) == ends
    made = [step for step in run["stepStats"] if step["startTime"]]
    assert [step["stepKey"] for step in sorted(made, key=lambda step: step["startTime"])] == sorted(
        step["stepKey"] for step in made
    )
    told = {"/".join(event["assetKey"]["path"]) for event in run["assetMaterializations"]}
    assert {"qms", "qms_dead_letters"} <= told
    assert ("defects" in told) == (group == "lenient")


def test_what_a_group_made_is_fresh_in_the_eyes_of_dagster(plant: Plant) -> None:
    plant.ended("rootsys/group", "lenient")
    nodes = {"/".join(node["assetKey"]["path"]): node["staleStatus"] for node in plant.server.ask(STALE)["assetNodes"]}
    assert {name: nodes[name] for name in ("mes", "qms", "defects")} == dict.fromkeys(
        ("mes", "qms", "defects"), "FRESH"
    )


def test_an_interval_runs_as_often_as_it_says_and_no_more(plant: Plant) -> None:
    runs = plant.ended("dagster/sensor_name", "pulse_interval", 2)
    assert {run["tags"]["rootsys/triggered_by"] for run in runs} == {"sensor:pulse_interval"}
    assert len({run["tags"]["dagster/run_key"] for run in runs}) == len(runs) == 2


def test_schedules_of_a_group_and_of_an_interface_tick(plant: Plant) -> None:
    (run, *_) = plant.ended("dagster/schedule_name", "nightly_schedule")
    assert (run["status"], run["jobName"]) == ("SUCCESS", "nightly")
    assert run["tags"]["rootsys/triggered_by"] == "schedule:nightly_schedule"
    (run, *_) = plant.ended("dagster/schedule_name", "clocked_schedule")
    assert (run["status"], run["tags"]["rootsys/interface"]) == ("SUCCESS", "clocked")
    assert plant.project.log("clocked").manifest(1).triggered_by == "schedule:clocked_schedule"
    # Nothing more came of the pulse while a minute went by.
    assert len(plant.runs("dagster/sensor_name", "pulse_interval")) == 2


@pytest.mark.long
def test_every_tick_fires_once_beside_a_second_daemon_that_is_killed_in_the_middle_of_it(plant: Plant) -> None:
    """As when a daemon is started again while the other has not ended, and is killed as soon as a run is there."""
    home = plant.project.root
    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(home / "workspace.yaml")]
    for number in range(2):
        log = home / f"second-daemon-{number}.log"
        with running(command, cwd=home, env=dagster_env(home), log=log) as second:
            wait_for("the second daemon", lambda log=log: b"SchedulerDaemon" in log.read_bytes() or None)
            before = keys_of(plant)
            wait_for("a tick beside it", lambda before=before: keys_of(plant)[len(before) :] or None, 120)
            os.killpg(second.pid, signal.SIGKILL)
            assert second.wait(20) == -signal.SIGKILL
    before = keys_of(plant)
    wait_for("one more tick", lambda: keys_of(plant)[len(before) :] or None, 120)
    keys = keys_of(plant)
    assert sorted(set(keys)) == sorted(keys)
    ticks = plant.server.ask(TICKS, name="nightly_schedule")["scheduleOrError"]["scheduleState"]["ticks"]
    assert {tick["status"] for tick in ticks} == {"SUCCESS"}
    assert len({tick["timestamp"] for tick in ticks}) == len(ticks) == len(keys)


def keys_of(plant: Plant) -> list[str]:
    """The ticks that the runs of a schedule stand for."""
    return [run["tags"]["dagster/run_key"] for run in plant.runs("dagster/schedule_name", "nightly_schedule")]
