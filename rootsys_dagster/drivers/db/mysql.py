"""MySQL and MariaDB: rows come one by one as they are sent, and become JSON here.

Types: spec/1-reference.md 1.8, the intended ones: numbers are numbers, decimals their exact text, bytes base64.
``JSON_OBJECT`` is not used: MySQL sorts its members, and neither server quotes every value as JSON wants it.
"""

import base64
import math
import re
import ssl
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final

import orjson
import pymysql
from pymysql.constants import FIELD_TYPE, FLAG
from pymysql.cursors import SSCursor

from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.errors import ConfigError, RootsysError, TransientError
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.drivers.db.connection import server_address
from rootsys_dagster.drivers.db.errors import LOST, TLS, WRITES, Verdict, by_errno
from rootsys_dagster.drivers.db.placeholders import without_texts
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
BINARY_CHARSET: Final = 63
INTEGERS: Final = {
    FIELD_TYPE.TINY: "tinyint",
    FIELD_TYPE.SHORT: "smallint",
    FIELD_TYPE.INT24: "mediumint",
    FIELD_TYPE.LONG: "int",
    FIELD_TYPE.LONGLONG: "bigint",
    FIELD_TYPE.YEAR: "year",
}
DECIMALS: Final = {FIELD_TYPE.DECIMAL: "decimal", FIELD_TYPE.NEWDECIMAL: "decimal"}
TIMES: Final = {FIELD_TYPE.DATETIME: "datetime", FIELD_TYPE.TIMESTAMP: "timestamp"}
BYTES: Final = {
    FIELD_TYPE.TINY_BLOB: "tinyblob",
    FIELD_TYPE.MEDIUM_BLOB: "mediumblob",
    FIELD_TYPE.LONG_BLOB: "longblob",
    FIELD_TYPE.BLOB: "blob",
    FIELD_TYPE.VAR_STRING: "varbinary",
    FIELD_TYPE.STRING: "binary",
    FIELD_TYPE.VARCHAR: "varbinary",
}
TEXTS: Final = {
    FIELD_TYPE.TINY_BLOB: "tinytext",
    FIELD_TYPE.MEDIUM_BLOB: "mediumtext",
    FIELD_TYPE.LONG_BLOB: "longtext",
    FIELD_TYPE.BLOB: "text",
    FIELD_TYPE.VAR_STRING: "varchar",
    FIELD_TYPE.STRING: "char",
    FIELD_TYPE.VARCHAR: "varchar",
}
OTHERS: Final = {
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.DOUBLE: "double",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.TIME: "time",
    FIELD_TYPE.BIT: "bit",
    FIELD_TYPE.JSON: "json",
    FIELD_TYPE.GEOMETRY: "geometry",
    FIELD_TYPE.NULL: "null",
}
CURSOR_KINDS: Final[dict[str, CursorKind]] = {
    **dict.fromkeys(INTEGERS.values(), "integer"),
    "decimal": "numeric",
    "double": "real",
    "date": "date",
    "datetime": "timestamp",
    "timestamp": "timestamptz",
    **dict.fromkeys(TEXTS.values(), "text"),
    "uuid": "uuid",
}
MIN_SIGNIFICANT_ZERO: Final = "0000-00-00"
INTO: Final = re.compile(r"\bINTO\b", re.IGNORECASE)
"""Of files: a read-only transaction does not keep a SELECT from writing them."""
Convert = Callable[[Any], Any]


class MysqlSession(Session):
    """One consistent snapshot in a read-only transaction."""

    def __init__(self, config: DbConfig, context: DriverContext) -> None:
        self.where = f"mysql {server_address(config, context).get('host', 'localhost')}"
        self._idle_ms = config.idle_timeout_ms
        self._connection: Any = connected(config, context, conv={}, use_unicode=False, cursorclass=SSCursor)
        try:
            self._begin(config)
        except BaseException:
            self.close()
            raise

    def _begin(self, config: DbConfig) -> None:
        times = self.row(("SELECT UTC_TIMESTAMP(6), NOW(6), VERSION()",))
        assert times is not None
        utc, local = (datetime.fromisoformat(str(text)) for text in times[:2])
        self.clock = Clock(utc, local)
        self._is_mariadb = "mariadb" in str(times[2]).lower()
        self._execute("SET time_zone = '+00:00'")
        self._execute(f"SET innodb_lock_wait_timeout = {max(self._idle_ms // 1000, 1)}")
        if config.statement_timeout_ms is not None:
            limit = (
                f"max_statement_time = {config.statement_timeout_ms / 1000}"
                if self._is_mariadb
                else f"max_execution_time = {config.statement_timeout_ms}"
            )
            self._execute(f"SET {limit}")
        self._execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self._execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def describe(self, source: Fragment, keys: Sequence[str] = ()) -> tuple[Column, ...]:
        text = self._rendered(source)
        if INTO.search(without_texts(text, "mysql")):
            raise WRITES.error("driver.db.query", "INTO writes")
        try:
            # Not wrapped, a column still says from which table it is.
            cursor = self._cursor(f"{text}\nLIMIT 0")
        except ConfigError:
            cursor = self._cursor(f"SELECT * FROM ({text}\n) AS q LIMIT 0")
        if cursor.description is None:
            raise ConfigError("driver.db.query brings no columns; it must be one SELECT", code="DB.QUERY_INVALID")
        fields = cursor._result.fields
        self._end(cursor)
        json_columns = self._json_columns(fields)
        columns: list[Column] = []
        for n, field in enumerate(fields):
            kind = type_of(field)
            if kind in TEXTS.values() and _origin(field) in json_columns:
                kind = "json"
            columns.append(Column(n, _text(field.name), kind, CURSOR_KINDS.get(kind), field.type_code))
        return tuple(columns)

    def units(self, select: Select) -> Iterator[list[bytes]]:
        statement, columns, exact = self._statement(select)
        cursor = self._cursor(statement)
        converts = [converter(column.type, exact=exact) for column in columns]
        names = [column.name for column in columns]
        dumps = partial(orjson.dumps, default=_base64)
        rows: list[bytes] = []
        size = 0
        while fetched := self._fetch(cursor):
            made = [
                dumps(
                    {
                        name: None if cell is None else convert(cell)
                        for name, convert, cell in zip(names, converts, row, strict=True)
                    }
                )
                for row in fetched
            ]
            rows += made
            size += sum(map(len, made))
            if size >= BLOCK_BYTES:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    def row(self, query: Fragment) -> tuple[str | None, ...] | None:
        cursor = self._cursor(self._rendered(query))
        found = self._fetch(cursor)
        self._end(cursor)
        return tuple(None if cell is None else _text(cell) for cell in found[0]) if found else None

    def shown(self, select: Select) -> str:
        return self._statement(select, lambda _: "?")[0].replace("\n", " ")

    def from_clause(self, select: Select) -> Fragment:
        where: Fragment = sql(" WHERE ", select.where) if select.where else ()
        return sql("FROM (", select.source, "\n) AS q", where)

    def name(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def column(self, column: Column) -> str:
        return f"q.{self.name(column.name)}"

    def value(self, text: str, column: Column) -> Fragment:
        match column.cursor:
            case "timestamp" | "timestamptz":
                return sql("CAST(", Value(text.replace("T", " ").removesuffix("Z")), " AS DATETIME(6))")
            case "date":
                return sql("CAST(", Value(text), " AS DATE)")
            case "integer":
                return sql("CAST(", Value(text), f" AS {'SIGNED' if text.startswith('-') else 'UNSIGNED'})")
            case "numeric":
                return sql("CAST(", Value(text), " AS DECIMAL(65, 30))")
            case "real":
                return sql("(0e0 + ", Value(text), ")")
            case _:
                return (Value(text),)

    def text(self, column: Column) -> str:
        return self.column(column)

    def instant(self, moment: datetime, column: Column) -> str:
        return moment.date().isoformat() if column.cursor == "date" else moment.isoformat(" ", "microseconds")

    def close(self) -> None:
        # Not close(): that would read the rest of the rows first, and so would a result that is left behind.
        if self._connection._result is not None:
            self._connection._result.unbuffered_active = False
        with suppress(OSError):
            self._connection._force_close()

    def _statement(
        self, select: Select, value: Callable[[Value], str] | None = None
    ) -> tuple[str, tuple[Column, ...], bool]:
        """The statement, its columns, and whether floats come with all their digits."""
        source = self._rendered(select.source, value)
        names = [column.name for column in select.columns]
        has_floats = any(column.type == "float" for column in select.shown)
        if (select.is_plain and not has_floats) or len(set(map(str.lower, names))) < len(names):
            if not select.is_plain and (select.where or select.order or select.shown != _last_ones(select.columns)):
                message = "driver.db.query has several columns of one name; give each a name of its own"
                raise ConfigError(message, code="DB.COLUMN_REPEATED")
            return source, select.columns, False
        members = ", ".join(
            # In text a float has six digits; as a double it has all of them.
            f"0e0 + {self.column(column)} AS {self.name(column.name)}"
            if column.type == "float"
            else self.column(column)
            for column in select.shown
        )
        where, order = self._rendered(select.where, value), self._rendered(select.order, value)
        statement = f"SELECT {members} FROM ({source}\n) AS q"
        statement += f" WHERE {where}" if where else ""
        statement += f" ORDER BY {order}" if order else ""
        return statement, select.shown, True

    def _rendered(self, fragment: Fragment, value: Callable[[Value], str] | None = None) -> str:
        """The text with its values as literals that the client library has quoted."""
        mark = value or self._literal
        return "".join(piece if isinstance(piece, str) else mark(piece) for piece in fragment)

    def _literal(self, value: Value) -> str:
        return "NULL" if value.text is None else self._connection.escape(value.text)

    def _json_columns(self, fields: Sequence[Any]) -> set[tuple[str, str, str]]:
        """Where the columns of MariaDB stand that were declared as JSON: to the protocol they are texts."""
        origins = {_origin(field) for field in fields if type_of(field) in TEXTS.values()} - {("", "", "")}
        if not origins or not self._is_mariadb:
            return set()
        schemas = ", ".join(self._literal(Value(schema)) for schema in sorted({origin[0] for origin in origins}))
        query = (
            "SELECT constraint_schema, table_name, check_clause FROM information_schema.check_constraints "
            f"WHERE constraint_schema IN ({schemas}) AND check_clause LIKE 'json_valid(%'"
        )
        cursor = self._cursor(query)
        found = set[tuple[str, str, str]]()
        while rows := self._fetch(cursor):
            for schema, table, clause in rows:
                column = _text(clause).removeprefix("json_valid(").removesuffix(")").strip('`"')
                found.add((_text(schema), _text(table), column))
        self._end(cursor)
        return found

    def _execute(self, statement: str) -> None:
        self._end(self._cursor(statement))

    def _cursor(self, statement: str) -> Any:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement)
        except (pymysql.Error, OSError) as error:
            raise self._refused(error) from None
        return cursor

    def _fetch(self, cursor: Any) -> list[tuple[Any, ...]]:
        try:
            return cursor.fetchmany(ROWS_PER_FETCH)
        except (pymysql.Error, OSError) as error:
            raise self._refused(error) from None

    def _end(self, cursor: Any) -> None:
        try:
            cursor.close()
        except (pymysql.Error, OSError) as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> RootsysError:
        return refused(error, self.where, self._idle_ms)


def connected(config: DbConfig, context: DriverContext, **more: Any) -> Any:
    """A connection that is signed in.

    Args:
        more: what the client library is told besides.
    Raises:
        RootsysError: it cannot be had, or not as safe as it has to be.
    """
    address = server_address(config, context)
    where = f"mysql {address.get('host', 'localhost')}"
    try:
        return pymysql.connect(
            host=address.get("host", "localhost"),
            port=int(address.get("port", 3306)),
            user=address.get("user"),
            password=address.get("password", ""),
            database=address.get("database"),
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=math.ceil(config.connect_timeout_ms / 1000),
            read_timeout=config.idle_timeout_ms / 1000,
            write_timeout=config.idle_timeout_ms / 1000,
            local_infile=False,
            ssl=_tls(config, context, where),
            **more,
        )
    except (pymysql.Error, ValueError, OSError) as error:
        raise refused(error, where, config.idle_timeout_ms) from None


def refused(error: Exception, where: str, idle_ms: int) -> RootsysError:
    """What an error of the client library means, without its text."""
    cause = error.__cause__ or error.__context__ or error
    if isinstance(cause, TimeoutError):
        message = f"{where}: the server sent nothing for {idle_ms} ms; see to it, or raise "
        return TransientError(f"{message}driver.db.idle_timeout_ms", code="DB.IDLE_TIMEOUT")
    if isinstance(cause, ssl.SSLError):
        return TLS.error(where, "no encrypted connection")
    errno = error.args[0] if error.args and isinstance(error.args[0], int) else None
    verdict: Verdict = by_errno(errno) if errno and isinstance(error, pymysql.Error) else LOST
    return verdict.error(where, f"error {errno}" if errno else "no connection")


def type_of(field: Any) -> str:
    """The type of a column as the server calls it, as far as the protocol tells."""
    code = field.type_code
    for names in (INTEGERS, DECIMALS, TIMES, OTHERS):
        if code in names:
            return names[code]
    if code == FIELD_TYPE.ENUM or field.flags & FLAG.ENUM:
        return "enum"
    if code == FIELD_TYPE.SET or field.flags & FLAG.SET:
        return "set"
    names = BYTES if field.charsetnr == BINARY_CHARSET else TEXTS
    return names.get(code, "binary" if field.charsetnr == BINARY_CHARSET else "text")


def converter(kind: str, *, exact: bool) -> Convert:
    """From the bytes that the server sends to what orjson writes."""
    if kind in INTEGERS.values():
        return int
    if kind == "float":
        return _shortest_float if exact else _finite
    if kind == "double":
        return _finite
    if kind in TIMES.values():
        return _instant
    if kind == "bit":
        return partial(int.from_bytes, byteorder="big")
    if kind == "json":
        return _inline
    if kind in BYTES.values() or kind in ("geometry",):
        return _base64
    return _text


def _text(cell: bytes | str) -> str:
    return cell if isinstance(cell, str) else cell.decode(errors="replace")


def _finite(cell: bytes) -> float | None:
    number = float(cell)
    return number if math.isfinite(number) else None


def _shortest_float(cell: bytes) -> float | None:
    """The fewest digits that give the same 32 bits."""
    number = float(cell)
    if not math.isfinite(number):
        return None
    packed = struct.pack("f", number)
    return next(short for digits in range(6, 10) if struct.pack("f", short := float(f"{number:.{digits}g}")) == packed)


def _instant(cell: bytes) -> str:
    """``2026-01-02T03:04:05Z``; a zero date is no instant and stays as it is."""
    text = cell.decode()
    return text if text.startswith(MIN_SIGNIFICANT_ZERO) else text.replace(" ", "T") + "Z"


def _inline(cell: bytes) -> Any:
    return orjson.Fragment(cell.translate(None, b"\n\r"))


def _base64(cell: bytes) -> str:
    return base64.b64encode(cell).decode()


def _origin(field: Any) -> tuple[str, str, str]:
    return _text(field.db), _text(field.org_table), _text(field.org_name)


def _last_ones(columns: Sequence[Column]) -> tuple[Column, ...]:
    by_name = {column.name: column for column in columns}
    return tuple(column for column in columns if by_name[column.name] is column)


def _tls(config: DbConfig, context: DriverContext, where: str) -> ssl.SSLContext | None:
    if config.ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(context.root / config.ca_file))
    except (OSError, ssl.SSLError):
        raise TLS.error(where, f"ca_file {config.ca_file} cannot be read") from None
