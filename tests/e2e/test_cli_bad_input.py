"""What bad input gets on the command line: a clear error or a dead letter, never a traceback, and nothing is lost."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.command import ROOTSYS, environment, json_lines, rootsys
from tests.conftest import ProjectFolder

MEGABYTE = 1 << 20


def interface(**members: object) -> str:
    return json.dumps(
        {"name": "mes", "version": "v1", "driver": {"kind": "jsonl", "input": "data/mes.jsonl"}, **members}
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(interface(colour="red"), ["/colour"], id="unknown member"),
        pytest.param(interface(required_paths="x"), ["/required_paths"], id="wrong type"),
        pytest.param(interface(required_paths=["x"]), ["/required_paths/0", "JSON_POINTER_INVALID"], id="bad pointer"),
        pytest.param(interface(driver={"kind": "jsnl"}), ["/driver/kind"], id="unknown kind"),
        pytest.param("", ["is empty"], id="empty file"),
        pytest.param("{", ["FILE_JSON_INVALID"], id="no JSON"),
        pytest.param('{"name": "a", "name": "b"}', ["/name", "FILE_MEMBER_REPEATED"], id="repeated member"),
        pytest.param("\ufeff" + interface(), ["byte order mark"], id="byte order mark"),
        pytest.param(interface(name="\x1b[31mred"), ["CONTRACT_NOT_ALLOWLISTED"], id="control characters in a name"),
    ],
)
def test_a_wrong_interface_file_is_told_by_pointer_and_code(project, text, told):
    project.interface("qms")
    project.data("qms.jsonl", [{"id": 1}])
    (project.root / "interfaces/mes.json").write_text(text)
    done = rootsys("check", cwd=project.root)
    assert done.returncode == 2
    for part in (*told, "mes.json: "):
        assert part in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    run = rootsys("run", "--all", cwd=project.root)
    assert run.returncode == 2, "only files are wrong"
    assert "mes.json: " in run.stderr
    assert len(project.records("qms")) == 1, "the others run all the same"


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_way_out(path: Path) -> None:
    outside = path.parents[2] / f"outside-{path.name}"
    outside.write_text(interface() if path.suffix == ".json" else '{"id":1}\n')
    path.symlink_to(outside)


def nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize("make", [nothing, make_folder, make_pipe, make_loop, make_way_out])
def test_an_interface_file_that_is_none_is_refused_at_once(project, make):
    project.interface("mes").unlink()
    make(project.root / "interfaces/mes.json")
    if make is not make_way_out:
        # A file that is named on the command line may be a link to anywhere.
        run = ("run", "--interface", "interfaces/mes.json", "--output", "o")
        done = rootsys(*run, cwd=project.root)
        assert done.returncode == 1
        assert "[FILE_UNREADABLE]" in done.stderr
    if make is not nothing:
        assert rootsys("check", cwd=project.root).returncode == 2


@pytest.mark.parametrize("make", [nothing, make_folder, make_pipe, make_loop, make_way_out])
def test_an_input_that_is_no_file_of_the_project_is_refused_at_once(project, make):
    project.interface("mes")
    make(project.root / "data/mes.jsonl")
    for command in ("run", "check"):
        done = rootsys(command, "mes", cwd=project.root)
        assert done.returncode == 2
        assert "data/mes.jsonl" in done.stderr + done.stdout
        assert "[FILE." in done.stderr + done.stdout or "[PATH." in done.stderr + done.stdout
    assert project.records() == []


@pytest.mark.parametrize("path", ["../secret.jsonl", "/etc/passwd", "data/../../secret.jsonl", "a\0b", "../*.jsonl"])
def test_an_input_that_leads_out_of_the_project_is_refused(project, path):
    (project.root.parent / "secret.jsonl").write_text('{"id":1}\n')
    project.interface("mes", driver={"kind": "jsonl", "input": path})
    done = rootsys("run", "mes", cwd=project.root)
    assert done.returncode in (0, 2)
    assert project.records() == [], "not one byte of it"
    if "*" not in path:
        assert done.returncode == 2


def test_an_empty_input_is_no_error(project):
    project.interface("mes")
    project.data("mes.jsonl", [])
    assert rootsys("run", "mes", cwd=project.root).returncode == 0
    assert project.records() == project.dead_letters() == []


BAD = {
    "not JSON": b"{",
    "invalid UTF-8": b'{"id":"\xff"}',
    "a NUL": b'{"id":"a\0b"}',
    "a byte order mark": b'\xef\xbb\xbf{"id":1}',
    "a lone surrogate": b'{"id":"\\ud800"}',
    "NaN": b'{"id":NaN}',
    "two documents": b'{"id":1}{"id":2}',
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "100,000 levels open": b"[" * 100_000,
}
GOOD = {
    "CRLF": b'{"id":"crlf"}\r',
    "1e400": b'{"id":"big","n":1e400}',
    "100 digits": b'{"id":"digits","n":' + b"1" * 100 + b"}",
    "a repeated key": b'{"id":"first","id":"last"}',
    "another number": b'{"id":"kept","n":1.10}',
}


def test_bad_lines_are_dead_letters_with_their_line_number_and_good_ones_keep_their_bytes(project):
    project.interface("mes", record_id_paths=["/id"], required_paths=["/id"])
    project.data("mes.jsonl", [*BAD.values(), *GOOD.values()])
    done = rootsys("run", "mes", cwd=project.root)
    assert done.returncode == 0, done.stderr
    letters = project.dead_letters()
    assert [letter["reason_codes"] for letter in letters] == [["PAYLOAD_DECODE_FAILED"]] * len(BAD)
    lines = [letter["metadata"]["source_details"]["position"]["line"] for letter in letters]
    assert lines == list(range(1, len(BAD) + 1))
    assert [record["record_id"] for record in project.records()] == ["crlf", "big", "digits", "last", "kept"]
    committed = b"".join(project.lines("records"))
    assert all(line.rstrip(b"\r") in committed for line in GOOD.values())
    listed = rootsys("dead-letters", "list", "mes", cwd=project.root)
    assert len(listed.stdout.splitlines()) == len(BAD) + 1
    assert "line 1, byte 0" in listed.stdout


# In between because a process starts with the peak of its parent, and the parent of this one is large.
PEAK_KB = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def test_a_line_of_200_mb_is_a_dead_letter_and_memory_stays_small(project):
    project.interface("mes", record_id_paths=["/id"])
    path = project.data("mes.jsonl", [])
    with path.open("wb") as stream:
        # A hole: 200 MB of NUL without the wait for a disk.
        stream.truncate(200 * MEGABYTE)
        stream.seek(0, os.SEEK_END)
        stream.write(b'\n{"id":1}\n')
    done = subprocess.run(
        [sys.executable, "-I", "-c", PEAK_KB, ROOTSYS, "run", "mes"],
        cwd=project.root,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
    (letter,) = project.dead_letters()
    assert letter["reason_codes"] == ["RECORD_TOO_LARGE"]
    assert letter["metadata"]["source_details"]["position"]["length"] == 200 * MEGABYTE
    assert [record["record_id"] for record in project.records()] == ["1"]
    assert int(done.stdout) < 200_000


def test_two_runs_at_once_one_waits_for_nobody_and_loses_nothing(project):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    with project.log().writer("the-other-one"):
        done = rootsys("run", "mes", cwd=project.root)
    assert done.returncode == 1
    assert "[LOG.LOCKED]" in done.stderr
    assert "the-other-one" in done.stderr
    assert rootsys("run", "mes", cwd=project.root).returncode == 0
    assert len(project.records()) == 1


def small_disk() -> None:
    # Python ignores SIGXFSZ, so a write beyond this fails as it does on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, 256 << 10))


def on_small_disk(project: ProjectFolder, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [ROOTSYS, *arguments]
    return subprocess.run(
        command,
        cwd=project.root,
        env=environment(),
        capture_output=True,
        preexec_fn=small_disk,
        timeout=60,
        check=False,
    )


@pytest.fixture
def large(project: ProjectFolder) -> ProjectFolder:
    project.interface("mes", commit_every={"records": 1})
    project.data("mes.jsonl", [{"id": n, "text": "x" * 200} for n in range(10_000)])
    return project


def test_a_disk_that_is_full_stops_the_run_and_the_next_one_goes_on(large):
    large.interface("mes", commit_every={"bytes": 100 * MEGABYTE})
    done = on_small_disk(large, "run", "mes")
    assert done.returncode == 1
    assert b"[STATE.WRITE_FAILED]" in done.stderr
    assert b"Traceback" not in done.stderr
    assert large.records() == []
    assert rootsys("run", "mes", cwd=large.root).returncode == 0
    assert len(large.records()) == 10_000
    assert rootsys("verify", cwd=large.root).returncode == 0


def test_a_full_disk_leaves_the_old_output_of_a_stateless_run(large):
    (large.root / "o").write_text("old\n")
    done = on_small_disk(large, "run", "--interface", "interfaces/mes.json", "--output", "o")
    assert done.returncode == 1
    assert b"[OUTPUT.WRITE_FAILED]" in done.stderr
    assert b"Traceback" not in done.stderr
    assert (large.root / "o").read_text() == "old\n"
    assert not list(large.root.glob(".o*"))


def test_an_export_that_cannot_be_written_is_told_and_catches_up_later(large):
    run = ("run", "mes", "--output", "o.jsonl")
    done = on_small_disk(large, *run)
    assert done.returncode == 1
    assert b"[SINK.UNAVAILABLE]" in done.stderr
    assert len(large.records()) == 10_000, "what is committed does not depend on who follows"
    assert rootsys(*run, cwd=large.root).returncode == 0
    assert (large.root / "o.jsonl").read_bytes() == b"".join(line + b"\n" for line in large.lines("records"))


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system; only root may."""
    mounted: list[Path] = []

    def make(options: str) -> Path:
        place = tmp_path / f"mounted-{len(mounted)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("may not mount a file system here")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", place], check=True)


def test_a_read_only_state_root_is_told_before_anything_is_read(project, mount):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    state_root = mount("ro,size=1m")
    done = rootsys("run", "mes", "--state-root", state_root, cwd=project.root)
    assert done.returncode == 2
    assert "[STATE.UNUSABLE]" in done.stderr
    assert "read-only" in done.stderr.lower()
    doctor = rootsys("doctor", "--fix", "--state-root", state_root, cwd=project.root)
    assert doctor.returncode == 1
    assert "STATE.UNUSABLE" in doctor.stdout


def test_a_really_full_disk(large, mount):
    state_root = mount("size=1m")
    done = rootsys("run", "mes", "--state-root", state_root, cwd=large.root)
    assert done.returncode == 1
    assert "[STATE.WRITE_FAILED]" in done.stderr
    committed = json_lines(rootsys("records", "mes", "--state-root", state_root, cwd=large.root).stdout)
    assert [record["payload"]["data"]["id"] for record in committed] == list(range(len(committed)))
    assert rootsys("verify", "--state-root", state_root, cwd=large.root).returncode == 0


@pytest.mark.parametrize("root", ["/proc/nowhere", "interfaces/mes.json/state", "/dev/null"])
def test_a_state_root_that_can_be_none(project, root):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    done = rootsys("run", "mes", "--state-root", root, cwd=project.root)
    assert done.returncode == 2
    assert "[STATE.UNUSABLE]" in done.stderr


@pytest.mark.parametrize("output", ["data", "interfaces/mes.json/o", "/proc/o", "/dev/full"])
def test_an_output_that_cannot_be_written(project, output):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", output, "--dlq", "d", cwd=project.root)
    assert done.returncode == 1
    assert "[OUTPUT." in done.stderr
    assert not (project.root / "d").exists() or output == "/dev/full"


FORMS = {
    "output": ["--interface", "interfaces/mes.json", "--output"],
    "dead letters": ["--interface", "interfaces/mes.json", "--output", "o", "--dlq"],
    "output behind a log": ["--interface", "interfaces/mes.json", "--state-root", "s", "--output"],
    "dead letters behind a log": ["--interface", "interfaces/mes.json", "--state-root", "s", "--dlq"],
    "output by name": ["mes", "--output"],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("path", ["data/mes.jsonl", "data/../data/mes.jsonl", "link", "interfaces/mes.json"])
def test_what_is_read_is_never_written_over(project, form, path):
    project.interface("mes", required_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}, {}])
    (project.root / "link").symlink_to("data/mes.jsonl")
    before = (project.root / path).read_bytes()
    done = rootsys("run", *form, path, cwd=project.root)
    assert done.returncode == (2 if form[0] == "mes" else 1)
    assert "[OUTPUT.IS_INPUT]" in done.stderr
    assert (project.root / path).read_bytes() == before
    assert not (project.root / "o").exists()


def test_a_fabric_is_never_written_over_its_own_file(project):
    project.interface("mes")
    path = project.fabric("all", ["mes"])
    before = path.read_bytes()
    done = rootsys("run", "all", "--output", path, cwd=project.root)
    assert done.returncode == 2
    assert "[OUTPUT.IS_INPUT]" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("path", [".", "/", "..", "", "x" * 300, "y/" * 3000])
def test_a_path_that_can_be_no_file_is_told_before_anything_is_written(project, form, path):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    done = rootsys("run", *form, path, cwd=project.root)
    assert done.returncode in (1, 2)
    assert any(told in done.stderr for told in ("[OUTPUT.NOT_A_FILE]", "names no file", "cannot be looked up"))
    assert sorted(entry.name for entry in project.root.iterdir()) == ["contracts", "data", "interfaces"]


OTHER_PATHS = [
    ["run", "--interface", "interfaces/mes.json", "--output", "o", "--replay-dlq"],
    ["run", "--interface", "interfaces/mes.json", "--output", "o", "--replay-dlq-source", "sqlite", "--replay-dlq"],
    ["run", "--interface", "interfaces/mes.json", "--output", "o", "--contract-registry"],
    ["run", "--output", "o", "--interface"],
    ["merge", "--output", "o", "--inputs"],
    ["merge", "--inputs", "interfaces/mes.json", "--output"],
    ["verify", "--state-root"],
    ["show", "--state-root"],
    ["gc", "--state-root"],
    ["records", "mes", "--state-root"],
    ["dead-letters", "export", "mes", "--state-root"],
    ["check", "--project"],
    ["doctor", "--project"],
    ["init"],
]


@pytest.mark.parametrize("path", ["", "x" * 300])
@pytest.mark.parametrize("arguments", OTHER_PATHS, ids=" ".join)
def test_no_path_on_the_command_line_ends_in_a_traceback(project, arguments, path):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    assert rootsys(*arguments, path, cwd=project.root).returncode in (1, 2)


def test_an_output_whose_name_cannot_be_remembered_is_told_before_anything_is_read(project):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    done = rootsys("run", "mes", "--output", os.fsdecode(b"\xff"), cwd=project.root)
    assert done.returncode == 2
    assert "[OUTPUT.NAME_NOT_UTF8]" in done.stderr
    assert not (project.root / ".rootsys").exists()


def test_a_source_that_cannot_stand_in_a_record_is_bad_usage(project):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    done = rootsys("run", "mes", "--source", os.fsdecode(b"\xff"), cwd=project.root)
    assert done.returncode == 2
    assert "not UTF-8" in done.stderr


def test_a_truncated_input_is_never_read_on_as_if_nothing_had_happened(project):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}, {"id": 2}])
    rootsys("run", "mes", cwd=project.root)
    project.data("mes.jsonl", [{"id": 3}])
    done = rootsys("run", "mes", cwd=project.root)
    assert done.returncode == 1
    assert "[FILE.REPLACED]" in done.stderr
    assert len(project.records()) == 2


def test_a_damaged_log_stops_everything_that_would_build_on_it(project):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    rootsys("run", "mes", cwd=project.root)
    project.data("mes.jsonl", [{"id": 2}], append=True)
    rootsys("run", "mes", cwd=project.root)
    (project.log().folder / "log/00000001.json").unlink()
    for command in (["run", "mes"], ["verify", "mes"], ["records", "mes"]):
        done = rootsys(*command, cwd=project.root)
        assert done.returncode == 1, command
        assert "00000001.json" in done.stderr + done.stdout
    assert "damaged" in rootsys("show", cwd=project.root).stdout
