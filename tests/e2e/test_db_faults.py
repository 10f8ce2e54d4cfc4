"""Databases that are away, slow, locked or cut off: a named outcome in time, nothing lost, nothing doubled."""

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.errors import ConfigError, PermanentError, RootsysError, TransientError
from rootsys_dagster.core.policy import Retry
from rootsys_dagster.drivers.db.errors import by_errno, by_result_code, by_sqlstate
from rootsys_dagster.resilience import backoff_ms
from tests.conftest import ProjectFolder
from tests.databases import MariaDb, Postgres, Server, postgres_server, shared
from tests.proxy import Fault, Proxy, proxy

ROWS = 20_000
QUICK = {"retry": {"max_attempts": 3, "base_delay_ms": 1}, "idle_timeout_ms": 700, "connect_timeout_ms": 1000}
SPELLINGS = {"postgres": "postgresql://app@127.0.0.1:{}/postgres", "mysql": "mysql://app@127.0.0.1:{}/ops"}


@pytest.fixture(params=[Postgres, MariaDb], scope="module")
def server(request: pytest.FixtureRequest) -> Server:
    made = shared(request.param)
    made.execute("DROP TABLE IF EXISTS long_events")
    made.execute("CREATE TABLE long_events (id integer PRIMARY KEY, note varchar(100))")
    with closing(made.connect()) as connection:
        for begin in range(1, ROWS, 2000):
            rows = ", ".join(f"({n}, '{'x' * 80}')" for n in range(begin, begin + 2000))
            connection.cursor().execute(f"INSERT INTO long_events VALUES {rows}")
    return made


@pytest.fixture
def broken(server: Server) -> Iterator[Proxy]:
    port = urlsplit(server.url).port
    assert port is not None
    with proxy("127.0.0.1", port) as between:
        yield between


def write(project: ProjectFolder, server: Server, port: int, incremental: Any = None, **members: Any) -> None:
    url = SPELLINGS[server.kind].format(port)
    db = {"kind": server.kind, "connection": url, "table": "long_events", **QUICK, **members}
    project.interface(
        "events",
        driver={"kind": "db", "db": db},
        incremental=incremental,
        record_id_paths=["/id"],
        commit_every={"records": 3000},
    )


def ids(project: ProjectFolder) -> Counter[int]:
    return Counter(record["payload"]["data"]["id"] for record in project.records("events"))


EVERYTHING = Counter(range(1, ROWS + 1))
BEHIND = {"field": "id", "tie_breaker": ["note"]}


@pytest.mark.parametrize("kind", ["cut", "reset", "black_hole"])
def test_a_read_behind_the_last_row_goes_on_after_a_broken_connection(
    project: ProjectFolder, server: Server, broken: Proxy, kind: Any
) -> None:
    write(project, server, broken.port, BEHIND)
    broken.fault = Fault(kind, after_bytes=500_000, times=2)
    began_s = time.monotonic()
    project.run("events")
    assert broken.fired == 2
    assert ids(project) == EVERYTHING
    assert time.monotonic() - began_s < 30


@pytest.mark.parametrize("kind", ["cut", "reset", "black_hole"])
def test_a_full_read_is_whole_or_not_at_all(project: ProjectFolder, server: Server, broken: Proxy, kind: Any) -> None:
    write(project, server, broken.port)
    broken.fault = Fault(kind, after_bytes=500_000)
    with pytest.raises(TransientError) as caught:
        project.run("events")
    assert caught.value.code in ("DB.CONNECTION_LOST", "DB.IDLE_TIMEOUT")
    assert broken.fired == 1
    assert project.records("events") == []
    project.run("events")
    assert ids(project) == EVERYTHING


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_connection_that_breaks_at_once_is_tried_again(
    project: ProjectFolder, server: Server, broken: Proxy, kind: Any
) -> None:
    write(project, server, broken.port)
    broken.fault = Fault(kind, times=2)
    project.run("events")
    assert (broken.fired, broken.connections) == (2, 3)
    assert ids(project) == EVERYTHING


def test_a_server_that_never_answers_ends_in_time(project: ProjectFolder, server: Server, broken: Proxy) -> None:
    write(project, server, broken.port)
    broken.fault = Fault("black_hole", times=99)
    began_s = time.monotonic()
    with pytest.raises(TransientError):
        project.run("events")
    assert broken.fired == 3
    assert time.monotonic() - began_s < 15


def test_random_cuts_lose_and_double_nothing(project: ProjectFolder, server: Server, broken: Proxy) -> None:
    chance = random.Random(7)
    write(project, server, broken.port, BEHIND, retry={"max_attempts": 1})
    for cut in range(1, 11):
        broken.fault = Fault("cut", after_bytes=chance.randrange(1_000_000), times=cut)
        try:
            project.run("events")
        except TransientError:
            continue
    broken.fault = None
    project.run("events")
    assert broken.fired > 3
    assert ids(project) == EVERYTHING


def test_a_restart_of_the_server_in_the_middle(project: ProjectFolder) -> None:
    with postgres_server() as server:
        server.execute("CREATE TABLE long_events (id integer PRIMARY KEY, note text)")
        server.execute(f"INSERT INTO long_events SELECT i, repeat('x', 200) FROM generate_series(1, {ROWS}) i")
        with proxy("127.0.0.1", server.port) as between:
            write(project, server, between.port, BEHIND, retry={"max_attempts": 100, "base_delay_ms": 20})
            between.delay_s = 0.01
            restarted = threading.Event()

            def restart() -> None:
                server.stop("immediate")
                server.start()
                restarted.set()

            thread = threading.Timer(0.5, restart)
            thread.start()
            project.run("events")
            thread.join()
        assert restarted.is_set()
        assert between.connections > 1
        assert ids(project) == EVERYTHING


def test_a_locked_table_is_named(project: ProjectFolder) -> None:
    server = shared(Postgres)
    server.execute("DROP TABLE IF EXISTS locked", "CREATE TABLE locked (id integer)")
    write(project, server, server.port, table="locked", retry={"max_attempts": 1}, idle_timeout_ms=500)
    with closing(server.connect()) as other, other.transaction():
        other.execute("LOCK TABLE locked")
        with pytest.raises(TransientError) as caught:
            project.run("events")
    assert caught.value.code in ("DB.LOCK_TIMEOUT", "DB.IDLE_TIMEOUT")
    project.run("events")


SLOW = {
    "postgres": "SELECT pg_sleep(30)",
    "mysql": "SELECT sleep(30)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_statement_that_takes_too_long_is_ended(project: ProjectFolder, kind: str) -> None:
    connection = "data/s.db"
    if kind == "sqlite":
        sqlite3.connect(project.root / connection).execute("CREATE TABLE t (a)").connection.close()
    else:
        connection = shared(Postgres if kind == "postgres" else MariaDb).url
    db = {"kind": kind, "connection": connection, "query": SLOW[kind], "statement_timeout_ms": 300} | QUICK
    project.interface("events", driver={"kind": "db", "db": db | {"retry": {"max_attempts": 1}}})
    with pytest.raises(TransientError) as caught:
        project.run("events")
    assert caught.value.code == "DB.STATEMENT_TIMEOUT"


def test_rs51_a_busy_sqlite_is_tried_again(project: ProjectFolder) -> None:
    path = project.root / "data" / "s.db"
    sqlite3.connect(path).execute("CREATE TABLE t (a)").connection.close()
    db = {"kind": "sqlite", "connection": "data/s.db", "table": "t", "connect_timeout_ms": 1}
    project.interface("events", driver={"kind": "db", "db": db | {"retry": {"max_attempts": 3, "base_delay_ms": 1}}})
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TransientError) as caught:
            project.run("events")
        assert caught.value.code == "DB.BUSY"
    project.run("events")


def test_rs52_an_invalid_query_is_not_tried_again(project: ProjectFolder, server: Server, broken: Proxy) -> None:
    url = SPELLINGS[server.kind].format(broken.port)
    db = {"kind": server.kind, "connection": url, "query": "SELECT * FROM nowhere"} | QUICK
    project.interface("events", driver={"kind": "db", "db": db})
    with pytest.raises(ConfigError):
        project.run("events")
    assert broken.connections == 1


def test_delays_between_tries_are_those_of_the_reference() -> None:
    policy = DbConfig(connection="c", query="q", retry=Retry(jitter_percent=0)).retry
    assert policy is not None
    assert [backoff_ms(attempt, policy, random.Random()) for attempt in (1, 2, 3)] == [100, 200, 400]


def test_a_circuit_breaker_leaves_a_database_alone(project: ProjectFolder, server: Server, broken: Proxy) -> None:
    write(project, server, broken.port, circuit_breaker={"failure_threshold": 2}, retry={"max_attempts": 1})
    broken.fault = Fault("cut", times=99)
    codes: list[str] = []
    for _ in range(3):
        with pytest.raises(RootsysError) as caught:
            project.run("events")
        codes.append(caught.value.code)
    assert codes == ["DB.CONNECTION_LOST", "DB.CONNECTION_LOST", "CIRCUIT.OPEN"]
    assert broken.connections == 2


VERDICTS = [
    *((by_sqlstate(state), TransientError) for state in (
        None, "08006", "40001", "40P01", "53300", "57P03", "57P01", "55000", "55P03", "57014")),
    *((by_sqlstate(state), ConfigError) for state in ("28P01", "3D000", "42601", "42P01", "42703", "25006", "42501")),
    *((by_sqlstate(state), PermanentError) for state in ("22012", "XX000", "58030", "54000")),
    *((by_errno(errno), TransientError) for errno in (1040, 1205, 1213, 2006, 2013, 1053, 1927)),
    *((by_errno(errno), ConfigError) for errno in (1045, 1049, 1064, 1146, 1792)),
    (by_errno(1030), PermanentError),
    *((by_result_code(code), TransientError) for code in (5, 6, 517)),
    *((by_result_code(code), ConfigError) for code in (1, 8, 14, 23)),
    (by_result_code(11), PermanentError),
]  # fmt: skip


@pytest.mark.parametrize(("verdict", "kind"), VERDICTS)
def test_each_refusal_says_what_to_do(verdict: Any, kind: type[RootsysError]) -> None:
    assert type(verdict.error("postgres h", "SQLSTATE")) is kind


def test_no_row_and_no_value_stands_in_an_error(project: ProjectFolder) -> None:
    server = shared(Postgres)
    server.execute("DROP TABLE IF EXISTS events", "CREATE TABLE events (x text)")
    server.execute("INSERT INTO events VALUES ('very private')")
    db = {"kind": "postgres", "connection": server.url, "query": "SELECT x::int FROM events"}
    project.interface("events", driver={"kind": "db", "db": db})
    with pytest.raises(PermanentError) as caught:
        project.run("events")
    assert "private" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_ca_file_is_asked_for_where_the_server_has_no_certificate(project: ProjectFolder, tmp_path: Path) -> None:
    server = shared(Postgres)
    for mode in ("require", "verify-full"):
        db = {"kind": "postgres", "connection": server.url, "query": "SELECT 1", "postgres_tls_mode": mode}
        project.interface("events", driver={"kind": "db", "db": db | QUICK})
        with pytest.raises(ConfigError) as caught:
            project.run("events")
        assert caught.value.code == "DB.TLS_REFUSED"
