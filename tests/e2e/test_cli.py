"""Every command of ``rootsys`` but ``run``, whose forms have files of their own."""

import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from rootsys_dagster.cli.main import COMMANDS, cli
from tests.command import ROOTSYS, environment, events, json_lines, rootsys
from tests.conftest import ProjectFolder


@pytest.fixture
def shop(project: ProjectFolder) -> ProjectFolder:
    """Two interfaces and a fabric over them, run once."""
    project.interface("mes", record_id_paths=["/id"], required_paths=["/id"])
    project.interface("qms", record_id_paths=["/id"])
    project.fabric("defects", ["mes", "qms"])
    project.data("mes.jsonl", [{"id": 1}, {"n": 1}, {"id": 1}])
    project.data("qms.jsonl", [{"id": 1}])
    assert rootsys("run", "--all", cwd=project.root).returncode == 0
    return project


def test_the_help_imports_nothing_heavy(tmp_path):
    code = "import sys; from rootsys_dagster.cli.main import execute; execute(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"click", "rootsys_dagster.cli.main"} <= loaded
    assert not loaded & {"pydantic", "msgspec", "orjson", "numpy", "pyarrow", "dagster", "rich", "asyncio"}


def test_every_command_has_the_help_that_the_list_promises():
    for name, line in COMMANDS.items():
        module = import_module(f"rootsys_dagster.cli.{name.replace('-', '_')}")
        command = getattr(module, name.replace("-", "_"))
        assert command.name == name
        if name not in ("merge", "records", "check", "show", "verify", "gc", "init", "doctor"):
            assert command.help.startswith(line)
        assert rootsys_help(name).startswith(f"Usage: rootsys {name} ")
    assert list(cli.list_commands(None)) == list(COMMANDS)  # type: ignore[arg-type]


def rootsys_help(name: str) -> str:
    from click.testing import CliRunner

    return CliRunner().invoke(cli, [name, "--help"], prog_name="rootsys").output


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["--nonsense"], ["run", "--nonsense"], ["records"], ["gc", "--older-than-hours", "-1"]]
)
def test_bad_usage_ends_in_two(tmp_path, arguments):
    done = rootsys(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Usage: rootsys" in done.stderr


def test_a_mistyped_command_is_guessed(tmp_path):
    assert "did you mean 'dead-letters'?" in rootsys("dead-leters", cwd=tmp_path).stderr


def test_the_version_is_that_of_the_package(tmp_path):
    assert rootsys("--version", cwd=tmp_path).stdout == "rootsys 0.1.0\n"


@pytest.mark.parametrize("command", [["run", "--all"], ["run", "mes"], ["check"], ["show"], ["verify"], ["gc"]])
def test_outside_a_project_every_command_says_so(tmp_path, command):
    done = rootsys(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "[PROJECT.NOT_FOUND]" in done.stderr


def test_init_writes_a_project_that_runs_and_overwrites_nothing(tmp_path):
    counts = {"ROOTSYS_MES_ROW_COUNT": "3", "ROOTSYS_QMS_ROW_COUNT": "2"}
    done = rootsys("init", "p", cwd=tmp_path, more=counts)
    assert done.returncode == 0, done.stderr
    assert "rootsys run --all" in done.stdout
    assert rootsys("init", "p", cwd=tmp_path).returncode == 2
    checked = rootsys("check", cwd=tmp_path / "p")
    assert checked.returncode == 0, checked.stdout
    run = rootsys("run", "--all", cwd=tmp_path / "p" / "data")
    assert run.returncode == 0, run.stderr
    (defects,) = [event for event in events(run.stdout, "run_summary") if event["interface"] == "defects"]
    assert defects["integration_records"] == 5


def test_records_and_duplicates_are_what_is_committed_byte_for_byte(shop):
    for arguments, kind, name in (
        (["records", "mes"], "records", "mes"),
        (["records", "defects"], "records", "defects"),
        (["records", "defects", "--kind", "duplicates"], "duplicates", "defects"),
        (["dead-letters", "export", "mes"], "dead_letters", "mes"),
    ):
        expected = b"".join(line + b"\n" for line in shop.lines(kind, name))
        assert expected
        assert rootsys(*arguments, cwd=shop.root).stdout.encode() == expected


def test_records_can_be_limited_and_continued(shop):
    shop.data("mes.jsonl", [{"id": 2}], append=True)
    rootsys("run", "mes", cwd=shop.root)
    assert len(json_lines(rootsys("records", "mes", "--limit", "1", cwd=shop.root).stdout)) == 1
    (new,) = json_lines(rootsys("records", "mes", "--after", "1", cwd=shop.root).stdout)
    assert new["record_id"] == "2"
    assert rootsys("records", "mes", "--limit", "0", cwd=shop.root).stdout == ""


def test_records_need_only_a_state_root(shop, tmp_path):
    state_root = shop.root / ".rootsys"
    done = rootsys("records", "mes", "--state-root", state_root, cwd=tmp_path)
    assert done.stdout == rootsys("records", "mes", cwd=shop.root).stdout
    unknown = rootsys("records", "mess", "--state-root", state_root, cwd=tmp_path)
    assert unknown.returncode == 2
    assert "did you mean 'mes'?" in unknown.stderr
    nowhere = rootsys("records", "mes", "--state-root", "nowhere", cwd=tmp_path)
    assert nowhere.returncode == 2
    assert "[STATE.NOT_FOUND]" in nowhere.stderr


def test_several_versions_have_to_be_told_apart(shop):
    shop.interface("mes", version="v2", file="mes2", asset="mes2", driver={"kind": "jsonl", "input": "data/qms.jsonl"})
    assert rootsys("run", "mes@v2", cwd=shop.root).returncode == 0
    done = rootsys("records", "mes", "--state-root", ".rootsys", cwd=shop.root)
    assert done.returncode == 2
    assert "'mes@v1' or 'mes@v2'" in done.stderr
    (record,) = json_lines(rootsys("records", "mes@v2", cwd=shop.root).stdout)
    assert record["interface"] == {"name": "mes", "version": "v2"}


def test_what_has_not_run_yet_has_no_records_and_is_no_error(project):
    project.interface("mes")
    done = rootsys("records", "mes", cwd=project.root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_has_run_and_found_nothing_has_no_records_and_is_no_error(project):
    project.interface("mes")
    project.data("mes.jsonl", [])
    rootsys("run", "mes", cwd=project.root)
    done = rootsys("records", "mes", "--state-root", ".rootsys", cwd=project.root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_dead_letters_are_listed_by_place_and_reason_without_their_payload(shop):
    shop.data("mes.jsonl", [{"secret": "hunter2"}], append=True)
    rootsys("run", "mes", cwd=shop.root)
    listed = rootsys("dead-letters", "list", "mes", cwd=shop.root)
    heading, first, second = listed.stdout.splitlines()
    assert heading.split() == ["ID", "STATE", "COMMIT", "SOURCE", "AT", "REASONS", "FIRST", "MESSAGE"]
    assert "line 2, byte 9" in first
    assert "MISSING_REQUIRED_PATH" in second
    assert "hunter2" not in listed.stdout
    rows = json_lines(rootsys("dead-letters", "list", "mes", "--json", "--limit", "1", cwd=shop.root).stdout)
    assert [(row["commit"], row["reason_codes"]) for row in rows] == [(1, ["MISSING_REQUIRED_PATH"])]


def shown(project: ProjectFolder) -> dict[str, dict[str, object]]:
    lines = json_lines(rootsys("show", "--json", cwd=project.root).stdout)
    return {str(line["name"]): line for line in lines}


def test_show_tells_where_everything_stands(shop):
    states = shown(shop)
    assert list(states) == ["mes", "qms", "defects"]
    mes = states["mes"]
    assert (mes["seq"], mes["records"], mes["dead_letters"], mes["unread_bytes"]) == (1, 2, 1, 0)
    assert mes["reasons"] == {"MISSING_REQUIRED_PATH": 1}
    assert states["defects"]["duplicates"] == 1
    shop.data("mes.jsonl", [{"id": 2}], append=True)
    assert shown(shop)["mes"]["unread_bytes"] == 9
    rootsys("run", "mes", cwd=shop.root)
    states = shown(shop)
    assert (states["mes"]["unread_bytes"], states["defects"]["unmerged_commits"]) == (0, 1)
    table = rootsys("show", cwd=shop.root).stdout.splitlines()
    headings = "NAME KIND COMMIT RECORDS DEAD LETTERS LAG LAST RUN ROWS TOOK NEXT RUN STATE"
    assert table[0].split() == headings.split()
    assert [line.strip() for line in table[1:6] if "  " not in line.strip()] == ["folder data", "fabrics"]
    assert "up to date" in table[2]
    assert "new data" in table[5]
    detail = rootsys("show", "mes", cwd=shop.root).stdout
    assert "mes v1: up to date" in detail
    assert "1  MISSING_REQUIRED_PATH" in detail
    assert "1 record, 0 dead letters in 0.0 s, asked for by cli:" in detail


def test_show_names_what_is_broken_switched_off_or_without_a_file(shop):
    shop.interface("mes", enabled=False)
    (shop.root / "interfaces/qms.json").unlink()
    (shop.root / "interfaces/broken.json").write_text("{")
    table = rootsys("show", cwd=shop.root)
    assert table.returncode == 0
    lines = {line.split()[0]: line for line in table.stdout.splitlines()[1:] if line}
    assert "switched off" in lines["mes"]
    assert "(no file)" in lines["qms"]
    assert "1 problem, see rootsys check" in lines["broken"]


def test_check_counts_and_names_every_problem_of_every_file(shop):
    assert rootsys("check", cwd=shop.root).stdout == "4 of 4 files fine\n"
    shop.interface("mes", required_paths=["x", "x"], colour=1)
    shop.fabric("defects", ["mes", "nowhere"])
    done = rootsys("check", cwd=shop.root)
    assert done.returncode == 2
    assert "mes.json: 4 problems\n- /colour: " in done.stdout
    for part in ("- /required_paths/1: ", "[DUPLICATE_ENTRY]", "[FABRIC_INPUT_UNKNOWN]", "2 of 4 files fine"):
        assert part in done.stdout
    rows = json_lines(rootsys("check", "mes", "--json", cwd=shop.root).stdout)
    assert {row["pointer"] for row in rows} == {"/colour", "/required_paths/0", "/required_paths/1"}
    assert rootsys("check", "qms", cwd=shop.root).returncode == 0


def test_check_takes_files_from_anywhere(tmp_path):
    (tmp_path / "f.json").write_text('{"name":"","version":"v1","driver":{"kind":"jsonl"}}')
    done = rootsys("check", "f.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "- /name: must not be blank [INTERFACE_NAME_EMPTY]" in done.stdout
    assert "[FILE_UNREADABLE]" in rootsys("check", "nowhere.json", cwd=tmp_path).stdout


def test_verify_finds_a_changed_byte(shop):
    assert rootsys("verify", cwd=shop.root).returncode == 0
    segment = next((shop.log().folder / "records").glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"mes"', b'"MES"', 1))
    done = rootsys("verify", "--json", cwd=shop.root)
    assert done.returncode == 1
    (finding,) = json_lines(done.stdout)
    assert (finding["code"], finding["path"]) == ("CHANGED", str(segment))
    assert rootsys("verify", "qms", cwd=shop.root).returncode == 0


def test_gc_removes_what_no_commit_names_and_nothing_else(shop):
    orphan = shop.log().folder / "records" / "00000009-killed.jsonl"
    orphan.write_bytes(b"{}\n")
    old = time.time() - 100_000
    assert "removed 0 files" in rootsys("gc", cwd=shop.root).stdout
    os.utime(orphan, (old, old))
    assert f"{orphan}  3 B\nwould remove 1 file," in rootsys("gc", "--dry-run", cwd=shop.root).stdout
    assert orphan.exists()
    assert "removed 1 file," in rootsys("gc", cwd=shop.root).stdout
    assert not orphan.exists()
    assert rootsys("verify", cwd=shop.root).returncode == 0


def test_doctor_tells_what_is_missing_and_makes_what_can_be_made(project, tmp_path):
    project.interface("mes")
    home = tmp_path / "home"
    done = rootsys("doctor", cwd=project.root, more={"DAGSTER_HOME": str(home)})
    assert done.returncode == 1
    assert "--fix makes it" in done.stdout
    done = rootsys("doctor", "--fix", "--json", cwd=project.root, more={"DAGSTER_HOME": str(home)})
    assert done.returncode == 0, done.stdout
    found = {row["name"]: row["state"] for row in json_lines(done.stdout)}
    assert found["python"] == found["packages"] == found["project"] == found["state root"] == "ok"
    assert found["dagster home"] == "warning", "a home without dagster.yaml has Dagster's own defaults"
    assert (project.root / ".rootsys").is_dir()


def test_doctor_never_prints_the_address_of_the_database(project):
    project.interface("mes")
    url = "postgresql://user:hunter2@localhost/db"
    done = rootsys("doctor", cwd=project.root, more={"ROOTSYS_DAGSTER_POSTGRES_URL": url})
    assert "PostgreSQL" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_the_state_root_and_the_project_can_come_from_the_environment(project, tmp_path):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    elsewhere = tmp_path / "state"
    more = {"ROOTSYS_PROJECT": str(project.root), "ROOTSYS_STATE_ROOT": str(elsewhere)}
    assert rootsys("run", "mes", cwd=tmp_path, more=more).returncode == 0
    assert len(json_lines(rootsys("records", "mes", cwd=tmp_path, more=more).stdout)) == 1
    assert len(json_lines(rootsys("records", "mes", "--state-root", elsewhere, cwd=tmp_path).stdout)) == 1


def test_no_command_waits_for_standard_input_that_it_was_not_told_to_read(shop):
    process = subprocess.Popen(
        [ROOTSYS, "run", "--all"],
        cwd=shop.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.wait(60) == 0
    process.communicate()


def test_files_with_other_names_are_asked_for_by_name_too(project: ProjectFolder, tmp_path: Path):
    project.interface("a/b c", driver={"kind": "jsonl", "input": "data/x.jsonl"}, file="x")
    project.data("x.jsonl", [{"id": 1}])
    done = rootsys("run", "a/b c", cwd=project.root)
    assert done.returncode == 0, done.stderr
    assert "rootsys records 'a/b c'" in done.stderr
    assert json.loads(rootsys("records", "a/b c", cwd=project.root).stdout)["interface"]["name"] == "a/b c"
