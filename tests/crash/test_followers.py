"""Sinks follow the commits: killed at any moment they catch up, and no dead letter is missing or there twice."""

import json
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from crash.faults import CHANGING, Call, aim, strike
from crash.oracle import Broken, Checked, check, check_complete, read_manifest, segment_lines
from crash.pool import Pool
from crash.runs import Runs, killed
from crash.source import Source

STATE = Path(".rootsys/mes/v1")
PAYLOAD, METADATA = b',"payload":', b',"metadata":{'
SINKS = [pytest.param("file", id="file"), pytest.param("sqlite", id="sqlite")]


def source_with_sink(root: Path, kind: str) -> Source:
    """A project whose dead letters go to a sink too."""
    return Source(root, members={"dead_letters": {"kind": kind, "path": f"dead.{kind}"}})


def committed_dead_letters(root: Path) -> list[bytes]:
    """Every dead-letter line of the log, in order."""
    folder = root / STATE
    seqs = range(1, len(list((folder / "log").glob("[0-9]*.json"))) + 1)
    return [line for seq in seqs for line in segment_lines(folder, read_manifest(folder, seq)[0], "dead_letters")]


def check_sink(root: Path, *, complete: bool) -> None:
    """Compare sink and log: nothing twice, nothing that is not committed, and when *complete* nothing missing."""
    expected = committed_dead_letters(root)
    if (root / "dead.file").exists():
        found = (root / "dead.file").read_bytes().split(b"\n")
        if complete and found != [*expected, b""]:
            raise Broken(f"the file holds {len(found) - 1} lines, {len(expected)} are committed")
        if found[:-1] != expected[: len(found) - 1]:
            raise Broken("the file is not the beginning of what is committed")
    elif (root / "dead.sqlite").exists():
        with sqlite3.connect(root / "dead.sqlite") as connection:
            there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'dead_letters'").fetchone()
            rows = connection.execute("SELECT payload_json FROM dead_letters").fetchall() if there else []
        connection.close()
        wanted = Counter(line[line.index(PAYLOAD) + len(PAYLOAD) : line.rindex(METADATA)] for line in expected)
        got = Counter(row.encode() for (row,) in rows)
        if got - wanted or (complete and wanted - got):
            raise Broken(f"the table lacks {(wanted - got).total()} and has {(got - wanted).total()} too many")
    elif complete:
        raise Broken("there is no sink")


@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize(
    "every",
    [pytest.param(6, id="short"), pytest.param(1, id="all", marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_a_kill_at_any_system_call_of_a_sink_is_made_good(
    tmp_path: Path, pool: Pool, strace: None, kind: str, every: int
) -> None:
    source = source_with_sink(tmp_path / "project", kind)
    source.grow(40_000)
    pool.run("run and publish", source.root).require_success()
    source.grow(100_000)
    pool.run("run", source.root).require_success()
    runs = Runs(
        pool,
        source.root,
        "publish",
        check=lambda root: check_sink(root, complete=False),
        check_complete=lambda root: check_sink(root, complete=True),
    )
    calls = [call for call in runs.calls(CHANGING) if call.creates]
    assert any(call.path.startswith(f"dead.{kind}") for call in calls)
    runs.strike_each([(call, "signal=SIGKILL") for call in calls[::every]], killed)


@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize("kills", [pytest.param(6, id="6"), pytest.param(150, id="150", marks=pytest.mark.long)])
def test_runs_killed_between_commit_and_sink_leave_nothing_out(
    tmp_path: Path, pool: Pool, kind: str, kills: int
) -> None:
    source = source_with_sink(tmp_path / "project", kind)
    random, checked, hits, behind = Random(kills), Checked(), 0, 0
    for _ in range(kills * 5):
        source.grow(150_000, torn=True)
        run = pool.start("run and publish", source.root)
        run.await_commits(source.root / STATE, checked.commits + 2)
        time.sleep(random.uniform(0, 0.01))
        hits += run.kill().killed
        checked = check(source.root / STATE, source.lines, checked)
        check_sink(source.root, complete=False)
        try:
            check_sink(source.root, complete=True)
        except Broken:
            behind += 1
        if hits == kills:
            break
    source.grow(1)
    pool.run("run and publish", source.root).require_success()

    assert hits == kills, "too many runs were done before the kill"
    assert behind > 0, "no kill came between a commit and its sink"
    check_complete(source.root / STATE, source.lines)
    check_sink(source.root, complete=True)


@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize("rounds", [pytest.param(8, id="short"), pytest.param(100, id="long", marks=pytest.mark.long)])
def test_several_runs_at_once_write_each_dead_letter_once(tmp_path: Path, pool: Pool, kind: str, rounds: int) -> None:
    source = source_with_sink(tmp_path / "project", kind)
    for _ in range(rounds):
        source.grow(200_000)
        children = [pool.start("run and publish", source.root) for _ in range(2)]
        children += [pool.start("publish", source.root) for _ in range(2)]
        for child in children:
            outcome = child.wait()
            assert "Traceback" not in outcome.printed, outcome.printed
        pool.run("run and publish", source.root).require_success()
        check_sink(source.root, complete=True)
    assert json.loads((source.root / STATE / "followers" / f"dead_letters-{kind}-dead.{kind}.json").read_bytes())["seq"]
    check_complete(source.root / STATE, source.lines)


def test_a_publisher_killed_beside_another_leaves_no_hole(tmp_path: Path, pool: Pool, strace: None) -> None:
    source = source_with_sink(tmp_path / "project", "file")
    source.grow(600_000)
    pool.run("run", source.root).require_success()
    slow = pool.start("publish", source.root, wait=True)
    log = aim(slow, source.root, Call("write", "dead.file", 2), "signal=SIGSTOP")
    slow.signal(signal.SIGCONT)
    log.await_text("stopped by SIGSTOP", times=2)
    assert (source.root / "dead.file").stat().st_size > 0

    other = pool.start("publish", source.root, wait=True)
    struck = strike(other, source.root, Call("write", "dead.file", 1), "signal=SIGKILL")
    slow.signal(signal.SIGCONT)
    slow.wait()
    assert struck.outcome.killed or struck.outcome.code == "LOG.LOCKED"
    pool.run("publish", source.root).require_success()
    check_sink(source.root, complete=True)
