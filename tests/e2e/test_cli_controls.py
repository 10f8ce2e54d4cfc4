"""Controls from the command line: what is held does not run, says who holds it, and loses nothing."""

import json

import pytest

from tests.command import rootsys
from tests.conftest import ProjectFolder
from tests.e2e.test_cli_stop import start, wait_for, wait_in_read


@pytest.fixture
def mes(project: ProjectFolder) -> ProjectFolder:
    project.interface("mes", record_id_paths=["/id"], required_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}, {"no": 2}])
    return project


def control(project: ProjectFolder, *arguments: str) -> int:
    return rootsys("controls", *arguments, "--reason", "line stop", cwd=project.root).returncode


def audit(project: ProjectFolder) -> list[tuple[str, str]]:
    shown = json.loads(rootsys("controls", "--json", cwd=project.root).stdout)
    return [(entry["action"], entry["outcome"]) for entry in shown["audit"]]


@pytest.mark.parametrize(("action", "what"), [("pause", "--interface=mes"), ("drain", "--all")])
def test_what_is_held_does_not_run_until_it_is_resumed(mes, action, what):
    assert control(mes, action, what) == 0
    done = rootsys("run", "mes", cwd=mes.root)
    assert done.returncode == 3
    for told in ("by ", "line stop", "rootsys controls resume", "[CONTROLS.HELD]"):
        assert told in done.stderr
    assert not mes.records()
    assert control(mes, "resume", what) == 0
    assert rootsys("run", "mes", cwd=mes.root).returncode == 0
    assert len(mes.records()) == 1
    assert audit(mes) == [(action, "done"), ("run", "refused"), ("resume", "done")]


def test_a_fabric_is_held_like_an_interface_and_the_others_run(mes):
    mes.fabric("defects", ["mes"])
    assert control(mes, "pause", "--interface=defects") == 0
    done = rootsys("run", "--all", cwd=mes.root)
    assert done.returncode == 3
    assert "defects: paused by" in done.stderr
    assert len(mes.records()) == 1


def test_a_pause_ends_a_run_that_is_going_on_at_its_next_batch(mes):
    process = start("run", "mes", "--input", "-", cwd=mes.root)
    assert process.stdin is not None
    process.stdin.write(b'{"id":1}\n{"id":2}\n{"id":3')
    process.stdin.flush()
    wait_in_read(process)
    assert control(mes, "pause", "--interface=mes") == 0
    process.stdin.write(b'}\n{"id":4}\n')
    process.stdin.flush()
    process.stdin.flush()
    wait_for(lambda: process.poll() is not None)
    _, err = process.communicate()
    assert process.returncode == 0
    assert b"stopped       by interface mes paused by" in err
    assert [record["record_id"] for record in mes.records()][:2] == ["1", "2"]
    assert rootsys("verify", cwd=mes.root).returncode == 0


def test_a_drain_lets_a_run_go_on_to_its_end(mes):
    process = start("run", "mes", "--input", "-", cwd=mes.root)
    assert process.stdin is not None
    process.stdin.write(b'{"id":1}\n')
    process.stdin.flush()
    wait_in_read(process)
    assert control(mes, "drain", "--all") == 0
    process.communicate(b'{"id":2}\n', timeout=30)
    assert process.returncode == 0
    assert [record["record_id"] for record in mes.records()] == ["1", "2"]


def test_dead_letters_of_what_is_held_are_replayed_only_with_a_reason(mes):
    assert rootsys("run", "mes", cwd=mes.root).returncode == 0
    assert control(mes, "pause", "--interface=mes") == 0
    mes.interface("mes", record_id_paths=["/no"], required_paths=["/no"])
    refused = rootsys("dead-letters", "replay", "mes", cwd=mes.root)
    assert refused.returncode == 3
    assert "rootsys controls replay --interface mes" in refused.stderr
    assert len(mes.records()) == 1
    assert control(mes, "replay", "--interface=mes") == 0
    assert [record["record_id"] for record in mes.records()] == ["1", "2"]
    assert audit(mes) == [("pause", "done"), ("replay", "refused"), ("replay", "done")]


def test_a_source_that_cannot_be_read_anew_is_refused_and_kept_in_the_audit(mes):
    assert rootsys("run", "mes", cwd=mes.root).returncode == 0
    done = rootsys("controls", "replay", "--from", "source", "--all", "--reason", "x", cwd=mes.root)
    assert done.returncode == 1
    assert "POSITION.NOT_RESETTABLE" in done.stderr
    assert audit(mes) == [("reset", "refused")]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        pytest.param(["pause", "--reason", "x"], 2, "say what it is about", id="nothing named"),
        pytest.param(["pause", "--all", "--interface", "mes", "--reason", "x"], 2, "say what it", id="two named"),
        pytest.param(["pause", "--all"], 2, "--reason", id="no reason"),
        pytest.param(["pause", "--all", "--reason", ""], 2, "reason is blank", id="blank reason"),
        pytest.param(["pause", "--interface", "mse", "--reason", "x"], 2, "did you mean 'mes'", id="typing error"),
        pytest.param(["resume", "--all", "--reason", "x"], 3, "everything is not held", id="nothing to resume"),
    ],
)
def test_a_control_that_makes_no_sense_says_so(mes, arguments, code, told):
    done = rootsys("controls", *arguments, cwd=mes.root)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr


def test_whoever_resumes_is_told_what_else_holds(mes):
    control(mes, "pause", "--all")
    control(mes, "pause", "--interface=mes")
    done = rootsys("controls", "resume", "--interface", "mes", "--reason", "x", cwd=mes.root)
    assert "mes does not run yet: everything is paused by" in done.stderr


def test_what_left_the_project_can_still_be_resumed(mes):
    control(mes, "pause", "--interface=mes")
    (mes.root / "interfaces" / "mes.json").unlink()
    assert control(mes, "resume", "--interface=mes") == 0


def test_the_table_shows_what_is_held_and_the_audit(mes):
    control(mes, "pause", "--interface=mes")
    shown = rootsys("controls", cwd=mes.root).stdout
    assert "interface mes  paused" in shown
    assert "audit, newest last" in shown
