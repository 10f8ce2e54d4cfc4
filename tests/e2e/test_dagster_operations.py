"""Operations through the UI's own interface: a real webserver and a real daemon, shared by the tests of this module."""

from collections.abc import Iterator
from typing import Any

import pytest

from rootsys_dagster.log.controls import Controls, Scope
from tests.conftest import ProjectFolder
from tests.e2e.test_dagster_servers import LAUNCH, START_SENSOR, Site
from tests.services import dagster_home, dagster_servers, wait_for

TERMINATE = """
mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"""
FAILURE = """
query ($id: ID!) {
  logsForRun(runId: $id) { ... on EventConnection { events {
    ... on ExecutionStepFailureEvent { stepKey error { message } }
  } } }
}"""
TICKS = """
query ($name: String!) {
  sensorOrError(sensorSelector: {
    repositoryLocationName: "rootsys", repositoryName: "__repository__", sensorName: $name
  }) { ... on Sensor { sensorState { ticks(limit: 1) { status skipReason } } } }
}"""
OBSERVATIONS = """
query ($name: String!) {
  assetOrError(assetKey: {path: [$name]}) {
    ... on Asset { assetObservations(limit: 1) { metadataEntries { label ... on TextMetadataEntry { text } } } }
  }
}"""
BIG = 200_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    project = ProjectFolder(tmp_path_factory.mktemp("operations") / "project")
    project.interface("mes", record_id_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}, {"id": 2}])
    project.interface("big", record_id_paths=["/id"], commit_every={"records": 2000})
    project.data("big.jsonl", [{"id": n} for n in range(BIG)])
    dagster_home(project.root)
    with dagster_servers(project.root) as server:
        yield Site(project, server)


def controls(site: Site) -> Controls:
    return Controls(site.project.load().state_root)


def launch(site: Site, job: str) -> str:
    answer = site.server.ask(LAUNCH, job=job)["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return answer["run"]["runId"]


def failures(site: Site, run_id: str) -> list[str]:
    events = site.server.ask(FAILURE, id=run_id)["logsForRun"]["events"]
    return [event["error"]["message"] for event in events if event.get("error")]


def test_a_run_terminated_in_the_middle_leaves_a_commit_and_the_next_one_goes_on(site: Site) -> None:
    run_id = launch(site, "big")
    wait_for("its first commit", lambda: site.project.log("big").has_commits() or None)
    assert site.server.ask(TERMINATE, id=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    assert site.end_of(run_id) == "CANCELED"
    before = len(site.project.records("big"))
    assert 0 < before < BIG, "it was terminated while it was running"
    # The spool is dropped by the step itself, which it could not do if it had been cut off.
    assert not list((site.project.log("big").folder / "spool").glob("*"))
    assert site.launch("big") == "SUCCESS"
    assert [record["record_id"] for record in site.project.records("big")] == [str(n) for n in range(BIG)]


def test_pause_and_resume_show_in_the_ui_and_hold_sensor_and_run(site: Site) -> None:
    controls(site).change("pause", Scope("interface", "mes"), reason="line stop", by="ann")
    assert site.server.ask(START_SENSOR, name="new_bytes")["startSensor"]["__typename"] == "Sensor"

    def tick() -> dict[str, Any] | None:
        state = site.server.ask(TICKS, name="new_bytes")["sensorOrError"]["sensorState"]
        return next((one for one in state["ticks"] if one["status"] in ("SKIPPED", "SUCCESS")), None)

    def refused() -> bool | None:
        return any(entry.by == "sensor new_bytes" for entry in controls(site).entries()) or None

    wait_for("a tick of the sensor", tick)
    wait_for("the refusal of the sensor in the audit", refused)
    run_id = launch(site, "mes")
    assert site.end_of(run_id) == "FAILURE"
    assert any("mes: paused by ann" in message for message in failures(site, run_id))
    assert not site.project.log("mes").has_commits()

    def observed() -> dict[str, str] | None:
        events = site.server.ask(OBSERVATIONS, name="mes")["assetOrError"].get("assetObservations") or []
        return {one["label"]: one.get("text") for one in events[0]["metadataEntries"]} if events else None

    shown = wait_for("the pause on its asset", observed)
    assert (shown["control"], shown["by"], shown["reason"]) == ("paused", "ann", "line stop")
    controls(site).change("resume", Scope("interface", "mes"), reason="line runs", by="bob")
    assert site.launch("mes") == "SUCCESS"
    assert len(site.project.records("mes")) == 2
