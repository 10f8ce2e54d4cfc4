"""Ctrl-C, a reader that goes away, and what a terminal shows: the real command in a real process."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import ROOTSYS, environment, json_lines, rootsys
from tests.conftest import ProjectFolder

WAIT_S = 30.0


def wait_for(condition: Callable[[], object]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until_s, "the moment never came"
        time.sleep(0.02)


def start(*arguments: object, cwd: Path, stdin: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    command = [ROOTSYS, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )


def wait_in_read(process: subprocess.Popen[bytes]) -> None:
    """Until the process has emptied its standard input and sleeps: nothing that it was given is still under way."""
    assert process.stdin is not None
    stdin, status = process.stdin.fileno(), Path(f"/proc/{process.pid}/stat")

    def asleep() -> bool:
        (unread,) = struct.unpack("i", fcntl.ioctl(stdin, termios.FIONREAD, b"\0\0\0\0"))
        return unread == 0 and status.read_text().rpartition(")")[2].split()[0] == "S"

    wait_for(asleep)


@pytest.fixture
def slow(project: ProjectFolder) -> ProjectFolder:
    project.interface("mes", record_id_paths=["/id"])
    return project


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_commits_what_is_complete_and_ends(slow, number, code):
    process = start("run", "mes", "--input", "-", cwd=slow.root)
    assert process.stdin is not None
    process.stdin.write(b'{"id":1}\n{"id":2}\n{"id":3')
    process.stdin.flush()
    wait_in_read(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == code
    assert b"commit 1" in err
    assert b"running again goes on from here" in err
    assert b"Traceback" not in err
    assert [record["record_id"] for record in slow.records()] == ["1", "2"], "half a line is no record"


def test_the_second_signal_ends_at_once_and_loses_nothing(project):
    project.interface("mes", record_id_paths=["/id"], commit_every={"records": 1000})
    project.data("mes.jsonl", [{"id": n} for n in range(60_000)])
    process = start("run", "mes", cwd=project.root)
    wait_for(lambda: len(project.log().folder.glob("log/*.json") and list(project.log().folder.glob("log/*.json"))) > 1)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert b"Traceback" not in err
    before = len(project.records())
    assert 0 < before < 60_000, "the signals came while it was running"
    assert rootsys("run", "mes", cwd=project.root).returncode == 0
    assert [record["record_id"] for record in project.records()] == [str(n) for n in range(60_000)]
    assert rootsys("verify", cwd=project.root).returncode == 0


def test_a_stopped_stateless_run_leaves_the_old_output(slow):
    (slow.root / "o.jsonl").write_text("old\n")
    options = ("--interface", "interfaces/mes.json", "--output", "o.jsonl", "--input", "-")
    process = start("run", *options, cwd=slow.root)
    assert process.stdin is not None
    process.stdin.write(b'{"id":1}\n')
    process.stdin.flush()
    wait_in_read(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert b"nothing was written" in err
    assert (slow.root / "o.jsonl").read_text() == "old\n"
    assert not (slow.root / "o.dlq.jsonl").exists()


def test_a_signal_between_two_runs_of_an_interval_ends_the_command(slow):
    slow.data("mes.jsonl", [{"id": 1}])
    interval = ("--schedule-mode", "interval", "--interval-seconds", "600", "--max-runs", "5")
    process = start("run", "mes", *interval, cwd=slow.root)
    wait_for(lambda: (slow.log().folder / "log/00000001.json").exists())
    assert process.stdout is not None
    while b"run_summary" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 130


def test_a_reader_that_has_read_enough_ends_the_command_quietly(project):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": n, "text": "x" * 100} for n in range(5000)])
    project.run()
    process = start("records", "mes", cwd=project.root)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(WAIT_S) == 141


def test_a_reader_that_goes_away_does_not_end_a_run(project):
    project.interface("mes", commit_every={"records": 1000})
    project.data("mes.jsonl", [{"id": n} for n in range(20_000)])
    process = start("run", "mes", cwd=project.root)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(WAIT_S) == 0
    assert len(project.records()) == 20_000


def in_terminal(*arguments: object, cwd: Path, **more: str) -> tuple[int, str]:
    """Run a command in a pseudo-terminal; its exit code and everything it drew."""
    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    env = environment(TERM="xterm", **more)
    process = subprocess.Popen(
        [ROOTSYS, *map(str, arguments)], cwd=cwd, stdin=side, stdout=side, stderr=side, env=env, close_fds=True
    )
    os.close(side)
    drawn = b""
    while select.select([terminal], [], [], WAIT_S)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        drawn += data
    os.close(terminal)
    return process.wait(WAIT_S), drawn.decode()


def test_a_terminal_sees_a_line_that_moves_and_a_summary_in_words(project):
    project.interface("mes", required_paths=["/id"])
    project.data("mes.jsonl", [{"id": n} if n % 10 else {"n": n} for n in range(100_000)])
    code, drawn = in_terminal("run", "mes", cwd=project.root)
    assert code == 0
    assert re.search(r"\r\x1b\[Kmes: [\d,]+ records, [\d,]+ dead letters, [\d,]+/s, [\d.]+ .?B, [\d.]+ s", drawn)
    assert "mes: 90,000 records, 10,000 dead letters" in drawn
    assert '"event"' not in drawn
    for told in ("commit 1", "rootsys records mes", "rootsys dead-letters export mes", "10,000  MISSING_REQUIRED_PATH"):
        assert told in drawn


def test_json_is_json_in_a_terminal_too(project):
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    _, drawn = in_terminal("run", "mes", "--json", cwd=project.root)
    assert [line["event"] for line in json_lines(drawn)] == ["commit", "run_summary", "pipeline_metrics"]


@pytest.mark.parametrize(("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_no_color_is_honoured(project, more, coloured):
    _, drawn = in_terminal("run", "nothing", cwd=project.root, **more)
    assert "no interface or fabric is called 'nothing'" in drawn
    assert ("\x1b[" in drawn) is coloured
