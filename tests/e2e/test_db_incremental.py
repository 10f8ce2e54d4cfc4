"""Reading on behind the last row: what appears late, together, without a place or while a run reads.

Nothing may be lost and nothing doubled.
"""

import itertools
import json
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.command import rootsys
from tests.conftest import ProjectFolder
from tests.databases import MariaDb, Postgres, Server, shared
from tests.services import wait_for

NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Source:
    """A table ``events (id, at, note)`` in one of the databases, and the project that reads it."""

    project: ProjectFolder
    kind: str
    connection: str
    connect: Callable[[], Any]

    def interface(self, incremental: dict[str, Any], **members: Any) -> None:
        """The interface file; commits follow each other quickly, so that places between rows matter."""
        db = {"kind": self.kind, "connection": self.connection, "table": "events"}
        members = {"record_id_paths": ["/id"], "commit_every": {"records": 1}} | members
        self.project.interface("events", driver={"kind": "db", "db": db}, incremental=incremental, **members)

    def execute(self, *statements: str) -> None:
        """Statements, each committed."""
        with closing(self.connect()) as connection:
            for statement in statements:
                connection.cursor().execute(statement)

    def insert(self, *rows: tuple[int, str | None, str]) -> None:
        """Rows in one transaction."""
        texts = ", ".join(f"({key}, {'NULL' if at is None else repr(at)}, '{note}')" for key, at, note in rows)
        self.execute(f"INSERT INTO events VALUES {texts}")

    def ids(self) -> list[int]:
        """Of what is committed, in order."""
        return [record["payload"]["data"]["id"] for record in self.project.records("events")]


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def source(request: pytest.FixtureRequest, project: ProjectFolder) -> Source:
    return source_of(request.param, project)


def source_of(kind: str, project: ProjectFolder) -> Source:
    time_type = {"sqlite": "text", "postgres": "timestamptz", "mysql": "datetime(6)"}[kind]
    if kind == "sqlite":
        path = project.root / "data" / "s.db"
        made = Source(project, kind, "data/s.db", lambda: sqlite3.connect(path, isolation_level=None))
    else:
        server: Server = shared(Postgres if kind == "postgres" else MariaDb)
        made = Source(project, kind, server.url, server.connect)
    made.execute(
        "DROP TABLE IF EXISTS events", f"CREATE TABLE events (id integer PRIMARY KEY, at {time_type}, note text)"
    )
    return made


def at(seconds: float) -> str:
    """A time so many seconds from now, as every database takes it."""
    return (NOW + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat(" ")


def test_a_run_goes_on_behind_the_last_row(source: Source) -> None:
    source.interface({"field": "at", "tie_breaker": ["id"]})
    source.insert((1, at(-100), "a"), (2, at(-90), "b"))
    source.project.run("events")
    source.insert((4, at(-80), "d"), (3, at(-80), "c"))
    assert source.project.run("events").counts.fetched == 2
    assert source.ids() == [1, 2, 3, 4]
    assert source.project.run("events").manifests == []


def test_a_first_run_begins_at_start(source: Source) -> None:
    source.interface({"field": "at", "tie_breaker": ["id"], "start": at(-95)})
    source.insert((1, at(-100), "a"), (2, at(-95), "b"))
    source.project.run("events")
    assert source.ids() == [2]


def test_a_row_that_is_committed_late_is_read_within_the_lateness(source: Source) -> None:
    source.interface({"field": "at", "tie_breaker": ["id"], "lateness_s": 60})
    source.insert((1, at(-200), "a"), (3, at(-100), "c"))
    source.project.run("events")
    source.insert((2, at(-150), "late"))
    report = source.project.run("events")
    assert source.ids() == [1, 3, 2]
    assert report.counts.skipped == {"already_committed": 1}
    assert source.project.run("events").manifests == []


def test_what_is_younger_than_the_lateness_waits(source: Source) -> None:
    source.interface({"field": "at", "tie_breaker": ["id"], "lateness_s": 3600})
    source.insert((1, at(-7200), "a"), (2, at(-60), "b"))
    source.project.run("events")
    assert source.ids() == [1]


def test_a_changed_row_is_read_again(source: Source) -> None:
    source.interface({"field": "at", "tie_breaker": ["id"], "lateness_s": 60})
    source.insert((1, at(-200), "a"), (2, at(-190), "b"))
    source.project.run("events")
    source.execute(f"UPDATE events SET note = 'changed', at = '{at(-100)}' WHERE id = 1")
    source.project.run("events")
    notes = [record["payload"]["data"]["note"] for record in source.project.records("events")]
    assert notes == ["a", "b", "changed"]


def test_without_a_tie_breaker_rows_of_the_same_moment_are_not_lost(source: Source) -> None:
    source.interface({"field": "at"})
    source.insert((1, at(-100), "a"), (2, at(-100), "b"))
    source.project.run("events")
    source.insert((3, at(-100), "c"))
    source.project.run("events")
    assert source.ids() == [1, 2, 3]


def test_a_number_keeps_a_place_too(source: Source) -> None:
    source.interface({"field": "id", "tie_breaker": ["note"]})
    source.insert((9, None, "a"), (10, None, "b"))
    source.project.run("events")
    source.insert((100, None, "c"))
    source.project.run("events")
    assert source.ids() == [9, 10, 100]


def test_rows_without_a_place_are_dead_letters_once(source: Source) -> None:
    source.interface({"field": "at", "tie_breaker": ["id"]})
    source.insert((1, None, "no time"), (2, at(-100), "a"), (3, "2999-01-01 00:00:00", "future"))
    source.project.run("events")
    source.insert((4, None, "no time either"))
    source.project.run("events")
    source.project.run("events")
    letters = source.project.dead_letters("events")
    assert [(letter["payload"]["data"]["id"], letter["reason_codes"]) for letter in letters] == [
        (1, ["WATERMARK_NULL"]),
        (3, ["WATERMARK_FUTURE"]),
        (4, ["WATERMARK_NULL"]),
    ]
    source.execute(f"UPDATE events SET at = '{at(-50)}' WHERE id = 1")
    source.project.run("events")
    assert source.ids() == [2, 1]


@pytest.mark.parametrize("tie_breaker", [["id"], []])
def test_ten_thousand_rows_of_one_moment_are_read_once(source: Source, tie_breaker: list[str]) -> None:
    source.interface({"field": "at", "tie_breaker": tie_breaker})
    for begin in range(0, 10_000, 1000):
        source.insert(*((n, at(-100), "x" * 100) for n in range(begin, begin + 1000)))
    source.insert(*((n, at(-90), "y") for n in range(10_000, 10_100)))
    for _ in range(2):
        source.project.run("events")
        assert Counter(source.ids()) == Counter(range(10_100))


def test_a_run_that_stops_at_a_limit_goes_on_where_it_stopped(source: Source) -> None:
    source.interface({"field": "at", "tie_breaker": ["id"]}, limits={"max_run_records": 100})
    for begin in range(0, 3000, 1000):
        source.insert(*((n, at(-100), "x" * 200) for n in range(begin, begin + 1000)))
    runs = 0
    while source.project.run("events").manifests:
        runs += 1
    assert runs > 3
    assert source.ids() == list(range(3000))


def test_other_columns_than_before_are_refused(source: Source) -> None:
    source.interface({"field": "at", "tie_breaker": ["id"]})
    source.insert((1, at(-100), "a"))
    source.project.run("events")
    source.interface({"field": "id", "tie_breaker": ["note"]})
    done = rootsys("run", "events", cwd=source.project.root)
    assert done.returncode == 2
    assert "DB.CURSOR_CHANGED" in done.stderr


@pytest.mark.parametrize(
    ("incremental", "code"),
    [
        ({"field": "nothing"}, "DB.COLUMN_MISSING"),
        ({"field": "note"}, "DB.TIE_BREAKER_NEEDED"),
        ({"field": "id", "tie_breaker": ["note"], "lateness_s": 5}, "DB.LATENESS_NEEDS_TIME"),
    ],
)
def test_columns_that_cannot_keep_a_place_are_refused(source: Source, incremental: Any, code: str) -> None:
    source.insert((1, at(-100), "a"))
    source.interface(incremental)
    done = rootsys("run", "events", cwd=source.project.root)
    assert done.returncode == 2
    assert code in done.stderr


@pytest.mark.parametrize(("rows", "writers"), [pytest.param(100_000, 4, marks=pytest.mark.long), (10_000, 4)])
def test_rows_of_concurrent_writers_are_read_once(project: ProjectFolder, rows: int, writers: int) -> None:
    source = source_of("postgres", project)
    source.execute("CREATE INDEX ON events (at, id)", "DROP SEQUENCE IF EXISTS keys", "CREATE SEQUENCE keys")
    source.interface({"field": "at", "tie_breaker": ["id"], "lateness_s": 1}, commit_every={"records": 1000})
    per_commit = 100
    written = itertools.count()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with closing(source.connect()) as connection:
            for _ in range(rows // writers // per_commit):
                with connection.transaction():
                    # The time of a row is that of its INSERT, and it is seen up to 0.2 s later.
                    connection.execute(
                        "INSERT INTO events SELECT nextval('keys'), clock_timestamp(), 'n' "
                        f"FROM generate_series(1, {per_commit})"
                    )
                    connection.execute("SELECT pg_sleep(%s)", [chance.random() * 0.2])
                next(written)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(writers)]
    for thread in threads:
        thread.start()
    runs = 0
    while any(thread.is_alive() for thread in threads):
        project.run("events")
        runs += 1
    assert next(written) * per_commit == rows
    wait_for("all rows", lambda: True if project.run("events") and len(source.ids()) >= rows else None)
    assert runs > 1
    assert Counter(source.ids()) == Counter(range(1, rows + 1))


def test_show_says_how_many_rows_wait(source: Source) -> None:
    source.interface({"field": "at", "tie_breaker": ["id"]})
    source.insert((1, at(-100), "a"))
    source.project.run("events")
    source.insert((2, at(-90), "b"), (3, at(-80), "c"))
    done = rootsys("show", "--json", cwd=source.project.root)
    assert json.loads(done.stdout.splitlines()[0])["unread_units"] == 2
    assert "2 rows" in rootsys("show", cwd=source.project.root).stdout


def test_preview_shows_the_statement_of_the_next_run(source: Source) -> None:
    source.interface({"field": "at", "tie_breaker": ["id"]})
    source.insert((1, at(-100), "a"), (2, at(-90), "b"))
    source.project.run("events")
    source.insert((3, at(-80), "c"))
    plan, *units = map(json.loads, rootsys("preview", "events", "--json", cwd=source.project.root).stdout.splitlines())
    assert "ORDER BY" in plan["plan"]["sql"]
    assert "2" in plan["plan"]["values"]
    assert [unit["detail"] for unit in units] == ["3"]
    assert list(itertools.chain(units[0]["position"])) == ["key"]
