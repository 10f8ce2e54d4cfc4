"""A topic in Dagster: the sensor asks for a run when messages wait, its run tells the broker, the lag is a check."""

import dagster as dg
import pytest

from rootsys_dagster.defs.build import build_definitions
from tests.conftest import ProjectFolder
from tests.topics import Topics, driver_members, shared_kafka


@pytest.fixture
def kafka() -> Topics:
    return shared_kafka()


def tick(project: ProjectFolder, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    sensor = build_definitions(project.root).resolve_sensor_def("new_messages")
    result = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result


def test_messages_that_wait_are_asked_for_once_and_their_run_tells_the_broker(
    project: ProjectFolder, kafka: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"1", b"2", b"3"])
    project.interface("events", driver=driver_members(kafka.broker.address, topic, max_lag=2))
    monkeypatch.chdir(project.root)
    with dg.DagsterInstance.ephemeral() as instance:
        first = tick(project, instance, None)
        assert len(first.run_requests or ()) == 1
        assert not tick(project, instance, first.cursor).run_requests
        assert not lag(project, instance).passed
        definitions = build_definitions(project.root)
        job = definitions.resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey("events"), dg.AssetKey("events_dead_letters")]
        outcome = job.execute_in_process(instance=instance, asset_selection=keys)
        assert outcome.success
        assert kafka.committed(f"g-{topic}", topic) == 3
        assert lag(project, instance).passed
        assert not tick(project, instance, first.cursor).run_requests
        kafka.send(topic, [b"4"])
        assert len(tick(project, instance, first.cursor).run_requests or ()) == 1


def lag(project: ProjectFolder, instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    job = build_definitions(project.root).resolve_implicit_global_asset_job_def()
    check = dg.AssetCheckKey(dg.AssetKey("events"), "max_lag")
    selected = job.get_subset(asset_selection=set(), asset_check_selection={check})
    (evaluation,) = selected.execute_in_process(instance=instance).get_asset_check_evaluations()
    return evaluation
