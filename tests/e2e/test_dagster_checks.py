"""Asset checks and failed steps: green when it is true, red when somebody should look."""

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_run
from dagster._core.execution.plan.objects import StepFailureData

from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.defs import ops
from rootsys_dagster.defs.build import build_definitions
from rootsys_dagster.log.commit import LogWriter
from tests.conftest import ProjectFolder


def run(
    project: ProjectFolder, job: str = "mes", instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    job_def = build_definitions(project.root).resolve_job_def(job)
    return job_def.execute_in_process(raise_on_error=False, instance=instance)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def failure(result: dg.ExecuteInProcessResult) -> StepFailureData:
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    return event.step_failure_data


@pytest.fixture
def mes(project: ProjectFolder) -> ProjectFolder:
    project.interface("mes", required_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}, {"id": 2}, {}])
    return project


def test_a_good_run_is_green(mes: ProjectFolder) -> None:
    found = checks(run(mes))
    assert set(found) == {"conservation", "contract", "open_dead_letters"}
    assert all(evaluation.passed for evaluation in found.values())


def test_a_file_that_lost_a_line_behind_our_back_is_red(mes: ProjectFolder) -> None:
    run(mes)
    (segment,) = (mes.root / ".rootsys" / "mes" / "v1" / "records").glob("*.jsonl")
    # Same length, one line less: only somebody who counts sees it.
    segment.write_bytes(segment.read_bytes().replace(b"\n", b" ", 1))
    found = checks(run(mes))["conservation"]
    assert not found.passed
    assert "is not what was committed" in (found.description or "")


@pytest.mark.parametrize(
    ("budget", "passed"),
    [
        pytest.param({"max_reject_ratio": 0.5}, True, id="ratio within"),
        pytest.param({"max_reject_ratio": 0.1}, False, id="ratio above"),
        pytest.param({"max_open": 1}, True, id="number within"),
        pytest.param({"max_open": 0}, False, id="number above"),
    ],
)
def test_the_dead_letter_budget_colours_the_check_and_stops_nothing(
    mes: ProjectFolder, budget: dict[str, float], passed: bool
) -> None:
    mes.interface("mes", required_paths=["/id"], dead_letters={"kind": "file", "budget": budget})
    result = run(mes)
    assert result.success
    assert checks(result)["open_dead_letters"].passed is passed
    assert len(mes.dead_letters()) == 1
    assert (mes.root / "dead_letters" / "mes.jsonl").read_bytes().count(b"\n") == 1


def test_a_run_that_finds_nothing_new_does_not_turn_a_red_budget_green(mes: ProjectFolder) -> None:
    mes.interface("mes", required_paths=["/id"], dead_letters={"budget": {"max_reject_ratio": 0.1}})
    assert not checks(run(mes))["open_dead_letters"].passed
    found = checks(run(mes))["open_dead_letters"]
    assert not found.passed
    assert "reject ratio 0.3333" in (found.description or "")
    mes.data("mes.jsonl", [{"id": 3}], append=True)
    assert checks(run(mes))["open_dead_letters"].passed


def test_a_changed_interface_file_warns_until_something_is_committed_under_it(mes: ProjectFolder) -> None:
    run(mes)
    mes.interface("mes", required_paths=["/id"], description="changed")
    found = checks(run(mes))["contract"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    mes.data("mes.jsonl", [{"id": 3}], append=True)
    assert checks(run(mes))["contract"].passed


def test_a_merge_is_counted_again_too(mes: ProjectFolder) -> None:
    mes.fabric("defects", ["mes"])
    found = checks(run(mes, "all"))
    assert set(found) == {"conservation", "contract", "open_dead_letters"}
    (segment,) = (mes.root / ".rootsys" / "defects" / "v1" / "records").glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b"\n", b" ", 1))
    assert not checks(run(mes, "defects"))["conservation"].passed


def test_an_error_of_ours_is_a_failure_that_names_its_code_and_is_not_retried(mes: ProjectFolder) -> None:
    (mes.root / "data" / "mes.jsonl").unlink()
    result = run(mes)
    found = failure(result).user_failure_data
    assert found is not None
    assert "data/mes.jsonl does not exist" in (found.description or "")
    assert found.metadata["code"].value == "FILE.NOT_FOUND"
    assert result.retry_attempts_for_node("mes__line.fetch") == 0


def test_a_broken_file_fails_its_runs_with_its_problems_and_stops_nobody_else(mes: ProjectFolder) -> None:
    mes.interface("broken", on_fail="explode")
    mes.fabric("merged", ["mes", "nobody"])
    for job, problem in (("broken", "/on_fail"), ("merged", "/inputs/1")):
        result = run(mes, job)
        found = failure(result).user_failure_data
        assert found is not None
        assert problem in (found.description or "")
        table = found.metadata["problems"]
        assert isinstance(table, dg.TableMetadataValue)
        assert [row.data["pointer"] for row in table.records] == [problem]
    result = run(mes, "all")
    assert not result.success, "a typing error must not leave an interface out unseen"
    keys = {event.asset_key for event in result.get_asset_materialization_events()}
    assert keys == {dg.AssetKey("mes"), dg.AssetKey("mes_dead_letters")}


def test_a_run_that_was_asked_for_before_its_file_broke_says_so(mes: ProjectFolder) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        asked = build_definitions(mes.root).resolve_job_def("mes")
        asked_for = instance.create_run_for_job(asked, execution_plan=create_execution_plan(asked))
        mes.interface("mes", on_fail="explode")
        broken = build_definitions(mes.root).resolve_job_def("mes")
        result = execute_run(InMemoryJob(broken), asked_for, instance)
        (event,) = [event for event in result.all_events if event.is_step_failure]
        assert event.step_failure_data.error is not None
        assert "/on_fail" in event.step_failure_data.error.message


def test_a_log_in_use_is_waited_for(mes: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rootsys_dagster.defs.errors.DEFAULT_RETRY_AFTER_S", 0.0)
    with mes.log().writer("somebody else"):
        result = run(mes)
    assert result.retry_attempts_for_node("mes__line.validate") == 3
    found = failure(result)
    assert found.error is not None
    assert found.user_failure_data is not None
    assert "somebody else" in (found.user_failure_data.description or "")
    # What the end of the run page repeats.
    assert "somebody else" in found.error.message
    assert run(mes).success


def test_a_step_that_fails_between_two_commits_goes_on_from_the_first(
    mes: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rootsys_dagster.defs.errors.DEFAULT_RETRY_AFTER_S", 0.0)
    mes.interface("mes", commit_every={"records": 1})
    lines = [{"id": n, "fill": "x" * 1000} for n in range(9000)]
    mes.data("mes.jsonl", lines)
    commit, calls = LogWriter.commit, []

    def fail_once(self, **members):
        calls.append(self.run_id)
        if len(calls) == 2:
            raise TransientError("the disk is thinking")
        return commit(self, **members)

    monkeypatch.setattr(LogWriter, "commit", fail_once)
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(mes, instance=instance)
        (event,) = instance.fetch_materializations(dg.AssetKey("mes"), limit=2).records
    assert result.success
    assert len(calls) > 2
    assert result.retry_attempts_for_node("mes__line.validate") == 1
    assert [record["payload"]["data"]["id"] for record in mes.records()] == list(range(9000))
    assert event.asset_materialization is not None
    tags = event.asset_materialization.tags or {}
    assert (tags["rootsys/first_seq"], tags["rootsys/seq"]) == ("1", str(mes.log().last_seq()))


@pytest.mark.parametrize("position_known", [True, False], ids=["same batch", "further"])
def test_what_another_run_commits_between_fetch_and_validate_is_neither_doubled_nor_lost(
    mes: ProjectFolder, monkeypatch: pytest.MonkeyPatch, position_known: bool
) -> None:
    read_spool, overtaking = ops.read_spool, []

    def overtaken(spooled):
        if not overtaking:
            if not position_known:
                mes.data("mes.jsonl", [{"id": 3}], append=True)
            overtaking.append(mes.run())
            mes.data("mes.jsonl", [{"id": 4}], append=True)
        return read_spool(spooled)

    monkeypatch.setattr(ops, "read_spool", overtaken)
    assert run(mes).success
    assert overtaking
    assert run(mes).success
    assert [record["payload"]["data"]["id"] for record in mes.records()] == (
        [1, 2, 4] if position_known else [1, 2, 3, 4]
    )


def test_the_spool_is_gone_once_its_batches_are_committed(mes: ProjectFolder) -> None:
    assert run(mes).success
    spool = mes.root / ".rootsys" / "mes" / "v1" / "spool"
    assert not spool.exists() or list(spool.iterdir()) == []


def test_a_dead_letter_sink_that_is_down_delays_only_itself(mes: ProjectFolder) -> None:
    mes.interface("mes", required_paths=["/id"], dead_letters={"kind": "file", "path": "kept/dead.jsonl"})
    (mes.root / "kept" / "dead.jsonl").mkdir(parents=True)
    result = run(mes)
    assert not result.success
    assert [event.asset_key for event in result.get_asset_materialization_events()] == [dg.AssetKey("mes")]
    assert mes.log().last_seq() == 1
    (mes.root / "kept" / "dead.jsonl").rmdir()
    assert run(mes).success
    assert (mes.root / "kept" / "dead.jsonl").read_bytes().count(b"\n") == 1
