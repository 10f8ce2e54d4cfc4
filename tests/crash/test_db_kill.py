"""kill -9 in the middle of reading a database, while rows are added: each is committed once."""

import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from crash.pool import Pool
from tests.conftest import ProjectFolder
from tests.e2e.test_db_incremental import Source, at, source_of

STATE = Path(".rootsys/events/v1")


def grow(source: Source, first: int, count: int, chance: Random) -> None:
    """Rows of which many share a moment, none later than the lateness allows."""
    for begin in range(first, first + count, 1000):
        numbers = range(begin, min(begin + 1000, first + count))
        source.insert(*((n, at(-7200 + n // chance.randrange(1, 900) % 1700), "x" * 150) for n in numbers))


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql"])
@pytest.mark.parametrize(
    "kills", [pytest.param(4, id="4"), pytest.param(100, id="100", marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_nothing_is_lost_or_doubled_however_often_a_read_is_killed(
    project: ProjectFolder, pool: Pool, kind: str, kills: int
) -> None:
    chance = Random(kills)
    source = source_of(kind, project)
    source.interface({"field": "at", "lateness_s": 1800}, commit_every={"records": 500})
    rows = hits = 0
    for _ in range(kills * 5):
        count = chance.randrange(1, 4000)
        grow(source, rows, count, chance)
        rows += count
        run = pool.start("run", project.root, "events")
        run.await_commits(project.root / STATE, project.log("events").last_seq() + chance.randrange(3))
        time.sleep(chance.uniform(0, 0.05))
        outcome = run.kill()
        assert outcome.killed or outcome.status == 0
        hits += outcome.killed
        assert max(Counter(source.ids()).values(), default=1) == 1
        if hits == kills:
            break
    assert hits == kills, "too many runs were done before the kill"
    pool.run("run", project.root, "events").require_success()
    assert Counter(source.ids()) == Counter(range(rows))
