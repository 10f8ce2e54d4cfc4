"""Strings that break out of quotes elsewhere, as table, column, cursor and placeholder: refused, or bound."""

import itertools
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.core.db_config import NAME, DbConfig
from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import ConfigError, RootsysError
from rootsys_dagster.core.incremental import Incremental, Watermark
from rootsys_dagster.core.interface import parse_interface
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.registry import DRIVERS
from tests.databases import MariaDb, Postgres, Server, shared

BEGINS = [
    "",
    "'",
    '"',
    "`",
    "\\",
    "\\'",
    "''",
    "')",
    '")',
    "x'",
    "1",
    "/*",
    "$$",
    "E'",
    "\u02bc",
    "%27",
    "]",
    "{a}",
    "%s",
    "?",
]
ENDS = [
    "; DROP TABLE victims; --",
    " OR 1=1 --",
    " UNION SELECT secret FROM victims --",
    "); DELETE FROM victims; --",
    "; UPDATE victims SET secret = 'x'; #",
    " AND sleep(0) -- ",
    "||pg_sleep(0)||",
    "; COMMIT; DELETE FROM victims; --",
    "\n; DROP TABLE victims",
    " INTO OUTFILE '/tmp/x'",
    "'; ATTACH DATABASE 'x' AS y; --",
    "*/ DROP TABLE victims /*",
    "$1",
    ") AS q; DROP TABLE victims; --",
    "'||(SELECT secret FROM victims)||'",
]
STRINGS = [begin + end for begin, end in itertools.product(BEGINS, ENDS)]


class Target:
    """A database with a table that nobody may touch."""

    def __init__(self, kind: str, root: Path) -> None:
        self.kind, self.root = kind, root
        self.server: Server | None = None
        self.connection = "s.db"
        if kind != "sqlite":
            self.server = shared(Postgres if kind == "postgres" else MariaDb)
            self.connection = self.server.url
        self.execute("DROP TABLE IF EXISTS victims", "DROP TABLE IF EXISTS rows_of")
        self.execute("CREATE TABLE victims (secret varchar(20))", "INSERT INTO victims VALUES ('untouched')")
        self.execute("CREATE TABLE rows_of (id integer, at varchar(200))", "INSERT INTO rows_of VALUES (1, 'm')")

    def execute(self, *statements: str) -> None:
        if self.server is not None:
            self.server.execute(*statements)
            return
        with closing(sqlite3.connect(self.root / self.connection, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    def victims(self) -> list[tuple[Any, ...]]:
        if self.server is not None:
            return self.server.rows("SELECT secret FROM victims")
        with closing(sqlite3.connect(self.root / self.connection)) as connection:
            return connection.execute("SELECT secret FROM victims").fetchall()

    def read(self, resume: Any = None, incremental: Any = None, watermarks: Any = (), **members: Any) -> list[bytes]:
        db = DbConfig.model_validate({"kind": self.kind, "connection": self.connection, **members})
        config = DriverConfig(kind="db", db=db)
        context = DriverContext(self.root, (self.root,), 1 << 20, incremental=incremental, watermarks=watermarks)
        return [unit for batch in DRIVERS.get("db")(config, context).read(resume) for unit in batch.units]


def as_table(target: Target, text: str) -> list[bytes]:
    return target.read(table=text)


def as_column(target: Target, text: str) -> list[bytes]:
    return target.read(table="rows_of", columns=(text,))


def as_field(target: Target, text: str) -> list[bytes]:
    return target.read(table="rows_of", incremental=Incremental(field=text, tie_breaker=("id",)))


def as_cursor(target: Target, text: str) -> list[bytes]:
    resume = {"cursor": {"name": "at", "field": text, "tie": ["0"]}}
    return target.read(resume, Incremental(field="at", tie_breaker=("id",)), table="rows_of")


def as_start(target: Target, text: str) -> list[bytes]:
    return target.read(incremental=Incremental(field="at", tie_breaker=("id",), start=text), table="rows_of")


def as_placeholder(target: Target, text: str) -> list[bytes]:
    watermark = Watermark(name="v", resolver_sql="SELECT NULL", default=text)
    return target.read(watermarks=(watermark,), query="SELECT id, at FROM rows_of WHERE at = {v} OR at = '{v}'")


PLACES: list[Callable[[Target, str], list[bytes]]] = [
    as_table,
    as_column,
    as_field,
    as_cursor,
    as_start,
    as_placeholder,
]


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.long), len(PLACES)])
def test_no_string_gets_through(
    tmp_path: Path, kind: str, place: Callable[[Target, str], list[bytes]], every: int
) -> None:
    assert len(STRINGS) == 300
    target = Target(kind, tmp_path)
    # In the short form each place gets a share of its own, and all of them together get every string.
    texts = STRINGS[PLACES.index(place) % every :: every]
    bound = 0
    for text in texts:
        try:
            found = place(target, text)
        except RootsysError:
            continue
        bound += 1
        assert b"untouched" not in b"".join(found)
    assert target.victims() == [("untouched",)]
    assert bound == (len(texts) if place in (as_cursor, as_start, as_placeholder) else 0)


@pytest.mark.parametrize("member", ["table", "columns", "partition_key"])
def test_such_names_are_refused_when_the_file_is_read(member: str) -> None:
    for text in (text for text in STRINGS if not NAME.fullmatch(text)):
        db = {"kind": "postgres", "connection": "c", "table": "t", member: [text] if member == "columns" else text}
        document = {"name": "n", "version": "v1", "driver": {"kind": "db", "db": db}}
        with pytest.raises(ConfigError):
            parse_interface(json.dumps(document).encode(), "n.json")
