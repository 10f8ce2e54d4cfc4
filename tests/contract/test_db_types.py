"""What becomes of every type of each database, and of the values that break other programs. No cell fails a table."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.ports import Driver, DriverContext
from rootsys_dagster.core.registry import DRIVERS
from tests.databases import MariaDb, Postgres, postgres_server, postgres_tools, shared


def driver(root: Path, **members: Any) -> Driver[DriverConfig]:
    config = DriverConfig(kind="db", db=DbConfig(**members))
    return DRIVERS.get("db")(config, DriverContext(root, (root,), 1 << 20))


def units(root: Path, **members: Any) -> list[bytes]:
    return [unit for batch in driver(root, **members).read(None) for unit in batch.units]


def cell(unit: bytes) -> str:
    """The value of the one member of a row, as it stands there."""
    return unit.decode().removeprefix('{"x":').removesuffix("}")


POSTGRES = [
    ("bool", "true", "true"),
    ("int2", "'-32768'", "-32768"),
    ("int4", "'-2147483648'", "-2147483648"),
    ("int8", "9223372036854775807", "9223372036854775807"),
    ("float4", "'1.1'", "1.1"),
    ("float4", "'NaN'", "null"),
    ("float8", "'0.1'::float8 + '0.2'::float8", "0.30000000000000004"),
    ("float8", "'-0'", "-0"),
    ("float8", "'5e-324'", "5e-324"),
    ("float8", "'1.7976931348623157e308'", "1.7976931348623157e+308"),
    ("float8", "'infinity'", "null"),
    ("float8", "'-infinity'", "null"),
    ("numeric", "'0.000000'", '"0.000000"'),
    ("numeric", "'123456789012345678901234567890.123456789'", '"123456789012345678901234567890.123456789"'),
    ("numeric", "'NaN'", '"NaN"'),
    ("numeric", "'Infinity'", '"Infinity"'),
    ("numeric(5,2)", "'1.5'", '"1.50"'),
    ("text", "''", '""'),
    ("text", "E'a\\\\b\"c\\n\\r\\t\\x01\\x02\\x1f'", '"a\\\\b\\"c\\n\\r\\t\\u0001\\u0002\\u001f"'),
    ("text", "'é 傷 😀 \u2028 \x7f'", '"é 傷 😀 \u2028 \x7f"'),
    ("text", "'\\N'", '"\\\\N"'),
    ("text", "'\\.'", '"\\\\."'),
    ("varchar(3)", "'abc'", '"abc"'),
    ("bpchar(3)", "'a'", '"a  "'),
    ("name", "'n'", '"n"'),
    ('"char"', "'c'", '"c"'),
    ("json", """'{"b": 1.0,  "a": 1e400, "b": "\\ud83d\\ude00"}'""", '{"b": 1.0,  "a": 1e400, "b": "\\ud83d\\ude00"}'),
    ("json", "E'[1,\\n 2]'", "[1,  2]"),
    ("json", "'null'", "null"),
    ("jsonb", """'{"b": 1.0, "a": 123456789012345678901234567890}'""",
     '{"a": 123456789012345678901234567890, "b": 1.0}'),
    ("bytea", "''", '""'),
    ("bytea", "decode(repeat('00ff', 60), 'hex')", '"' + "AP8A/wD/" * 20 + '"'),
    ("date", "'2026-02-14'", '"2026-02-14"'),
    ("date", "'infinity'", '"infinity"'),
    ("date", "'0044-03-15 BC'", '"0044-03-15 BC"'),
    ("date", "'12026-01-01'", '"12026-01-01"'),
    ("time", "'09:05:00.123'", '"09:05:00.123"'),
    ("time", "'24:00:00'", '"24:00:00"'),
    ("timetz", "'09:05:00+02'", '"09:05:00+02"'),
    ("timestamp", "'2026-02-14 09:05:00'", '"2026-02-14 09:05:00"'),
    ("timestamp", "'2026-02-14 09:05:00.123456'", '"2026-02-14 09:05:00.123456"'),
    ("timestamp", "'infinity'", '"infinity"'),
    ("timestamp", "'294276-12-31 23:59:59'", '"294276-12-31 23:59:59"'),
    ("timestamptz", "'2026-02-14 09:05:00.5+02'", '"2026-02-14T07:05:00.5+00:00"'),
    ("timestamptz", "'-infinity'", '"-infinity"'),
    ("timestamptz", "'4713-01-01 00:00:00+00 BC'", '"4713-01-01T00:00:00+00:00 BC"'),
    ("interval", "'1 year 2 mons 3 days 04:05:06.789'", '"1 year 2 mons 3 days 04:05:06.789"'),
    ("interval", "'-1 day'", '"-1 days"'),
    ("uuid", "'00000000-0000-0000-0000-000000000000'", '"00000000-0000-0000-0000-000000000000"'),
    ("inet", "'10.0.0.1'", '"10.0.0.1"'),
    ("cidr", "'10.0.0.0/8'", '"10.0.0.0/8"'),
    ("macaddr", "'08:00:2b:01:02:03'", '"08:00:2b:01:02:03"'),
    ("macaddr8", "'08:00:2b:01:02:03:04:05'", '"08:00:2b:01:02:03:04:05"'),
    ("oid", "4294967295", '"4294967295"'),
    ("regclass", "'pg_class'", '"pg_class"'),
    ("money", "1.5", '"$1.50"'),
    ("bit(3)", "B'101'", '"101"'),
    ("varbit", "B''", '""'),
    ("xml", "'<a>\"</a>'", '"<a>\\"</a>"'),
    ("int4[]", "'{1,NULL,3}'", '"{1,NULL,3}"'),
    ("text[]", """'{"a,b","\\"q\\""}'""", '"{\\"a,b\\",\\"\\\\\\"q\\\\\\"\\"}"'),
    ("jsonb[]", "'{}'", '"{}"'),
    ("int4range", "'[1,5)'", '"[1,5)"'),
    ("tstzrange", "'empty'", '"empty"'),
    ("point", "'(1,2)'", '"(1,2)"'),
    ("polygon", "'((0,0),(1,1))'", '"((0,0),(1,1))"'),
    ("tsvector", "'a:1 b'", '"\'a\':1 \'b\'"'),
    ("pg_lsn", "'16/B374D848'", '"16/B374D848"'),
    ("txid_snapshot", "'10:20:10,14'", '"10:20:10,14"'),
    ("int2vector", "'1 2'", '"1 2"'),
    ("jsonpath", "'$.a'", '"$.\\"a\\""'),
    ("t_mood", "'so so'", '"so so"'),
    ("t_pair", "ROW(1, 'a')", '"(1,a)"'),
    ("t_even", "4", "4"),
    ("int4", "NULL", "null"),
]  # fmt: skip
POSTGRES_SETUP = (
    "CREATE TYPE t_mood AS ENUM ('so so')",
    "CREATE TYPE t_pair AS (a int, b text)",
    "CREATE DOMAIN t_even AS int CHECK (VALUE % 2 = 0)",
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = shared(Postgres)
    server.execute("CREATE DATABASE types")
    server_url = server.url
    server.url = server_url.replace("/postgres", "/types")
    server.execute(*POSTGRES_SETUP)
    yield server
    server.url = server_url


@pytest.mark.parametrize(("kind", "value", "expected"), POSTGRES)
def test_a_value_of_postgres_becomes(postgres: Postgres, tmp_path: Path, kind: str, value: str, expected: str) -> None:
    query = f"SELECT CAST({value} AS {kind}) AS x"
    assert [cell(unit) for unit in units(tmp_path, kind="postgres", connection=postgres.url, query=query)] == [expected]


def every_type(server: Postgres) -> list[str]:
    """Every type that a column can have, arrays included."""
    rows = server.rows(
        "SELECT format_type(t.oid, NULL) FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem "
        "WHERE t.typtype IN ('b', 'd', 'e', 'r', 'm') AND t.typnamespace = 'pg_catalog'::regnamespace "
        "AND e.typtype IS DISTINCT FROM 'c' AND e.typtype IS DISTINCT FROM 'p' ORDER BY t.oid"
    )
    return [name for (name,) in rows]


@pytest.mark.parametrize("version", sorted(postgres_tools()))
def test_a_table_of_all_types_of_postgres_is_read_row_by_row(version: str, tmp_path: Path) -> None:
    with postgres_server(version=version) as server:
        server.execute(*POSTGRES_SETUP)
        names = every_type(server)
        assert len(names) > 100
        # Without a length of their own these two hold one character.
        longer = {"bit": "bit(3)", "character": "character(3)"}
        columns = ", ".join(f"c{n} {longer.get(name, name)}" for n, name in enumerate(names))
        server.execute(f"CREATE TABLE everything (id serial, {columns})", "INSERT INTO everything DEFAULT VALUES")
        kinds = ", ".join(f"pg_typeof(CAST(NULL AS {kind}))::text" for kind, _, _ in POSTGRES)
        places = dict(zip((kind for kind, _, _ in POSTGRES), server.rows(f"SELECT {kinds}")[0], strict=True))
        values = [(names.index(places[kind]), kind, value) for kind, value, _ in POSTGRES if places[kind] in names]
        assert len(values) > 60
        server.execute(
            *(f"INSERT INTO everything (c{n}) VALUES (CAST({value} AS {kind}))" for n, kind, value in values)
        )
        rows = [
            json.loads(unit) for unit in units(tmp_path, kind="postgres", connection=server.url, table="everything")
        ]
        assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) == server.rows("SELECT count(*) FROM everything")[0][0]
        assert all(len(row) == len(names) + 1 for row in rows)


def test_bytes_that_are_no_text_come_through_as_they_are(tmp_path: Path) -> None:
    with postgres_server(encoding="SQL_ASCII") as server:
        server.execute("CREATE TABLE t (x text)", "INSERT INTO t VALUES (E'a\\377'), ('b')")
        found = units(tmp_path, kind="postgres", connection=server.url, table="t")
    assert found == [b'{"x":"a\xff"}', b'{"x":"b"}']


def test_text_of_another_encoding_is_utf_8_in_the_end(tmp_path: Path) -> None:
    with postgres_server(encoding="LATIN1") as server:
        server.execute("CREATE TABLE t (x text)", "INSERT INTO t VALUES ('é')")
        assert units(tmp_path, kind="postgres", connection=server.url, table="t") == ['{"x":"é"}'.encode()]


def test_of_two_columns_with_one_name_the_last_wins(tmp_path: Path) -> None:
    query = 'SELECT 1 AS a, 2 AS "b""c", 3 AS a'
    assert units(tmp_path, kind="postgres", connection=shared(Postgres).url, query=query) == [b'{"b\\"c":2,"a":3}']
    sqlite3.connect(tmp_path / "s.db").execute("CREATE TABLE t (x)").connection.close()
    assert units(tmp_path, kind="sqlite", connection="s.db", query="SELECT 1 AS a, 2 AS b, 3 AS a") == [
        b'{"a":3,"b":2}'
    ]
    query = "SELECT 1 AS a, 2 AS b, 3 AS a"
    assert units(tmp_path, kind="mysql", connection=shared(MariaDb).url, query=query) == [b'{"a":3,"b":2}']


MARIADB = [
    ("tinyint", "-128", "-128"),
    ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
    ("int(6) zerofill", "42", "42"),
    ("float", "1.1", "1.1"),
    ("float", "16777216", "16777216.0"),
    ("float", "1.17549e-38", "1.17549e-38"),
    ("double", "0.1", "0.1"),
    ("double", "1.7976931348623157e308", "1.7976931348623157e+308"),
    ("decimal(30,10)", "'12345678901234567890.0123456789'", '"12345678901234567890.0123456789"'),
    ("decimal(10,2)", "-0.5", '"-0.50"'),
    ("char(3)", "'a'", '"a"'),
    ("varchar(50)", "'é 傷 😀 \\\\ \" \\n \\0'", '"é 傷 😀 \\\\ \\" \\n \\u0000"'),
    ("varchar(20) character set latin1", "'é'", '"é"'),
    ("text", "''", '""'),
    ("binary(3)", "'a'", '"YQAA"'),
    ("varbinary(10)", "x'00ff'", '"AP8="'),
    ("blob", "'text'", '"dGV4dA=="'),
    ("bit(10)", "b'1000000001'", "513"),
    ("bool", "true", "1"),
    ("date", "'2026-02-14'", '"2026-02-14"'),
    ("date", "'0000-00-00'", '"0000-00-00"'),
    ("date", "'2026-00-00'", '"2026-00-00"'),
    ("datetime", "'2026-02-14 09:05:00'", '"2026-02-14T09:05:00Z"'),
    ("datetime(3)", "'2026-02-14 09:05:00.125'", '"2026-02-14T09:05:00.125Z"'),
    ("datetime", "'0000-00-00'", '"0000-00-00 00:00:00"'),
    ("datetime", "'9999-12-31 23:59:59'", '"9999-12-31T23:59:59Z"'),
    ("timestamp", "'2026-02-14 09:05:00'", '"2026-02-14T09:05:00Z"'),
    ("time", "'-838:59:59'", '"-838:59:59"'),
    ("time(6)", "'01:02:03.000004'", '"01:02:03.000004"'),
    ("year", "2026", "2026"),
    ("json", """'{"b": 1.0,  "a": 1}'""", '{"b": 1.0,  "a": 1}'),
    ("json", "'[1,\\n2]'", "[1,2]"),
    ("enum('a','b')", "'b'", '"b"'),
    ("set('a','b')", "'a,b'", '"a,b"'),
    ("uuid", "'00000000-0000-0000-0000-000000000000'", '"00000000-0000-0000-0000-000000000000"'),
    ("inet6", "'::1'", '"::1"'),
    ("point", "POINT(1, 2)", '"AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA=="'),
    ("int", "NULL", "null"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), MARIADB)
def test_a_value_of_mariadb_becomes(tmp_path: Path, kind: str, value: str, expected: str) -> None:
    server = shared(MariaDb)
    null = "NULL" if kind == "timestamp" else ""
    with closing(server.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("SET sql_mode = '', time_zone = '+00:00'")
        cursor.execute(f"CREATE OR REPLACE TABLE types (x {kind} {null})")
        cursor.execute(f"INSERT INTO types VALUES ({value})")
    found = units(tmp_path, kind="mysql", connection=server.url, table="types")
    assert [cell(unit) for unit in found] == [expected]


SQLITE: list[tuple[str, Any, str]] = [
    ("integer", 9223372036854775807, "9223372036854775807"),
    ("real", 0.1, "0.1"),
    ("real", 0.30000000000000004, "0.30000000000000004"),
    ("real", float("inf"), "null"),
    ("real", float("nan"), "null"),
    ("text", "é 傷 😀 \\ \" \n \0", '"é 傷 😀 \\\\ \\" \\n \\u0000"'),
    ("blob", b"\x00\xff", '"AP8="'),
    ("blob", b"", '""'),
    ("any", None, "null"),
    ("integer", "not a number", '"not a number"'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "expected"), SQLITE)
def test_a_value_of_sqlite_becomes(tmp_path: Path, kind: str, value: Any, expected: str) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection, connection:
        connection.execute(f"CREATE TABLE t (x {kind})")
        connection.execute("INSERT INTO t VALUES (?)", [value])
    assert [cell(unit) for unit in units(tmp_path, kind="sqlite", connection="s.db", table="t")] == [expected]


def test_a_text_of_sqlite_that_is_no_utf_8_becomes_one(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection, connection:
        connection.execute("CREATE TABLE t (x text)")
        connection.execute("INSERT INTO t VALUES (CAST(x'61ff' AS TEXT)), ('b')")
    found = units(tmp_path, kind="sqlite", connection="s.db", table="t")
    assert found == ['{"x":"a\ufffd"}'.encode(), b'{"x":"b"}']
