"""``rootsys run --group``: order, failures, exit codes, again and again; and who asked, in every commit."""

import getpass

import pytest

from tests.command import events, rootsys
from tests.conftest import ProjectFolder


@pytest.fixture
def plant(project: ProjectFolder) -> ProjectFolder:
    """Three interfaces of which the second has no input, and a fabric."""
    for name in ("mes", "gone", "qms"):
        project.interface(name, record_id_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}])
    project.data("qms.jsonl", [{"id": 2}])
    project.fabric("defects", ["mes", "qms"])
    return project


def ran(out: str) -> list[str]:
    return [event["interface"] for event in events(out, "run_summary")]


def test_members_run_in_the_order_of_the_group_and_their_commits_say_why(plant: ProjectFolder) -> None:
    plant.interface("off", enabled=False)
    plant.group("nightly", ["qms", "off", "mes", "defects"])
    done = rootsys("run", "--group", "nightly", cwd=plant.root)
    assert done.returncode == 0, done.stderr
    assert ran(done.stdout) == ["qms", "mes", "defects"]
    expected = f"cli:{getpass.getuser()} > group:nightly"
    assert [plant.log(name).manifest(1).triggered_by for name in ("qms", "mes", "defects")] == [expected] * 3


@pytest.mark.parametrize(("stop", "rest"), [(False, ["mes", "qms"]), (True, ["mes"])])
def test_a_member_that_fails_holds_up_the_rest_only_when_the_group_says_so(
    plant: ProjectFolder, stop: bool, rest: list[str]
) -> None:
    plant.group("nightly", ["mes", "gone", "qms"], stop_on_failure=stop)
    done = rootsys("run", "--group", "nightly", cwd=plant.root)
    assert done.returncode == 2
    assert ran(done.stdout) == rest
    assert "gone: input data/gone.jsonl does not exist" in done.stderr


def test_a_group_runs_again_and_again(plant: ProjectFolder) -> None:
    plant.group("nightly", ["mes", "defects"])
    done = rootsys("run", "--group", "nightly", "--every-s", "1", "--max-runs", "2", cwd=plant.root)
    assert done.returncode == 0, done.stderr
    assert ran(done.stdout) == ["mes", "defects"] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--group", "nigthly"], "no group is called 'nigthly'; did you mean 'nightly'?"),
        (["--group", "nightly", "--all"], "name what to run"),
        (["--group", "nightly", "--every-s", "1"], "needs --interval-seconds and --max-runs"),
        (["--group", "nightly", "--every-s", "1", "--interval-seconds", "1"], "are one"),
        (["--group", "nightly", "--output", "x.jsonl"], "--output is for one interface"),
        (["--group", "broken"], "no interface or fabric is called 'mees'"),
    ],
)
def test_what_is_wrong_with_a_group_or_its_options_is_said(
    plant: ProjectFolder, arguments: list[str], words: str
) -> None:
    plant.group("nightly", ["mes"])
    plant.group("broken", ["mees"])
    done = rootsys("run", *arguments, cwd=plant.root)
    assert done.returncode == 2
    assert words in done.stderr


def test_check_names_what_is_wrong_with_groups_and_warns_of_an_order_against_what_is_needed(
    plant: ProjectFolder,
) -> None:
    plant.data("gone.jsonl", [])
    plant.group("nightly", ["defects", "mes"])
    plant.group("broken", ["mees"], schedules=[{"cron": "0 20 2 * * *"}])
    done = rootsys("check", cwd=plant.root)
    assert done.returncode == 2
    assert "broken.group.json: 1 problem\n- /schedules/0/cron: has six fields" in done.stdout
    assert "runs before mes, which it needs" in done.stderr
    alone = rootsys("check", "interfaces/nightly.group.json", cwd=plant.root)
    assert (alone.returncode, alone.stdout) == (0, "1 of 1 file fine\n")


def test_all_runs_what_is_depended_on_first(plant: ProjectFolder) -> None:
    plant.data("gone.jsonl", [])
    plant.interface("mes", record_id_paths=["/id"], depends_on=["qms"])
    plant.interface("gone", record_id_paths=["/id"], depends_on=["defects"])
    assert ran(rootsys("run", "--all", cwd=plant.root).stdout) == ["qms", "mes", "defects", "gone"]
