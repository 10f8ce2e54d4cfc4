"""What a database holds: tables, columns, keys, sizes, and by which columns each table could be read on."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.errors import PermanentError
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.drivers.db.connection import database_file
from rootsys_dagster.drivers.db.driver import open_session

CHANGED: Final = re.compile(r"updat|modif|chang|last|_upd|upd_|mtime", re.IGNORECASE)
CREATED: Final = re.compile(r"creat|insert|occur|_at$|time|date|^ts$|_ts$", re.IGNORECASE)
HIDDEN_SCHEMAS: Final = {"information_schema", "pg_catalog", "mysql", "performance_schema", "sys"}
DIALECTS: Final = {"sqlite": "sqlite", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
ESTIMATES: Final = {
    "postgres": "SELECT CASE WHEN c.reltuples < 0 THEN NULL ELSE c.reltuples::bigint END FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = :table",
    "mysql": "SELECT table_rows FROM information_schema.tables WHERE table_schema = :schema AND table_name = :table",
}


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """One column of a table as the database declares it."""

    name: str
    type: str
    nullable: bool
    kind: str
    """``time``, ``date``, ``integer``, ``char`` (padded with spaces) or ``other``."""


@dataclass(frozen=True, slots=True)
class FoundTable:
    """One table; ``rows`` is an estimate, None where the database has none."""

    schema: str | None
    name: str
    columns: tuple[FoundColumn, ...]
    key: tuple[str, ...]
    rows: int | None

    @property
    def full_name(self) -> str:
        """As ``driver.db.table`` names it."""
        return self.name if self.schema is None else f"{self.schema}.{self.name}"

    @property
    def watermark(self) -> str | None:
        """The column that best says what is new: when a row was changed, else when it was made, else its number."""
        times = [column for column in self.columns if column.kind == "time" and not column.nullable]
        times += [column for column in self.columns if column.kind == "time" and column.nullable]
        for pattern in (CHANGED, CREATED):
            named = [column.name for column in times if pattern.search(column.name)]
            if named:
                return named[0]
        numbers = {column.name for column in self.columns if column.kind == "integer"}
        return self.key[0] if len(self.key) == 1 and self.key[0] in numbers else None

    @property
    def tie_breaker(self) -> tuple[str, ...]:
        """What orders rows with the same watermark: the key."""
        return tuple(name for name in self.key if name != self.watermark)

    def to_json(self) -> dict[str, Any]:
        """One line of ``rootsys discover --json``."""
        return {
            "table": self.full_name,
            "rows": self.rows,
            "key": list(self.key),
            "watermark": self.watermark,
            "tie_breaker": list(self.tie_breaker),
            "columns": [{"name": one.name, "type": one.type, "nullable": one.nullable} for one in self.columns],
        }


def discover(config: DbConfig, context: DriverContext, only: str | None = None) -> Iterator[FoundTable]:
    """The tables of a database in order, or the one called *only*, with or without its schema.

    Raises:
        RootsysError: as a read would.
    """
    with _inspected(config, context) as (inspector, connection):
        for schema in _schemas(inspector, config.kind):
            for name in sorted([*inspector.get_table_names(schema), *inspector.get_view_names(schema)]):
                if only in (None, name, f"{schema}.{name}"):
                    yield _table(inspector, connection, config.kind, schema, name)


@contextmanager
def _inspected(config: DbConfig, context: DriverContext) -> Iterator[tuple[sa.Inspector, sa.Connection]]:
    # A session of ours first: what is wrong with the connection is said there, without a word of the database's own.
    open_session(config, context).close()
    engine = sa.create_engine(f"{DIALECTS[config.kind]}://", creator=lambda: _connect(config, context))
    try:
        with engine.connect() as connection:
            yield sa.inspect(connection), connection
    except SQLAlchemyError as error:
        why = f"the tables cannot be listed ({type(error).__name__}); may this user read the catalogue?"
        raise PermanentError(f"{config.kind}: {why}", code="DB.DISCOVER_FAILED") from None
    finally:
        engine.dispose()


def _connect(config: DbConfig, context: DriverContext) -> Any:
    match config.kind:
        case "sqlite":
            path = quote(str(database_file(config, context)))
            return sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        case "postgres":
            from rootsys_dagster.drivers.db.postgres import connected

            return connected(config, context)
        case "mysql":
            from rootsys_dagster.drivers.db.mysql import connected

            return connected(config, context)


def _schemas(inspector: sa.Inspector, kind: str) -> Sequence[str | None]:
    if kind == "sqlite":
        return [None]
    if kind == "mysql" and inspector.default_schema_name:
        return [inspector.default_schema_name]
    return [name for name in sorted(inspector.get_schema_names()) if name not in HIDDEN_SCHEMAS]


def _table(inspector: sa.Inspector, connection: sa.Connection, kind: str, schema: str | None, name: str) -> FoundTable:
    columns = tuple(
        FoundColumn(column["name"], _type_text(column["type"]), bool(column["nullable"]), kind_of(column, kind))
        for column in inspector.get_columns(name, schema)
    )
    key = tuple(inspector.get_pk_constraint(name, schema)["constrained_columns"])
    rows = None
    if kind in ESTIMATES:
        rows = connection.execute(sa.text(ESTIMATES[kind]), {"schema": schema, "table": name}).scalar()
    return FoundTable(schema, name, columns, key, None if rows is None else int(rows))


def kind_of(column: Any, database: str) -> str:
    """What a column is good for. SQLite has no times of its own: there its declaration or its name says so."""
    declared = column["type"]
    if isinstance(declared, sa.DateTime):
        return "time"
    if isinstance(declared, sa.Date):
        return "date"
    if isinstance(declared, sa.Integer):
        return "integer"
    if isinstance(declared, sa.CHAR):
        return "char"
    if database == "sqlite" and (CHANGED.search(column["name"]) or re.search(r"_at$|_ts$", column["name"])):
        return "time"
    return "other"


def _type_text(declared: Any) -> str:
    return "" if isinstance(declared, sa.types.NullType) else str(declared).lower()
