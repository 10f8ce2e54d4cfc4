"""A full read by several connections: one snapshot, every row once, an end in time."""

import threading
from collections import Counter
from contextlib import closing
from typing import Any

import pytest

from rootsys_dagster.core.errors import TransientError
from tests.conftest import ProjectFolder
from tests.databases import Postgres, shared
from tests.proxy import Fault, proxy

ROWS = 30_000


@pytest.fixture
def server() -> Postgres:
    made = shared(Postgres)
    made.execute("DROP TABLE IF EXISTS events", "CREATE TABLE events (id integer, line text)")
    made.execute(
        f"INSERT INTO events SELECT i, CASE WHEN i % 7 > 0 THEN 'L' || i % 50 END FROM generate_series(1, {ROWS}) i"
    )
    return made


def write(project: ProjectFolder, url: str, key: str, **members: Any) -> None:
    db = {"kind": "postgres", "connection": url, "table": "events", "partition_key": key, "shards": 3, **members}
    project.interface("events", driver={"kind": "db", "db": db}, record_id_paths=["/id"])


def ids(project: ProjectFolder) -> Counter[int]:
    return Counter(record["payload"]["data"]["id"] for record in project.records("events"))


@pytest.mark.parametrize("key", ["id", "line"])
def test_every_row_is_read_once_with_null_keys_too(project: ProjectFolder, server: Postgres, key: str) -> None:
    write(project, server.url, key)
    project.run("events")
    assert ids(project) == Counter(range(1, ROWS + 1))
    assert project.log("events").last_seq() == 1


def test_all_connections_read_one_snapshot(project: ProjectFolder, server: Postgres) -> None:
    write(project, server.url, "id")
    stop = threading.Event()

    def move() -> None:
        # Each statement changes the key of a row, and so perhaps its shard: no snapshot has it twice or not at all.
        with closing(server.connect()) as connection:
            while not stop.is_set():
                connection.execute(f"UPDATE events SET id = id + {ROWS} WHERE id = (SELECT min(id) FROM events)")

    mover = threading.Thread(target=move)
    mover.start()
    project.run("events")
    stop.set()
    mover.join()
    assert sorted(number % ROWS for number in ids(project)) == list(range(ROWS))


def test_a_shard_that_breaks_ends_the_read_and_nothing_is_committed(project: ProjectFolder, server: Postgres) -> None:
    with proxy("127.0.0.1", server.port) as between:
        url = server.url.replace(str(server.port), str(between.port))
        write(project, url, "id", retry={"max_attempts": 1}, idle_timeout_ms=2000)
        between.fault = Fault("cut", after_bytes=200_000)
        with pytest.raises(TransientError):
            project.run("events")
        assert between.fired == 1
        assert ids(project) == Counter()
        between.fault = None
        project.run("events")
        assert between.connections == 8
    assert ids(project) == Counter(range(1, ROWS + 1))


def test_a_pool_caps_the_connections(project: ProjectFolder, server: Postgres) -> None:
    with proxy("127.0.0.1", server.port) as between:
        url = server.url.replace(str(server.port), str(between.port))
        write(project, url, "id", pool={"max_connections": 2})
        project.run("events")
        assert between.connections == 2
