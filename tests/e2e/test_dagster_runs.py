"""Runs as CI and people start them: ``dagster job execute`` and friends, each in a process of its own."""

import json
import os
from pathlib import Path

import pytest

from tests.conftest import ProjectFolder
from tests.services import dagster, dagster_home

GOOD = {"id": "a", "value": 1}
BAD = {"value": 2}


@pytest.fixture
def home(project: ProjectFolder) -> ProjectFolder:
    """A project with one interface of which one line of three is a dead letter."""
    project.interface("mes", required_paths=["/id"], record_id_paths=["/id"])
    project.data("mes.jsonl", [GOOD, BAD, {"id": "b"}])
    dagster_home(project.root)
    return project


def execute(home: ProjectFolder, job: str, **env: str) -> str:
    done = dagster(home.root, "job", "execute", "-m", "rootsys_dagster.definitions", "-j", job, **env)
    assert done.returncode == 0, done.stderr
    return done.stderr


def files_of(root: Path) -> set[str]:
    return {os.path.relpath(os.path.join(here, name), root) for here, _, names in os.walk(root) for name in names}


def test_a_job_commits_and_materializes_and_a_second_run_commits_nothing(home: ProjectFolder) -> None:
    first = execute(home, "mes")
    assert [record["record_id"] for record in home.records()] == ["a", "b"]
    assert [dead["reason_codes"] for dead in home.dead_letters()] == [["MISSING_REQUIRED_PATH"]]
    for event in ("Materialized value mes.", "Materialized value mes_dead_letters.", "'conservation' on 'mes' passed"):
        assert event in first
    execute(home, "mes")
    assert home.log().last_seq() == 1


def test_the_next_run_takes_only_what_is_new(home: ProjectFolder) -> None:
    execute(home, "mes")
    home.data("mes.jsonl", [{"id": "c"}], append=True)
    execute(home, "mes")
    assert [record["record_id"] for record in home.records()] == ["a", "b", "c"]
    assert home.log().last_seq() == 2


def test_all_runs_interfaces_before_the_fabric_that_merges_them(home: ProjectFolder) -> None:
    home.interface("qms", record_id_paths=["/id"])
    home.data("qms.jsonl", [{"id": "q"}])
    home.fabric("defects", ["mes", "qms"])
    execute(home, "all")
    assert [record["record_id"] for record in home.records("defects")] == ["a", "b", "q"]


def test_a_broken_file_leaves_the_others_usable_and_fails_validation(home: ProjectFolder) -> None:
    (home.root / "interfaces" / "broken.json").write_text('{"name": "broken", "version": "v1", "driver": {"knd": 1}}')
    done = dagster(home.root, "job", "execute", "-m", "rootsys_dagster.definitions", "-j", "all")
    assert done.returncode != 0, "what was left out must not look like success"
    assert "/driver/knd" in done.stderr
    assert home.log().last_seq() == 1
    execute(home, "mes")
    checked = dagster(home.root, "definitions", "validate")
    assert checked.returncode != 0
    assert "/driver/knd" in checked.stderr + checked.stdout
    assert "broken.json" in checked.stderr + checked.stdout


def test_without_a_home_the_folder_is_the_home(home: ProjectFolder) -> None:
    """The settings of the current folder hold then, so history does not depend on a variable that was forgotten."""
    execute(home, "mes", DAGSTER_HOME="")
    assert (home.root / ".dagster" / "history" / "runs.db").is_file()


def test_a_run_leaves_its_files_only_where_it_said(home: ProjectFolder) -> None:
    before = files_of(home.root)
    execute(home, "mes")
    assert {path.split(os.sep)[0] for path in files_of(home.root) - before} == {".dagster", ".rootsys"}


def test_handles_between_ops_are_small_json_and_a_planted_pickle_stays_unread(home: ProjectFolder) -> None:
    planted = home.root / "planted"
    # What a pickle would do when it is loaded: os.mkdir(planted).
    pickle = f"cos\nmkdir\n(S'{planted}'\ntR.".encode()
    storage = home.root / ".dagster" / "storage"
    for name in ("mes__line.fetch/spool", "mes__line.validate/commit", "spool", "commit"):
        path = storage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle)
    execute(home, "mes")
    assert not planted.exists()
    runs = [path for path in storage.iterdir() if len(path.name) == 36]
    handles = [path for run in runs for path in run.rglob("*") if path.is_file() and "compute_logs" not in path.parts]
    assert {path.name for path in handles} == {"spool.json", "commit.json"}
    for path in handles:
        json.loads(path.read_bytes())


@pytest.mark.parametrize("one", ["mes", "mes_dead_letters"])
def test_half_a_pair_is_refused_by_name(home: ProjectFolder, one: str) -> None:
    done = dagster(home.root, "asset", "materialize", "-m", "rootsys_dagster.definitions", "--select", one)
    assert done.returncode != 0
    assert "does not support subsetting" in done.stderr
    assert home.log().last_seq() == 0


def test_both_assets_of_a_pair_are_materialized_by_selection(home: ProjectFolder) -> None:
    both = "mes,mes_dead_letters"
    done = dagster(home.root, "asset", "materialize", "-m", "rootsys_dagster.definitions", "--select", both)
    assert done.returncode == 0, done.stderr
    assert home.log().last_seq() == 1


def test_an_error_of_ours_reaches_the_user_as_one_message_and_is_not_retried(home: ProjectFolder) -> None:
    (home.root / "data" / "mes.jsonl").unlink()
    done = dagster(home.root, "job", "execute", "-m", "rootsys_dagster.definitions", "-j", "mes")
    assert done.returncode != 0
    assert "FILE.NOT_FOUND" in done.stderr
    assert "STEP_UP_FOR_RETRY" not in done.stderr
    assert "rootsys_dagster.core.errors.ConfigError" not in done.stderr
