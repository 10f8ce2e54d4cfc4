"""SQLite: the cursor of the standard library, and orjson; ``json_object`` would print reals with 15 digits."""

import base64
import re
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import orjson

from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.errors import ConfigError, RootsysError
from rootsys_dagster.core.incremental import parse_instant
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.drivers.db.connection import database_file
from rootsys_dagster.drivers.db.errors import by_result_code
from rootsys_dagster.drivers.db.session import (
    BLOCK_BYTES,
    Clock,
    Column,
    CursorKind,
    Fragment,
    Select,
    Session,
    Value,
    sql,
)

ROWS_PER_FETCH: Final = 200
ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
ZONE: Final = re.compile(r"(Z|[+-]\d\d:\d\d)$")
REFUSED_FUNCTIONS: Final = frozenset({"load_extension", "writefile", "edit", "fts3_tokenizer"})
# A text that is no UTF-8 becomes one, as in the reference. The constructor called from C is the fastest that can do so.
LOSSY: Final = partial(str, encoding="utf-8", errors="replace")


class SqliteSession(Session):
    """One read transaction on a file that was opened for reading only."""

    def __init__(self, config: DbConfig, context: DriverContext) -> None:
        path = database_file(config, context)
        self.where = f"sqlite {config.connection}"
        now = datetime.now(UTC)
        self.clock = Clock(now.replace(tzinfo=None), now.replace(tzinfo=None))
        self._kinds: dict[str, CursorKind] = {}
        self._samples: dict[str, str] = {}
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro",
                uri=True,
                timeout=config.connect_timeout_ms / 1000,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise self._refused(error) from None
        try:
            self._connection.text_factory = LOSSY
            self._run("PRAGMA query_only = ON")
            self._run("BEGIN")
            # The snapshot begins with the first read, not with BEGIN.
            self._run("SELECT count(*) FROM sqlite_master")
            self._connection.set_authorizer(_only_reading)
            if config.statement_timeout_ms is not None:
                self._stop_after(config.statement_timeout_ms)
        except BaseException:
            self.close()
            raise

    def describe(self, source: Fragment, keys: Sequence[str] = ()) -> tuple[Column, ...]:
        text, values = rendered(source)
        cursor = self._run(f"SELECT * FROM ({text}\n) LIMIT 0", values)
        names = [column[0] for column in cursor.description]
        for name in keys:
            if name in names:
                self._look_at(text, values, name)
        return tuple(Column(n, name, "any", self._kinds.get(name, "text")) for n, name in enumerate(names))

    def units(self, select: Select) -> Iterator[list[bytes]]:
        statement, values = self._statement(select)
        cursor = self._run(statement, values)
        names = [column[0] for column in cursor.description]
        dumps = partial(orjson.dumps, default=_base64)
        rows: list[bytes] = []
        size = 0
        while True:
            try:
                fetched = cursor.fetchmany(ROWS_PER_FETCH)
            except sqlite3.Error as error:
                raise self._refused(error) from None
            if not fetched:
                break
            made = [dumps(dict(zip(names, row, strict=True))) for row in fetched]
            rows += made
            size += sum(map(len, made))
            if size >= BLOCK_BYTES:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    def row(self, query: Fragment) -> tuple[str | None, ...] | None:
        text, values = rendered(query)
        try:
            found = self._run(text, values).fetchone()
        except sqlite3.Error as error:
            raise self._refused(error) from None
        if found is None:
            return None
        return tuple(None if cell is None else str(cell) for cell in found)

    def shown(self, select: Select) -> str:
        return self._statement(select)[0].replace("\n", " ")

    def from_clause(self, select: Select) -> Fragment:
        where: Fragment = sql(" WHERE ", select.where) if select.where else ()
        return sql("FROM (", select.source, "\n)", where)

    def name(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def column(self, column: Column) -> str:
        return self.name(column.name)

    def value(self, text: str, column: Column) -> Fragment:
        # Columns have no type of their own here; what is compared with them has to have that of the values in them.
        match column.cursor:
            case "integer":
                return sql("CAST(", Value(text), " AS INTEGER)")
            case "real":
                return sql("CAST(", Value(text), " AS REAL)")
            case _:
                return (Value(text),)

    def text(self, column: Column) -> str:
        return self.name(column.name)

    def instant(self, moment: datetime, column: Column) -> str:
        return in_style(moment, self._samples[column.name])

    def close(self) -> None:
        self._connection.close()

    def _look_at(self, text: str, values: list[str | int | float | None], name: str) -> None:
        """A value of a column decides how the column is compared, because here each value has a type of its own."""
        quoted = self.name(name)
        query = f"SELECT typeof({quoted}), {quoted} FROM ({text}\n) WHERE {quoted} IS NOT NULL LIMIT 1"
        found = self._run(query, values).fetchone()
        match found:
            case ("integer" | "real" as kind, _):
                self._kinds[name] = kind
            case ("text", sample):
                self._kinds[name], self._samples[name] = _time_kind(sample), sample
            case _:
                pass

    def _statement(self, select: Select) -> tuple[str, list[str | int | float | None]]:
        source, values = rendered(select.source)
        if select.is_plain:
            return source, values
        where, more = rendered(select.where)
        order, most = rendered(select.order)
        names = ", ".join(self.name(column.name) for column in select.shown)
        statement = f"SELECT {names} FROM ({source}\n)"
        statement += f" WHERE {where}" if where else ""
        statement += f" ORDER BY {order}" if order else ""
        return statement, values + more + most

    def _run(self, statement: str, values: "list[str | int | float | None] | tuple[()]" = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise self._refused(error) from None
        except (sqlite3.Warning, UnicodeEncodeError, ValueError):
            raise ConfigError("driver.db.query must be one SELECT", code="DB.QUERY_INVALID") from None

    def _stop_after(self, timeout_ms: int) -> None:
        from time import monotonic

        deadline = monotonic() + timeout_ms / 1000
        self._connection.set_progress_handler(lambda: monotonic() > deadline, 10_000)

    def _refused(self, error: sqlite3.Error) -> RootsysError:
        if isinstance(error, sqlite3.ProgrammingError) and not hasattr(error, "sqlite_errorcode"):
            # Several statements, or a number of values that does not fit.
            return ConfigError("driver.db.query must be one SELECT", code="DB.QUERY_INVALID")
        code = getattr(error, "sqlite_errorcode", None)
        name = getattr(error, "sqlite_errorname", "no result code")
        return by_result_code(code).error(self.where, name)


def rendered(fragment: Fragment) -> tuple[str, list[str | int | float | None]]:
    """The text with ``?`` where its values stand, and the values."""
    values = [_typed(piece) for piece in fragment if isinstance(piece, Value)]
    return "".join(piece if isinstance(piece, str) else "?" for piece in fragment), values


def _typed(value: Value) -> str | int | float | None:
    if value.is_number and value.text is not None:
        return float(value.text) if set(value.text) & set(".eE") else int(value.text)
    return value.text


def in_style(moment: datetime, sample: str) -> str:
    """*moment* written as *sample* is, so that texts of one column can be compared."""
    if len(sample) <= len("2026-01-01"):
        return moment.date().isoformat()
    zone = ZONE.search(sample)
    if zone is not None and moment.tzinfo is not None:
        moment = moment.astimezone(datetime.fromisoformat(sample).tzinfo)
    fraction = ZONE.sub("", sample).partition(".")[2]
    spec = "microseconds" if len(fraction) > 3 else "milliseconds" if fraction else "seconds"
    return moment.replace(tzinfo=None).isoformat(sample[10], spec) + (zone[0] if zone else "")


def _time_kind(text: str) -> CursorKind:
    if len(text) < len("2026-01-01") or text[4] != "-" or parse_instant(text) is None:
        return "text"
    if len(text) == len("2026-01-01"):
        return "date"
    return "timestamptz" if ZONE.search(text) else "timestamp"


def _only_reading(action: int, _first: str | None, second: str | None, *_rest: Any) -> int:
    if action not in ALLOWED or (action == sqlite3.SQLITE_FUNCTION and second in REFUSED_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode()
