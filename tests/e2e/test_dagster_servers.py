"""Through the UI's own interface: a real webserver and a real daemon, on SQLite and on a real PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.conftest import ProjectFolder
from tests.services import Webserver, dagster, dagster_home, dagster_servers, postgres, wait_for

LAUNCH = """
mutation ($job: String!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "rootsys", repositoryName: "__repository__", jobName: $job}
    runConfigData: "{}"
  }) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}"""
RUN = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status tags { key value } } } }"
RUNS = """
query ($name: String!) {
  runsOrError(filter: {tags: [{key: "rootsys/interface", value: $name}]}) {
    ... on Runs { results { runId status tags { key value } } }
  }
}"""
START_SENSOR = """
mutation ($name: String!) {
  startSensor(sensorSelector: {
    repositoryLocationName: "rootsys", repositoryName: "__repository__", sensorName: $name
  }) { __typename }
}"""
ASSET = """
query ($name: String!) {
  assetOrError(assetKey: {path: [$name]}) {
    ... on Asset { assetMaterializations(limit: 1) { runId metadataEntries {
      label ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text }
    } } }
  }
}"""
FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(frozen=True)
class Site:
    """A project with its servers."""

    project: ProjectFolder
    server: Webserver

    def launch(self, job: str) -> str:
        """Click Launch, wait for the end; the status."""
        answer = self.server.ask(LAUNCH, job=job)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return self.end_of(answer["run"]["runId"])

    def end_of(self, run_id: str) -> str:
        """The status of a run once it has ended."""

        def ended() -> str | None:
            status = self.server.ask(RUN, id=run_id)["runOrError"]["status"]
            return status if status in FINISHED else None

        return wait_for(f"run {run_id}", ended)

    def materialized(self, asset: str) -> dict[str, Any] | None:
        """The newest event of an asset as the UI shows it."""
        events = self.server.ask(ASSET, name=asset)["assetOrError"].get("assetMaterializations") or []
        if not events:
            return None
        entries = {entry["label"]: entry.get("intValue", entry.get("text")) for entry in events[0]["metadataEntries"]}
        return entries | {"run_id": events[0]["runId"]}


@contextmanager
def site(root: Path, **env: str) -> Iterator[Site]:
    project = ProjectFolder(root)
    for name in ("mes", "qms", "told"):
        project.interface(name, record_id_paths=["/id"])
        project.data(f"{name}.jsonl", [{"id": 1}, {"id": 2}])
    project.run("told", run_id="made-on-the-command-line")
    dagster_home(root)
    with dagster_servers(root, **env) as server:
        yield Site(project, server)


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("sqlite") / "project") as running:
        yield running


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


def test_a_run_launched_in_the_ui_is_queued_runs_and_commits(sqlite: Site) -> None:
    assert sqlite.launch("mes") == "SUCCESS"
    assert [record["record_id"] for record in sqlite.project.records("mes")] == ["1", "2"]
    shown = sqlite.materialized("mes")
    assert shown is not None
    assert shown["dagster/row_count"] == 2
    assert shown["manifest_sha256"] == sqlite.project.log("mes").manifest_sha256(1)
    assert shown["run_id"] == sqlite.project.log("mes").manifest(1).run_id


def test_the_file_sensor_of_a_real_daemon_runs_what_is_new(sqlite: Site) -> None:
    assert sqlite.server.ask(START_SENSOR, name="new_bytes")["startSensor"]["__typename"] == "Sensor"

    def runs() -> list[dict[str, Any]] | None:
        return sqlite.server.ask(RUNS, name="qms")["runsOrError"]["results"] or None

    (run,) = wait_for("a run asked for by the sensor", runs)
    assert sqlite.end_of(run["runId"]) == "SUCCESS"
    assert {tag["key"]: tag["value"] for tag in run["tags"]}["dagster/sensor_name"] == "new_bytes"
    assert len(sqlite.project.records("qms")) == 2
    assert len(runs() or []) == 1


def test_a_commit_of_the_command_line_shows_in_the_ui(sqlite: Site) -> None:
    """The mirror sensor runs by itself: nobody has to switch it on."""
    shown = wait_for("the mirror", lambda: sqlite.materialized("told"))
    assert (shown["commit_run_id"], shown["dagster/row_count"]) == ("made-on-the-command-line", 2)


def test_history_lies_in_postgresql_when_one_variable_says_so(postgres_url: str, tmp_path: Path) -> None:
    project = ProjectFolder(tmp_path / "project")
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    dagster_home(project.root)
    done = dagster(
        project.root,
        *("job", "execute", "-m", "rootsys_dagster.definitions", "-j", "mes"),
        ROOTSYS_DAGSTER_POSTGRES_URL=postgres_url,
    )
    assert done.returncode == 0, done.stderr
    assert not (project.root / ".dagster" / "history").exists()
    with psycopg2.connect(postgres_url) as connection, connection.cursor() as cursor:
        cursor.execute("select status from runs")
        assert cursor.fetchall() == [("SUCCESS",)]
        cursor.execute("select count(*) from event_logs where dagster_event_type = 'ASSET_MATERIALIZATION'")
        assert cursor.fetchone() == (2,)


def test_the_ui_and_the_daemon_work_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    with site(tmp_path / "project", ROOTSYS_DAGSTER_POSTGRES_URL=postgres_url) as running:
        assert running.launch("qms") == "SUCCESS"
        assert len(running.project.records("qms")) == 2
        assert running.materialized("qms") is not None
