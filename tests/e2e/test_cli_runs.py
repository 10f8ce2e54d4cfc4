"""``rootsys runs`` and the main screen: what ran and what is due, from the log alone and with Dagster's storage."""

import functools
import getpass
import json
import signal
import subprocess
from datetime import datetime
from typing import Any

import pytest

from tests.command import ROOTSYS, environment, json_lines, rootsys
from tests.conftest import ProjectFolder
from tests.services import dagster, dagster_home

ME = f"cli:{getpass.getuser()}"


@pytest.fixture
def plant(project: ProjectFolder) -> ProjectFolder:
    """Two interfaces of which the second has no input."""
    for name in ("mes", "gone"):
        project.interface(name, record_id_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}, b"not json"])
    return project


def runs(project: ProjectFolder, *arguments: str) -> list[dict[str, Any]]:
    done = rootsys("runs", "--json", *arguments, cwd=project.root)
    assert done.returncode == 0, done.stderr
    return json_lines(done.stdout)


def test_runs_are_told_from_the_log_where_there_is_no_dagster(plant: ProjectFolder) -> None:
    rootsys("run", "mes", cwd=plant.root)
    plant.data("mes.jsonl", [{"id": 2}], append=True)
    rootsys("run", "mes", cwd=plant.root)
    newest, oldest = runs(plant)
    assert (newest["name"], newest["commits"], newest["records"], newest["dead_letters"]) == ("mes", [2], 1, 0)
    assert (oldest["commits"], oldest["records"], oldest["dead_letters"], oldest["triggered_by"]) == ([1], 1, 1, ME)
    assert newest["status"] == oldest["status"] == "done"
    assert not (plant.root / ".dagster").exists()
    assert [row["commits"] for row in runs(plant, "--limit", "1")] == [[2]]
    assert runs(plant, "--since", "2099-01-01") == []
    assert runs(plant, "--interface", "gone") == []
    assert len(runs(plant, "--interface", "mes@v1", "--since", "1h")) == 2
    assert runs(plant, "--failed") == []


def test_runs_of_dagster_show_with_why_they_failed_and_what_they_committed(plant: ProjectFolder) -> None:
    dagster_home(plant.root)
    plant.group("nightly", ["mes", "gone"])
    assert dagster(plant.root, "job", "execute", "-m", "rootsys_dagster.definitions", "-j", "nightly").returncode == 1
    assert dagster(plant.root, "job", "execute", "-m", "rootsys_dagster.definitions", "-j", "mes").returncode == 0
    rootsys("run", "--all", cwd=plant.root)
    found = {(row["name"], row["status"], row["job"], row["triggered_by"]) for row in runs(plant)}
    assert found == {
        ("mes", "done", "nightly", "manual > group:nightly"),
        ("gone", "failed", "nightly", "manual"),
        ("mes", "done", "mes", "manual"),
    }
    (failed,) = runs(plant, "--failed", "--since", "24h")
    assert "input data/gone.jsonl does not exist" in failed["error"]
    shown = rootsys("runs", "--failed", cwd=plant.root).stdout
    assert f"gone {failed['run_id']}: input data/gone.jsonl does not exist" in shown


def test_runs_say_what_a_database_was_asked(plant: ProjectFolder) -> None:
    import sqlite3

    with sqlite3.connect(plant.root / "data" / "shop.db") as database:
        database.execute("CREATE TABLE sales (id INTEGER)")
        database.execute("INSERT INTO sales VALUES (7)")
    block = {"kind": "sqlite", "connection": "data/shop.db", "query": "SELECT id FROM sales"}
    plant.interface("sales", driver={"kind": "db", "db": block})
    assert rootsys("run", "sales", cwd=plant.root).returncode == 0
    (row,) = runs(plant)
    assert "SELECT id FROM sales" in json.dumps(row["asked"])
    assert "SELECT id FROM sales" in rootsys("runs", "--interface", "sales", cwd=plant.root).stdout


def test_the_main_screen_shows_the_last_run_and_the_next(plant: ProjectFolder) -> None:
    plant.interface("mes", record_id_paths=["/id"], schedule={"cron": "0 0 1 1 *", "timezone": "UTC"})
    plant.group("nightly", ["gone"], schedules=[{"cron": "30 2 * * *", "enabled": False}, {"cron": "0 3 * * *"}])
    rootsys("run", "mes", cwd=plant.root)
    states = {state["name"]: state for state in json_lines(rootsys("show", "--json", cwd=plant.root).stdout)}
    mes = states["mes"]
    assert (mes["source"], mes["last_run"]["records"], mes["last_run"]["triggered_by"]) == ("folder data", 1, ME)
    assert datetime.fromisoformat(mes["next_run"]).strftime("%m-%d %H:%M %Z") == "01-01 00:00 UTC"
    assert datetime.fromisoformat(states["gone"]["next_run"]).strftime("%H:%M") == "03:00"
    assert "last_run" not in states["gone"]


def test_watch_shows_again_and_again_until_it_is_interrupted(plant: ProjectFolder) -> None:
    command = [ROOTSYS, "show", "--watch", "--every-s", "0.2"]
    # A test run in the background is started with the signal ignored, and would hand that on.
    heeding = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, cwd=plant.root, env=environment(), stdout=subprocess.PIPE, text=True, preexec_fn=heeding
    ) as watching:
        assert watching.stdout is not None
        screens = 0
        for line in watching.stdout:
            screens += line.startswith("NAME")
            if screens == 3:
                break
        watching.send_signal(signal.SIGINT)
        watching.stdout.read()
        assert watching.wait(20) == 0
