"""Several processes at one log: the lock lets one in, and where it does not hold the fence does."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from crash.faults import Call, aim
from crash.oracle import Checked, check, check_complete
from crash.pool import Outcome, Pool
from crash.source import Source

STATE = Path(".rootsys/mes/v1")
WRITERS = 4
ROUNDS = [
    pytest.param(500_000, id="short"),
    pytest.param(8_000_000, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
]


def results(outcomes: list[Outcome]) -> Counter[str]:
    """How often which end was met."""
    for outcome in outcomes:
        assert "Traceback" not in outcome.printed, outcome.printed
    return Counter(outcome.code or str(outcome.status) for outcome in outcomes)


def run_together(source: Source, pool: Pool, *, lock: bool, gc: bool = False) -> Counter[str]:
    """Let four writers go at the same instant, again and again until nothing is left to commit."""
    seen: Counter[str] = Counter()
    checked = Checked()
    while (checked := check(source.root / STATE, source.lines, checked)).lines < len(source.lines):
        children = [pool.start("run", source.root, wait=True, lock=lock) for _ in range(WRITERS)]
        if gc:
            children += [pool.start("gc", source.root, wait=True) for _ in range(2)]
        for child in children:
            child.await_state("T")
        for child in children:
            child.signal(signal.SIGCONT)
        seen += results([child.wait() for child in children])
    return seen


@pytest.mark.parametrize("size", ROUNDS)
def test_writers_at_the_same_time_commit_or_are_refused(tmp_path: Path, pool: Pool, size: int) -> None:
    source = Source(tmp_path / "project", members={"limits": {"max_run_records": 1}})
    source.grow(size)
    seen = run_together(source, pool, lock=True, gc=True)

    assert set(seen) == {"0", "LOG.LOCKED"}, seen
    check_complete(source.root / STATE, source.lines)


@pytest.mark.parametrize("size", ROUNDS)
def test_where_the_lock_does_not_hold_the_fence_does(tmp_path: Path, pool: Pool, size: int) -> None:
    source = Source(tmp_path / "project")
    source.grow(70_000)
    # The first run alone: it proves that locks work here, and must not be lied to.
    pool.run("run", source.root).require_success()
    source.grow(size)
    seen = run_together(source, pool, lock=False)

    assert set(seen) == {"0", "LOG.FENCED"}, seen
    check_complete(source.root / STATE, source.lines)


def test_a_writer_that_slept_while_another_took_over_is_fenced(source: Source, pool: Pool, strace: None) -> None:
    source.grow(40_000)
    sleeper = pool.start("run", source.root, wait=True, fixed_names=True)
    # A stop signal takes effect when the call returns: the manifest is synced, its link is the next step.
    manifest = str(STATE / "log" / ".00000001-run-7-00000000.tmp")
    log = aim(sleeper, source.root, Call("fsync", manifest, 1), "signal=SIGSTOP")
    sleeper.signal(signal.SIGCONT)
    log.await_text("stopped by SIGSTOP", times=2)
    assert (source.root / manifest).exists()
    assert pool.run("run", source.root).code == "LOG.LOCKED"

    (source.root / STATE / "lock").unlink()
    pool.run("run", source.root).require_success()
    check_complete(source.root / STATE, source.lines)
    sleeper.signal(signal.SIGCONT)
    outcome = sleeper.wait()

    assert outcome.code == "LOG.FENCED", outcome
    check_complete(source.root / STATE, source.lines)
    assert not [name for name in os.listdir(source.root / STATE / "log") if name.startswith(".")]
    source.grow(40_000)
    pool.run("run", source.root).require_success()
    check_complete(source.root / STATE, source.lines)


@pytest.mark.parametrize("naps", [pytest.param(5, id="short"), pytest.param(100, id="long", marks=pytest.mark.long)])
def test_writers_that_sleep_at_any_moment_lose_nothing(source: Source, pool: Pool, naps: int) -> None:
    fenced, checked = 0, Checked()
    for nap in range(naps):
        source.grow(300_000, torn=True)
        sleeper = pool.start("run", source.root)
        checked = check(source.root / STATE, source.lines, checked)
        sleeper.await_commits(source.root / STATE, checked.commits + nap % 3)
        time.sleep(nap % 7 / 1000)
        sleeper.signal(signal.SIGSTOP)
        slept = sleeper.await_state("TZ") == "T"
        (source.root / STATE / "lock").unlink(missing_ok=True)
        pool.run("run", source.root).require_success()
        if slept:
            sleeper.signal(signal.SIGCONT)
        fenced += results([sleeper.wait()])["LOG.FENCED"]
    source.grow(1)
    pool.run("run", source.root).require_success()

    assert fenced > 0, "nobody slept at the wrong moment"
    check_complete(source.root / STATE, source.lines)
