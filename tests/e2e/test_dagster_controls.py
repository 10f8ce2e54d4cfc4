"""Controls in Dagster: what is held is not asked for by sensors, and fails with the reason when a person starts it."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from rootsys_dagster.defs.build import build_definitions
from rootsys_dagster.log.controls import Controls, Scope
from tests.conftest import ProjectFolder

MES = Scope("interface", "mes")


@pytest.fixture
def mes(project: ProjectFolder) -> ProjectFolder:
    project.interface("mes", record_id_paths=["/id"], required_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}, {"no": 2}])
    return project


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def controls(project: ProjectFolder) -> Controls:
    return Controls(project.load().state_root)


def pause(project: ProjectFolder, scope: Scope = MES) -> None:
    controls(project).change("pause", scope, reason="line stop", by="ann")


def execute(project: ProjectFolder, job: str, instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    defs = build_definitions(project.load())
    return defs.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, run_config=config)


def tick(project: ProjectFolder, name: str, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    defs = build_definitions(project.load())
    sensor = next(one for one in defs.sensors or () if one.name == name)
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs, sensor_name=name)
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def skipped(result: dg.SensorResult) -> str:
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def test_a_run_of_what_is_paused_fails_with_who_and_why_and_reads_nothing(mes, instance):
    pause(mes)
    done = execute(mes, "mes", instance)
    assert not done.success
    (failed,) = [event for event in done.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    message = (told and told.description) or ""
    assert "mes: paused by ann since" in message
    assert "rootsys controls resume --interface mes" in message
    assert not mes.log().has_commits()
    assert [(entry.action, entry.outcome) for entry in controls(mes).entries()][1:] == [("run", "refused")]


def test_a_sensor_asks_for_nothing_that_is_held_and_says_why(mes, instance):
    first = tick(mes, "new_bytes", instance)
    assert len(first.run_requests or ()) == 1
    pause(mes, Scope("all"))
    held = tick(mes, "new_bytes", instance)
    assert not held.run_requests
    assert "everything is paused by ann" in skipped(held)
    tick(mes, "new_bytes", instance)
    assert [entry.by for entry in controls(mes).entries() if entry.outcome == "refused"] == ["sensor new_bytes"]
    controls(mes).change("resume", Scope("all"), reason="done", by="ann")
    assert len(tick(mes, "new_bytes", instance).run_requests or ()) == 1


def test_transitions_show_on_the_assets_once(mes, instance):
    mes.interface("qms")
    pause(mes)
    controls(mes).change("pause", MES, reason="again", by="bob")
    first = tick(mes, "controls", instance)
    again = tick(mes, "controls", instance, first.cursor)
    assert skipped(again) == "Dagster knows every transition"
    seen = instance.fetch_observations(dg.AssetKey("mes"), limit=10).records
    (event,) = [record.event_log_entry.asset_observation for record in seen]
    assert {name: value.value for name, value in event.metadata.items() if name != "since"} == {
        "control": "paused",
        "what": "interface mes",
        "by": "ann",
        "reason": "line stop",
    }
    assert not instance.fetch_observations(dg.AssetKey("qms"), limit=10).records
    controls(mes).change("resume", MES, reason="done", by="ann")
    tick(mes, "controls", instance, first.cursor)
    newest = instance.fetch_observations(dg.AssetKey("mes"), limit=1).records[0].event_log_entry
    assert newest.asset_observation.metadata["control"].value == "running"


def test_a_replay_of_what_is_held_wants_a_reason(mes, instance):
    assert execute(mes, "mes", instance).success
    pause(mes)
    mes.interface("mes", record_id_paths=["/no"], required_paths=["/no"])

    def replay(**config: str) -> bool:
        ops = {"rootsys_replay": {"config": {"interface": "mes", **config}}}
        return execute(mes, "replay_dead_letters", instance, ops=ops).success

    assert not replay()
    assert len(mes.records()) == 1
    assert replay(why="mended")
    assert len(mes.records()) == 2
    assert [(entry.action, entry.outcome, entry.reason) for entry in controls(mes).entries()][1:] == [
        ("replay", "refused", ""),
        ("replay", "done", "mended"),
    ]
