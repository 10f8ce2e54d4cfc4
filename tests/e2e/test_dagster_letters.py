"""Dead letters in Dagster: the check turns red and green, a replay is a job or an asset, the source stays."""

import dagster as dg
import pytest

from rootsys_dagster.defs.build import build_definitions
from tests.conftest import ProjectFolder

DEAD = dg.AssetKey("mes_dead_letters")
CHECK = dg.AssetCheckKey(DEAD, "open_dead_letters")


def run(project: ProjectFolder, instance: dg.DagsterInstance, job: str = "mes") -> dg.ExecuteInProcessResult:
    return build_definitions(project.root).resolve_job_def(job).execute_in_process(instance=instance)


def replay(project: ProjectFolder, instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    given = {"ops": {"rootsys_replay": {"config": {"interface": "mes", **config}}}}
    job = build_definitions(project.root).resolve_job_def("replay_dead_letters")
    return job.execute_in_process(run_config=given, instance=instance)


def standing(instance: dg.DagsterInstance) -> tuple[bool, str, dict[str, object]]:
    """The newest evaluation of the check: passed, severity and metadata."""
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECK])[CHECK]
    assert record.event is not None
    assert record.event.dagster_event is not None
    found = record.event.dagster_event.asset_check_evaluation_data
    return found.passed, found.severity.value, {name: value.value for name, value in found.metadata.items()}


@pytest.fixture
def mes(project: ProjectFolder) -> ProjectFolder:
    """Two dead letters of three units; one may be open."""
    project.interface("mes", required_paths=["/id"], dead_letters={"kind": "sqlite", "budget": {"max_open": 1}})
    project.data("mes.jsonl", [{"id": 1}, {"n": 2}, b"{broken"])
    return project


def mend(project: ProjectFolder) -> None:
    project.interface("mes", dead_letters={"kind": "sqlite", "budget": {"max_open": 1}})


def test_the_check_is_red_until_a_replay_has_mended_enough(mes: ProjectFolder) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(mes, instance)
        passed, severity, metadata = standing(instance)
        assert (passed, severity, metadata["open"], metadata["max_open"]) == (False, "ERROR", 2, 1)
        mend(mes)
        result = replay(mes, instance)
        assert result.success
        passed, _, metadata = standing(instance)
        assert (passed, metadata["open"], metadata["replayed"], metadata["replay_success_rate"]) == (True, 1, 1, 0.5)
        # Told of the commit, Dagster counts its record too.
        event = instance.get_latest_materialization_event(dg.AssetKey("mes"))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["dagster/row_count"].value == 2
        assert event.asset_materialization.metadata["mode"].value == "replay"
        run(mes, instance)
        assert standing(instance)[0]
    assert [record["payload"]["data"] for record in mes.records()] == [{"id": 1}, {"n": 2}]


def test_a_dry_run_commits_nothing_and_a_filter_takes_what_it_says(mes: ProjectFolder) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(mes, instance)
        mend(mes)
        assert replay(mes, instance, dry_run=True).success
        assert mes.log().last_seq() == 1
        assert replay(mes, instance, reason="PAYLOAD_DECODE_FAILED").success
        assert len(mes.records()) == 1
        assert replay(mes, instance, pointer="/id", limit=5).success
        assert len(mes.records()) == 2


def test_an_asset_of_each_interface_replays_it(mes: ProjectFolder) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(mes, instance)
        mend(mes)
        key = dg.AssetKey(["mes", "replayed"])
        job = build_definitions(mes.root).resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
        for resolved in (1, 0):
            result = job.execute_in_process(instance=instance)
            (event,) = result.asset_materializations_for_node("rootsys_replayed")
            assert (event.asset_key, event.metadata["resolved"].value) == (key, resolved)
        assert standing(instance)[0]
        assert len(mes.records()) == 2


def test_replays_go_with_the_jobs_per_interface_and_the_shared_job_stays(mes: ProjectFolder) -> None:
    found = build_definitions(mes.root, job_per_interface=False)
    assert {job.name for job in found.resolve_all_job_defs()} - {"__ASSET_JOB"} == {"all", "replay_dead_letters"}
    assert dg.AssetKey(["mes", "replayed"]) not in found.resolve_asset_graph().get_all_asset_keys()


def test_the_ratio_warns_once_and_is_an_error_the_second_time_in_a_row(project: ProjectFolder) -> None:
    project.interface("mes", required_paths=["/id"], dead_letters={"budget": {"max_reject_ratio": 0.4}})
    steps: list[tuple[list[object], bool, str]] = [
        ([{"id": 1}, {}], False, "WARN"),
        ([{}], False, "ERROR"),
        ([{"id": 2}], True, "ERROR"),
        ([{}], False, "WARN"),
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        for lines, passed, severity in steps:
            project.data("mes.jsonl", lines, append=True)  # pyright: ignore[reportArgumentType]
            run(project, instance)
            assert standing(instance)[:2] == (passed, severity)


def test_the_asset_shows_why_since_when_and_some_of_them_but_no_payload(mes: ProjectFolder) -> None:
    mes.data("mes.jsonl", [{"secret": "hunter2"}], append=True)
    with dg.DagsterInstance.ephemeral() as instance:
        run(mes, instance)
        event = instance.get_latest_materialization_event(DEAD)
    assert event is not None
    assert event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    reasons, sample = shown["open_by_reason"], shown["open_sample"]
    assert isinstance(reasons, dg.TableMetadataValue)
    assert isinstance(sample, dg.TableMetadataValue)
    assert [row.data for row in reasons.records] == [
        {"reason": "MISSING_REQUIRED_PATH", "count": 2},
        {"reason": "PAYLOAD_DECODE_FAILED", "count": 1},
    ]
    assert len(sample.records) == 3
    assert "hunter2" not in repr(shown)
