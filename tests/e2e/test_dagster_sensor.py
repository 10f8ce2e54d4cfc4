"""The file sensor: what the source has beyond the last commit is asked for once, and again when the run failed."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import RUN_KEY_TAG, WILL_RETRY_TAG

from rootsys_dagster.defs.build import build_definitions
from rootsys_dagster.defs.sensors import MAX_ATTEMPTS
from rootsys_dagster.pipeline.merge import merge_fabric
from tests.conftest import ProjectFolder


class Daemon:
    """What the daemon does with a sensor: keeps its cursor, and starts each run key once."""

    def __init__(self, project: ProjectFolder, instance: dg.DagsterInstance) -> None:
        self.project = project
        self.instance = instance
        self.cursor: str | None = None
        self.skipped = ""
        self.started: list[str] = []

    def tick(self) -> list[dg.RunRequest]:
        """The run requests of one tick that a daemon would start."""
        sensor = build_definitions(self.project.root).resolve_sensor_def("new_bytes")
        result = sensor(dg.build_sensor_context(instance=self.instance, cursor=self.cursor))
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        self.skipped = result.skip_reason.skip_message or "" if result.skip_reason else ""
        new = [request for request in result.run_requests or [] if request.run_key not in self.started]
        self.started += [str(request.run_key) for request in new]
        return new

    def record(self, request: dg.RunRequest, status: dg.DagsterRunStatus, **tags: str) -> None:
        """Let Dagster remember a run of *request* in this state."""
        self.instance.add_run(
            dg.DagsterRun(
                job_name="__ASSET_JOB",
                run_id=str(uuid.uuid4()),
                status=status,
                tags={**request.tags, RUN_KEY_TAG: str(request.run_key), **tags},
            )
        )

    def time_passes(self) -> None:
        """Everything in the cursor happened a day ago."""
        cursor: dict[str, Any] = json.loads(self.cursor or "{}")
        for asked in cursor.values():
            asked["at"] -= 86400
        self.cursor = json.dumps(cursor)


@pytest.fixture
def daemon(project: ProjectFolder, tmp_path: Path) -> Iterator[Daemon]:
    project.interface("mes", record_id_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}])
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Daemon(project, instance)


def test_new_bytes_are_asked_for_once_as_a_whole_pair(daemon: Daemon) -> None:
    (request,) = daemon.tick()
    assert request.asset_selection == [dg.AssetKey("mes"), dg.AssetKey("mes_dead_letters")]
    assert request.tags["rootsys/interface"] == "mes"
    daemon.record(request, dg.DagsterRunStatus.STARTED)
    assert daemon.tick() == []
    assert "on the way" in daemon.skipped


def test_nothing_is_asked_for_when_all_is_committed(daemon: Daemon) -> None:
    daemon.project.run()
    assert daemon.tick() == []
    assert json.loads(daemon.cursor or "") == {}


def test_bytes_that_arrive_during_a_run_wait_for_its_end(daemon: Daemon) -> None:
    (request,) = daemon.tick()
    daemon.record(request, dg.DagsterRunStatus.STARTED)
    daemon.project.data("mes.jsonl", [{"id": 2}], append=True)
    assert daemon.tick() == []
    daemon.instance.wipe()
    daemon.project.run()
    assert daemon.tick() == []
    daemon.project.data("mes.jsonl", [{"id": 3}], append=True)
    assert len(daemon.tick()) == 1


def test_a_failed_run_is_asked_for_again_later_and_later_and_then_left_to_people(daemon: Daemon) -> None:
    requests = daemon.tick()
    for _ in range(MAX_ATTEMPTS - 1):
        daemon.record(requests[0], dg.DagsterRunStatus.FAILURE)
        assert daemon.tick() == [], "not at once"
        daemon.time_passes()
        requests = daemon.tick()
        assert len(requests) == 1
    daemon.record(requests[0], dg.DagsterRunStatus.FAILURE)
    daemon.time_passes()
    assert daemon.tick() == []
    daemon.project.data("mes.jsonl", [{"id": 2}], append=True)
    assert len(daemon.tick()) == 1, "new bytes are a new reason"
    assert len(set(daemon.started)) == MAX_ATTEMPTS + 1


def test_a_run_that_dagster_itself_retries_is_not_asked_for_again(daemon: Daemon) -> None:
    (request,) = daemon.tick()
    daemon.record(request, dg.DagsterRunStatus.FAILURE, **{WILL_RETRY_TAG: "true"})
    daemon.time_passes()
    assert daemon.tick() == []


def test_an_unfinished_last_line_is_not_asked_for_again_and_again(daemon: Daemon) -> None:
    with (daemon.project.root / "data" / "mes.jsonl").open("ab") as stream:
        stream.write(b'{"id": 2')
    daemon.project.run()
    asked = daemon.tick()
    for request in asked:
        daemon.record(request, dg.DagsterRunStatus.SUCCESS)
    daemon.time_passes()
    assert daemon.tick() == []


def test_a_lost_cursor_starts_nothing_twice(daemon: Daemon) -> None:
    daemon.tick()
    daemon.cursor = None
    assert daemon.tick() == []


def test_an_interface_in_trouble_is_named_and_does_not_stop_the_others(daemon: Daemon) -> None:
    daemon.project.interface("qms")
    assert [request.tags["rootsys/interface"] for request in daemon.tick()] == ["mes"]
    daemon.record(dg.RunRequest(run_key=daemon.started[0]), dg.DagsterRunStatus.STARTED)
    assert daemon.tick() == []
    assert "qms: input data/qms.jsonl does not exist" in daemon.skipped


def test_a_fabric_is_run_when_its_inputs_have_committed_more_than_was_merged(daemon: Daemon) -> None:
    daemon.project.fabric("defects", ["mes"])
    (request,) = daemon.tick()
    assert request.tags["rootsys/interface"] == "mes", "nothing is committed yet that could be merged"
    daemon.project.run()
    (request,) = daemon.tick()
    assert request.asset_selection == [dg.AssetKey("defects"), dg.AssetKey("defects_duplicates")]
    assert request.tags["rootsys/interface"] == "defects"
    assert daemon.tick() == [], "asked for once"
    project = daemon.project.load()
    merge_fabric(project.fabric("defects"), project, run_id="merge")
    assert daemon.tick() == []
    assert json.loads(daemon.cursor or "") == {}
    daemon.project.data("mes.jsonl", [{"id": 2}], append=True)
    daemon.project.run()
    assert len(daemon.tick()) == 1


def test_a_fabric_whose_input_lost_its_commits_is_named_and_not_run(daemon: Daemon) -> None:
    daemon.project.fabric("defects", ["mes"])
    daemon.project.run()
    project = daemon.project.load()
    merge_fabric(project.fabric("defects"), project, run_id="merge")
    shutil.rmtree(daemon.project.log().folder)
    assert [request.tags["rootsys/interface"] for request in daemon.tick()] == ["mes"]
    daemon.project.run()
    assert daemon.tick() == []
    assert "commit 1 of mes@v1 is merged but not in" in daemon.skipped


def test_the_run_it_asks_for_commits_and_quiets_it(daemon: Daemon) -> None:
    (request,) = daemon.tick()
    built = build_definitions(daemon.project.root)
    result = built.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=daemon.instance, asset_selection=list(request.asset_selection or []), tags=dict(request.tags)
    )
    assert result.success
    assert daemon.tick() == []
    assert len(daemon.project.records()) == 1
