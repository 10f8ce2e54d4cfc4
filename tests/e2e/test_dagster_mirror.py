"""The commit log is the authority: whatever Dagster missed, lost or was told wrongly heals from it."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from rootsys_dagster.core.project import Project
from rootsys_dagster.defs.build import build_definitions
from rootsys_dagster.defs.mirror import mirror_pair
from rootsys_dagster.defs.pairs import interface_pair
from tests.conftest import ProjectFolder

RECORDS = dg.AssetKey(["mes"])
DEAD_LETTERS = dg.AssetKey(["mes_dead_letters"])


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def committed(project: ProjectFolder) -> ProjectFolder:
    """Three commits made on the command line, as far as Dagster can tell."""
    project.interface("mes", required_paths=["/id"], record_id_paths=["/id"])
    project.data("mes.jsonl", [])
    for n in range(3):
        project.data("mes.jsonl", [{"id": str(n)}, {"no": n}], append=True)
        project.run(run_id=f"command-line-{n}")
    return project


def mirror(folder: ProjectFolder, instance: dg.DagsterInstance, *, thorough: bool = True) -> list[tuple[int, int]]:
    """What was told now of the records asset."""
    project: Project = folder.load()
    pair = interface_pair(project.interface("mes").require())
    told = mirror_pair(pair, project, instance, thorough=thorough)
    return [(one.first, one.last) for one in told if one.key == RECORDS]


def heard(instance: dg.DagsterInstance, key: dg.AssetKey = RECORDS) -> list[tuple[str, str]]:
    """Every event of an asset, oldest first, read from Dagster itself."""
    records = instance.fetch_materializations(key, limit=1000, ascending=True).records
    tags = [record.asset_materialization.tags or {} for record in records if record.asset_materialization]
    return [(one.get("rootsys/first_seq", "?"), one.get("rootsys/seq", "?")) for one in tags]


def run_in_dagster(folder: ProjectFolder, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return build_definitions(folder.root).resolve_job_def("mes").execute_in_process(instance=instance)


def test_commits_of_the_command_line_are_told_once(committed: ProjectFolder, instance: dg.DagsterInstance) -> None:
    assert mirror(committed, instance) == [(1, 1), (2, 2), (3, 3)]
    assert mirror(committed, instance) == []
    assert heard(instance) == heard(instance, DEAD_LETTERS) == [("1", "1"), ("2", "2"), ("3", "3")]
    event = instance.get_latest_materialization_event(RECORDS)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == 3
    assert metadata["manifest_sha256"].value == committed.log().manifest_sha256(3)
    assert metadata["position"].value == committed.log().manifest(3).end


def test_a_run_tells_what_was_missed_before_it_tells_of_itself(
    committed: ProjectFolder, instance: dg.DagsterInstance
) -> None:
    committed.data("mes.jsonl", [{"id": "new"}], append=True)
    assert run_in_dagster(committed, instance).success
    assert heard(instance) == [("1", "1"), ("2", "2"), ("3", "3"), ("4", "4")]
    assert mirror(committed, instance) == []


def test_commits_of_one_run_are_one_event(project: ProjectFolder, instance: dg.DagsterInstance) -> None:
    project.interface("mes", commit_every={"records": 1}, limits={"max_record_bytes": 1024})
    project.data("mes.jsonl", [{"id": n, "fill": "x" * 1000} for n in range(9000)])
    project.run(run_id="one")
    last = project.log().last_seq()
    assert last > 1, "the input has to be more than one batch for this test to mean anything"
    assert mirror(project, instance) == [(1, last)]


def test_a_forged_event_hides_nothing_and_the_truth_is_said_last(
    committed: ProjectFolder, instance: dg.DagsterInstance
) -> None:
    forged = {"rootsys/first_seq": "1", "rootsys/seq": "3", "rootsys/manifest": "0" * 32}
    instance.report_runless_asset_event(dg.AssetMaterialization(RECORDS, tags=forged))
    assert mirror(committed, instance) == [(1, 1), (2, 2), (3, 3)]
    instance.report_runless_asset_event(dg.AssetMaterialization(RECORDS))
    assert mirror(committed, instance, thorough=False) == [(3, 3)]
    assert mirror(committed, instance) == []
    assert heard(instance)[-1] == ("3", "3")


def test_a_run_deleted_in_the_ui_leaves_a_gap_that_is_filled(
    committed: ProjectFolder, instance: dg.DagsterInstance
) -> None:
    mirror(committed, instance)
    committed.data("mes.jsonl", [{"id": "four"}], append=True)
    deleted = run_in_dagster(committed, instance).run_id
    committed.data("mes.jsonl", [{"id": "five"}], append=True)
    assert run_in_dagster(committed, instance).success
    instance.delete_run(deleted)
    assert ("4", "4") not in heard(instance)
    assert mirror(committed, instance, thorough=False) == []
    assert mirror(committed, instance) == [(4, 4)]


def test_wiped_assets_get_their_history_back(committed: ProjectFolder, instance: dg.DagsterInstance) -> None:
    mirror(committed, instance)
    instance.wipe_assets([RECORDS])
    assert heard(instance) == []
    assert mirror(committed, instance) == [(1, 1), (2, 2), (3, 3)]


def test_a_run_killed_between_commit_and_event_is_told_of(
    committed: ProjectFolder, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    mirror(committed, instance)
    committed.data("mes.jsonl", [{"id": "new"}], append=True)
    with monkeypatch.context() as patched:
        patched.setattr("rootsys_dagster.defs.ops.materialized", die)
        with pytest.raises(KeyboardInterrupt):
            run_in_dagster(committed, instance)
    assert committed.log().last_seq() == 4
    assert heard(instance)[-1] == ("3", "3")
    assert mirror(committed, instance) == [(4, 4)]


def test_a_new_instance_beside_a_long_log_is_told_in_a_bounded_number_of_events(
    committed: ProjectFolder, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rootsys_dagster.defs.mirror.MAX_EVENTS", 2)
    assert mirror(committed, instance) == [(1, 2), (3, 3)]
    assert mirror(committed, instance) == []


def test_a_history_longer_than_a_page_is_read_to_its_end(
    committed: ProjectFolder, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rootsys_dagster.defs.mirror.PAGE_EVENTS", 1)
    mirror(committed, instance)
    instance.report_runless_asset_event(dg.AssetMaterialization(RECORDS))
    assert mirror(committed, instance) == [(3, 3)]
    assert mirror(committed, instance) == []


def test_the_mirror_sensor_asks_once_for_all_interfaces_and_looks_only_at_what_it_does_not_know(
    committed: ProjectFolder, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three", "damaged"):
        committed.interface(name)
        committed.data(f"{name}.jsonl", [{"id": 1}])
        committed.run(name)
    asked: list[int] = []
    real = instance.get_latest_materialization_events

    def counted(keys):
        asked.append(len(keys))
        return real(keys)

    monkeypatch.setattr(instance, "get_latest_materialization_events", counted)
    sensor = build_definitions(committed.root).resolve_sensor_def("mirror")
    cursor: str | None = None

    def tick() -> list[int]:
        nonlocal cursor
        asked.clear()
        result = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
        assert isinstance(result, dg.SensorResult)
        cursor = result.cursor
        return list(asked)

    assert tick() == [2] * 5, "thorough"
    assert tick() == [10]
    committed.data("one.jsonl", [{"id": 2}], append=True)
    committed.run("one")
    (committed.log("damaged").folder / "log" / "00000001.json").write_text("{")
    assert tick() == [10, 2, 2]
    assert heard(instance, dg.AssetKey(["one"])) == [("1", "1"), ("2", "2")]
    assert tick() == [10, 2], "the damaged one, whose error is said again"


def test_the_mirror_sensor_heals_and_then_has_nothing_to_say(
    committed: ProjectFolder, instance: dg.DagsterInstance
) -> None:
    sensor = build_definitions(committed.root).resolve_sensor_def("mirror")

    def tick(cursor: str | None = None) -> tuple[str | None, str | None]:
        result = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
        assert isinstance(result, dg.SensorResult)
        assert result.skip_reason is not None
        return result.skip_reason.skip_message, result.cursor

    said, cursor = tick()
    assert said == "told Dagster of 6 events"
    assert tick(cursor) == ("Dagster knows every commit", cursor)
    assert len(heard(instance)) == 3
