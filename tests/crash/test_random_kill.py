"""kill -9 at random instants, again and again, while the input grows."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from crash.oracle import Checked, check, check_complete
from crash.pool import Pool, await_commits
from crash.source import Source

STATE = Path(".rootsys/mes/v1")
KILLED = -9

Kill = Callable[[int, float], int]
"""Start a run, wait for so many commits in all and then so many seconds, kill it; returns how it ended."""


def kill_again_and_again(source: Source, kills: int, kill: Kill) -> None:
    """Let *kill* hit runs *kills* times, judging after each what is committed."""
    random = Random(kills)
    checked, hits, hits_after_a_commit = Checked(), 0, 0
    for _ in range(kills * 5):
        # Enough for several commits: there is nearly always more to do than the run will live to see.
        source.grow(random.randrange(1, 500_000), torn=random.random() < 0.7)
        status = kill(checked.commits + random.randrange(4), random.uniform(0, 0.02))
        assert status in (0, KILLED)
        found = check(source.root / STATE, source.lines, checked)
        hits += status == KILLED
        hits_after_a_commit += status == KILLED and found.commits > checked.commits
        checked = found
        if hits == kills:
            break

    assert hits == kills, "too many runs were done before the kill"
    assert hits_after_a_commit > kills / 4, "the kills came before anything was committed"
    source.grow(1)


@pytest.mark.parametrize(
    "kills",
    [pytest.param(25, id="25"), pytest.param(500, id="500", marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_nothing_is_lost_or_doubled_however_often_a_run_is_killed(source: Source, pool: Pool, kills: int) -> None:
    def kill(commits: int, then_s: float) -> int:
        run = pool.start("run", source.root)
        run.await_commits(source.root / STATE, commits)
        time.sleep(then_s)
        return run.kill().status

    kill_again_and_again(source, kills, kill)
    pool.run("run", source.root).require_success()
    check_complete(source.root / STATE, source.lines)


@pytest.mark.parametrize(
    "kills", [pytest.param(4, id="4"), pytest.param(100, id="100", marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_nothing_is_lost_or_doubled_however_often_the_command_is_killed(source: Source, kills: int) -> None:
    command = [Path(sys.executable).with_name("rootsys"), "run", "mes", "--project", source.root]

    def kill(commits: int, then_s: float) -> int:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await_commits(source.root / STATE, commits, until=lambda: process.poll() is not None)
        time.sleep(then_s)
        process.kill()
        return process.wait()

    kill_again_and_again(source, kills, kill)
    subprocess.run(command, check=True, capture_output=True)
    check_complete(source.root / STATE, source.lines)
