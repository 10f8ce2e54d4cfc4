"""kill -9 at random instants, again and again, while the input grows."""

import time
from random import Random

import pytest

from crash.oracle import Checked, check, check_complete
from crash.pool import Pool
from crash.source import Source


@pytest.mark.parametrize(
    "kills",
    [pytest.param(40, id="40"), pytest.param(600, id="600", marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_nothing_is_lost_or_doubled_however_often_a_run_is_killed(source: Source, pool: Pool, kills: int) -> None:
    random = Random(kills)
    folder = source.root / ".rootsys" / "mes" / "v1"
    checked, hits, hits_after_a_commit = Checked(), 0, 0
    for _ in range(kills * 5):
        # Enough for several commits: there is always more to do than the run will live to see.
        source.grow(random.randrange(1, 500_000), torn=random.random() < 0.7)
        run = pool.start("run", source.root)
        run.await_commits(folder, checked.commits + random.randrange(4))
        time.sleep(random.uniform(0, 0.02))
        outcome = run.kill()
        assert outcome.status in (0, -9), outcome
        found = check(folder, source.lines, checked)
        hits += outcome.killed
        hits_after_a_commit += outcome.killed and found.commits > checked.commits
        checked = found
        if hits == kills:
            break
    source.grow(1)
    pool.run("run", source.root).require_success()

    assert hits == kills, "too many runs were done before the kill"
    assert hits_after_a_commit > kills / 4, "the kills came before anything was committed"
    check_complete(folder, source.lines)
