"""kill -9 between the pages of a REST source while it grows: every row is committed once."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from crash.pool import Pool
from tests.conftest import ProjectFolder
from tests.http_server import Answer, Asked, HttpServer, http_server, json_answer

STATE = Path(".rootsys/rows/v1")
PAGE = 50


class Rows:
    """An API of rows in the order in which they were added, asked from a moment on and behind a row."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def grow(self, count: int, chance: Random) -> None:
        """Rows of which many share a moment; the last moment may still get rows later."""
        at = self.rows[-1] if self.rows else 0
        for _ in range(count):
            at += chance.random() < 0.05
            self.rows.append(at)

    def __call__(self, asked: Asked) -> Answer:
        since, behind = int(asked.query.get("since", 0)), int(asked.query.get("behind", -1))
        found = [n for n, at in enumerate(self.rows) if at >= since and n > behind][: PAGE + 1]
        page, more = found[:PAGE], len(found) > PAGE
        items = [{"id": n, "at": self.rows[n]} for n in page]
        return json_answer({"items": items, "next": page[-1] if more else None})


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def server(rows: Rows) -> Iterator[HttpServer]:
    with http_server(rows) as started:
        yield started


def pages(server: HttpServer) -> dict[str, object]:
    """The block of a driver that reads all rows by cursor."""
    cursor = {"cursor_param": "behind", "cursor_path": "/next", "max_pages": 10_000}
    pagination = {"kind": "cursor", "cursor": cursor}
    return {"url": f"{server.url}/rows", "items_pointer": "/items", "pagination": pagination}


@pytest.mark.parametrize(
    "kills",
    [pytest.param(8, id="8"), pytest.param(100, id="100", marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_nothing_is_lost_or_doubled_however_often_a_read_is_killed(
    project: ProjectFolder, pool: Pool, rows: Rows, server: HttpServer, kills: int
) -> None:
    rest = pages(server) | {"inject": [{"param": "since", "from": "watermark"}]}
    project.interface(
        "rows", driver={"kind": "rest", "rest": rest}, incremental={"field": "/at"}, commit_every={"records": 1}
    )
    chance = Random(kills)
    hits = hits_after_a_commit = 0
    for _ in range(kills * 5):
        rows.grow(chance.randrange(300, 1500), chance)
        before = project.log("rows").last_seq()
        run = pool.start("run", project.root, "rows")
        run.await_commits(project.root / STATE, before + chance.randrange(5))
        time.sleep(chance.uniform(0, 0.03))
        outcome = run.kill()
        assert outcome.killed or outcome.status == 0
        hits += outcome.killed
        hits_after_a_commit += outcome.killed and project.log("rows").last_seq() > before
        assert max(Counter(committed(project)).values(), default=1) == 1
        if hits == kills:
            break
    assert hits == kills, "too many runs were done before the kill"
    assert hits_after_a_commit > kills / 4, "the kills came before anything was committed"
    # The pass that was under way, and one behind it.
    for _ in range(2):
        pool.run("run", project.root, "rows").require_success()
    assert Counter(committed(project)) == Counter(range(len(rows.rows)))


@pytest.mark.parametrize("kills", [6])
def test_a_pass_that_replaces_the_one_before_is_whole_in_the_end(
    project: ProjectFolder, pool: Pool, rows: Rows, server: HttpServer, kills: int
) -> None:
    """A source that is read whole: what was committed half way is gone on with, not begun again."""
    project.interface("rows", driver={"kind": "rest", "rest": pages(server)}, commit_every={"records": 1})
    chance = Random(kills)
    rows.grow(PAGE * 60, chance)
    hits = 0
    for _ in range(kills):
        run = pool.start("run", project.root, "rows")
        run.await_commits(project.root / STATE, project.log("rows").last_seq() + 2 + chance.randrange(5))
        hits += run.kill().killed
    assert hits == kills
    pool.run("run", project.root, "rows").require_success()
    assert committed(project) == list(range(len(rows.rows)))
    behind = [asked.query.get("behind") for asked in server.asked]
    assert behind.count(None) == 1, "it was begun once"


def committed(project: ProjectFolder) -> list[int]:
    """The ids of all committed records, in order."""
    return [record["payload"]["data"]["id"] for record in project.records("rows")]
