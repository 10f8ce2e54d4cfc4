"""A group is one job: its steps in order, what a failure does to the others, and what Dagster hears of the members."""

import sqlite3
from datetime import datetime
from typing import Any

import dagster as dg
import pytest

from rootsys_dagster.defs.build import build_definitions
from tests.conftest import ProjectFolder


@pytest.fixture
def plant(project: ProjectFolder) -> ProjectFolder:
    """Three interfaces of which the second has no input, and a fabric of the other two."""
    for name in ("mes", "gone", "qms"):
        project.interface(name, record_id_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}, {"id": 2}, b"not json"])
    project.data("qms.jsonl", [{"id": 3}])
    project.fabric("defects", ["mes", "qms"])
    return project


def run(project: ProjectFolder, job: str, instance: dg.DagsterInstance, **tags: str) -> dg.ExecuteInProcessResult:
    definitions = build_definitions(project.load())
    return definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, tags=tags)


def steps(result: dg.ExecuteInProcessResult) -> list[tuple[str, str]]:
    """Each step with its end, in the order in which they ended."""
    ends = {"STEP_SUCCESS": "green", "STEP_FAILURE": "red", "STEP_SKIPPED": "skipped"}
    found = [(event.step_key or "", event.event_type_value) for event in result.all_events]
    return [(step, ends[kind]) for step, kind in found if kind in ends]


def why(result: dg.ExecuteInProcessResult) -> str:
    """What the one step that failed says."""
    (failed,) = (event for event in result.all_events if event.is_step_failure)
    return str(failed.step_failure_data.error_display_string)


@pytest.mark.parametrize("stop", [False, True])
def test_steps_run_in_the_order_of_the_file(plant: ProjectFolder, stop: bool) -> None:
    plant.group("nightly", ["qms", "mes", "defects"], stop_on_failure=stop)
    result = run(plant, "nightly", dg.DagsterInstance.ephemeral())
    assert result.success
    assert steps(result) == [("01_qms", "green"), ("02_mes", "green"), ("03_defects", "green")]
    assert [record["record_id"] for record in plant.records("defects")] == ["1", "2", "3"]


def test_a_member_that_fails_is_red_and_the_next_ones_run(plant: ProjectFolder) -> None:
    plant.group("nightly", ["mes", "gone", "qms", "defects"])
    result = run(plant, "nightly", dg.DagsterInstance.ephemeral())
    assert not result.success
    assert steps(result) == [("01_mes", "green"), ("02_gone", "red"), ("03_qms", "green"), ("04_defects", "green")]
    assert len(plant.records("defects")) == 3
    assert "input data/gone.jsonl does not exist" in why(result)


def test_with_stop_on_failure_the_ones_after_it_are_skipped_and_those_before_stay(plant: ProjectFolder) -> None:
    plant.group("nightly", ["mes", "gone", "qms", "defects"], stop_on_failure=True)
    result = run(plant, "nightly", dg.DagsterInstance.ephemeral())
    assert not result.success
    assert steps(result)[:2] == [("01_mes", "green"), ("02_gone", "red")]
    assert "green" not in dict(steps(result)[2:]).values()
    assert (len(plant.records("mes")), plant.log("qms").last_seq()) == (2, 0)


def test_dagster_hears_the_same_of_a_member_as_of_a_run_of_its_assets(plant: ProjectFolder) -> None:
    plant.group("nightly", ["mes", "defects"])
    grouped, alone = dg.DagsterInstance.ephemeral(), dg.DagsterInstance.ephemeral()
    group_run = run(plant, "nightly", grouped)
    in_group = told(grouped, group_run.run_id)
    for name in ("mes", "defects"):
        # The same data once more, by the jobs of the assets.
        (plant.log(name).folder / "log").rename(plant.root / f"{name}-log")
    in_runs = told(alone, run(plant, "mes", alone).run_id) | told(alone, run(plant, "defects", alone).run_id)
    assert set(in_group) == set(in_runs) == {
        "mes", "mes_dead_letters", "defects", "defects_duplicates",
        "mes conservation", "mes contract", "mes_dead_letters open_dead_letters", "defects conservation",
    }  # fmt: skip
    for name, event in in_runs.items():
        assert set(in_group[name]) == set(event), name
    assert in_group["mes"]["dagster/row_count"] == 2
    assert in_group["mes_dead_letters"]["dagster/row_count"] == 1


def told(instance: dg.DagsterInstance, run_id: str) -> dict[str, dict[str, Any]]:
    """Materializations and checks of one run with their metadata and tags, by asset and check."""
    found: dict[str, dict[str, Any]] = {}
    for record in instance.all_logs(run_id):
        event = record.dagster_event
        if event is not None and event.is_step_materialization:
            made = event.step_materialization_data.materialization
            values = {name: value.value for name, value in made.metadata.items()}
            tags = dict.fromkeys(made.tags or {}, "")
            found[made.asset_key.to_user_string()] = values | tags
        elif event is not None and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            found[f"{check.asset_key.to_user_string()} {check.check_name}"] = {"passed": check.passed}
    return found


def test_members_that_are_switched_off_are_left_out_and_keep_the_numbers_of_the_others(plant: ProjectFolder) -> None:
    plant.interface("gone", enabled=False)
    plant.group("nightly", ["mes", "gone", "qms"])
    plant.group("empty", ["gone"])
    assert steps(run(plant, "nightly", dg.DagsterInstance.ephemeral())) == [("01_mes", "green"), ("03_qms", "green")]
    nothing = run(plant, "empty", dg.DagsterInstance.ephemeral())
    assert steps(nothing) == [("rootsys_no_member", "green")]


def test_a_broken_member_is_red_with_its_problems_and_a_broken_group_too(plant: ProjectFolder) -> None:
    plant.interface("gone", required_paths=["no slash"])
    plant.group("nightly", ["gone", "mes"], schedules=[{"cron": "0 2 * * *"}])
    plant.group("typo", ["mees"], schedules=[{"cron": "0 2 * * *"}])
    (plant.root / "interfaces" / "torn.group.json").write_text("{")
    definitions = build_definitions(plant.load())
    assert {schedule.name for schedule in definitions.schedules or ()} == {"nightly_schedule", "typo_schedule"}
    result = run(plant, "nightly", dg.DagsterInstance.ephemeral())
    assert steps(result) == [("01_gone", "red"), ("02_mes", "green")]
    for job, words in (("typo", "no interface or fabric is called 'mees'; did you mean 'mes'?"), ("torn", "not JSON")):
        refused = run(plant, job, dg.DagsterInstance.ephemeral())
        assert words in why(refused)


def test_an_interface_in_several_groups_and_groups_called_like_other_jobs(plant: ProjectFolder) -> None:
    for name in ("mes", "all", "in", "first"):
        plant.group(name, ["mes"])
    definitions = build_definitions(plant.load())
    for job in ("mes_group", "all_group", "in_group", "first"):
        assert definitions.resolve_job_def(job).execute_in_process(instance=dg.DagsterInstance.ephemeral()).success


def test_the_windows_of_a_member_are_told_as_partitions(plant: ProjectFolder) -> None:
    with sqlite3.connect(plant.root / "data" / "shop.db") as database:
        database.execute("CREATE TABLE sales (id INTEGER, at TEXT)")
        database.executemany(
            "INSERT INTO sales VALUES (?, ?)", [(1, "2026-01-01T05:00:00Z"), (2, "2026-01-02T05:00:00Z")]
        )
    block = {"kind": "sqlite", "connection": "data/shop.db", "query": "SELECT id, at FROM sales"}
    window = {"mode": "window", "field": "at", "start": "2026-01-01T00:00:00Z", "step": "P1D"}
    plant.interface("sales", driver={"kind": "db", "db": block}, incremental=window)
    plant.group("nightly", ["sales"])
    instance = dg.DagsterInstance.ephemeral()
    result = run(plant, "nightly", instance)
    assert result.success, [event.message for event in result.all_events if event.is_step_failure]
    windows = instance.get_materialized_partitions(dg.AssetKey("sales"))
    assert {"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"} <= windows


def test_commits_say_who_asked_for_them(plant: ProjectFolder) -> None:
    plant.group("nightly", ["mes"])
    instance = dg.DagsterInstance.ephemeral()
    result = run(plant, "nightly", instance, **{"dagster/schedule_name": "nightly_schedule"})
    assert plant.log("mes").manifest(1).triggered_by == "schedule:nightly_schedule > group:nightly"
    run_tags = instance.get_run_by_id(result.run_id).tags  # pyright: ignore[reportOptionalMemberAccess]
    assert (run_tags["rootsys/triggered_by"], run_tags["rootsys/group"]) == ("schedule:nightly_schedule", "nightly")
    assert run(plant, "qms", instance).success
    assert plant.log("qms").manifest(1).triggered_by == "manual"
    assert run(plant, "defects", instance, **{"dagster/sensor_name": "new_bytes"}).success
    assert plant.log("defects").manifest(1).triggered_by == "sensor:new_bytes"


def test_lineage_leads_from_what_an_interface_depends_on(plant: ProjectFolder) -> None:
    plant.interface("late", depends_on=["defects", "mes"])
    plant.data("late.jsonl", [{"id": 9}])
    graph = build_definitions(plant.load()).resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get(dg.AssetKey("late")).parent_keys} == {
        "folder/data", "defects", "mes",
    }  # fmt: skip


def test_an_interface_has_a_schedule_and_an_automation_of_its_own(plant: ProjectFolder) -> None:
    plant.interface("mes", schedule={"cron": "*/5 * * * *", "timezone": "Europe/Berlin"})
    plant.interface(
        "qms", schedule={"cron": "0 2 * * *", "enabled": False}, depends_on=["mes"], automation={"kind": "eager"}
    )
    window = {"mode": "window", "field": "at", "start": "2026-01-01T00:00:00Z", "step": "P1D"}
    block = {"kind": "sqlite", "connection": "data/shop.db", "query": "SELECT id, at FROM sales"}
    plant.interface("sales", driver={"kind": "db", "db": block}, incremental=window, schedule={"cron": "0 3 * * *"})
    plant.interface("gone", enabled=False, schedule={"cron": "0 2 * * *"})
    definitions = build_definitions(plant.load())
    repository = definitions.get_repository_def()
    shown = {one.name: (one.job_name, one.default_status.value) for one in repository.schedule_defs}
    assert shown == {
        "mes_schedule": ("all", "RUNNING"),
        "qms_schedule": ("all", "STOPPED"),
        "sales_schedule": ("sales_due_windows", "RUNNING"),
    }
    with dg.build_schedule_context(repository_def=repository, scheduled_execution_time=datetime(2026, 1, 1)) as context:
        request = next(iter(repository.get_schedule_def("mes_schedule").evaluate_tick(context).run_requests or ()))
    assert {key.to_user_string() for key in request.asset_selection or ()} == {"mes", "mes_dead_letters"}
    assert request.tags["rootsys/interface"] == "mes"
    assert request.tags["rootsys/triggered_by"] == "schedule:mes_schedule"


def test_automation_runs_an_interface_once_behind_what_it_needs(plant: ProjectFolder) -> None:
    plant.interface("qms", record_id_paths=["/id"], depends_on=["mes"], automation={"kind": "eager"})
    plant.fabric("defects", ["mes"], automation={"kind": "eager"})
    definitions = build_definitions(plant.load())
    instance = dg.DagsterInstance.ephemeral()
    first = dg.evaluate_automation_conditions(definitions, instance)
    assert first.total_requested == 0
    assert run(plant, "mes", instance).success
    second = dg.evaluate_automation_conditions(definitions, instance, cursor=first.cursor)
    requested = {subset.key.to_user_string() for subset in (one.true_subset for one in second.results) if subset.size}
    assert requested == {"qms", "qms_dead_letters", "defects", "defects_duplicates"}
    third = dg.evaluate_automation_conditions(definitions, instance, cursor=second.cursor)
    assert third.total_requested == 0
