"""PostgreSQL: the server makes the JSON, and COPY brings it as it stands.

Types: spec/1-reference.md 1.8. What ``row_to_json`` writes otherwise has an expression of its own in the select list.
COPY takes no parameters, so values are bound to settings of the transaction and read from there by the statement.
"""

import math
import re
import select as system_select
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import pq

from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.errors import ConfigError, RootsysError, TransientError
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.drivers.db.connection import server_address
from rootsys_dagster.drivers.db.errors import SIGN_IN, TLS, by_sqlstate
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
from rootsys_dagster.postgres import SIGN_IN_WORDS, TLS_WORDS, condition_name

KEEP_ALIVE: Final = {"keepalives": "1", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
BOOL, BYTEA, CHAR, JSON, FLOAT4, FLOAT8, NUMERIC, TIMESTAMP = 16, 17, 18, 114, 700, 701, 1700, 1114
SLICE_MS: Final = 100
FIRST_OWN_OID: Final = 16384
"""Types from here on belong to extensions and users, and may bring a cast to json of their own."""
CURSOR_KINDS: Final[dict[int, CursorKind]] = {
    20: "integer",
    21: "integer",
    23: "integer",
    NUMERIC: "numeric",
    FLOAT4: "real",
    FLOAT8: "real",
    19: "text",
    25: "text",
    1042: "text",
    1043: "text",
    2950: "uuid",
    1082: "date",
    TIMESTAMP: "timestamp",
    1184: "timestamptz",
}
SETTINGS: Final = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
}


class PostgresSession(Session):
    """One repeatable-read, read-only transaction."""

    def __init__(
        self,
        config: DbConfig,
        context: DriverContext,
        snapshot: str | None = None,
        given_up: threading.Event | None = None,
    ) -> None:
        """Begin a transaction.

        Args:
            snapshot: that of another session, see :meth:`share`; its transaction must still be open.
            given_up: set when nobody waits for this session any more.
        """
        address = server_address(config, context)
        self.where = f"postgres {address.get('host', 'localhost')}"
        self._idle_ms = config.idle_timeout_ms
        self._given_up = given_up
        self._connection = connected(config, context)
        self._pg: pq.abc.PGconn = self._connection.pgconn
        self._types: dict[int, tuple[str, str]] = {}
        self._parameters: tuple[str, ...] = ()
        self._poll = system_select.poll()
        self._poll.register(self._pg.socket, system_select.POLLIN)
        try:
            self._begin(config, snapshot)
        except BaseException:
            self.close()
            raise

    def _begin(self, config: DbConfig, snapshot: str | None) -> None:
        self._run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if snapshot is not None:
            assert re.fullmatch(r"[0-9A-F-]+", snapshot)
            self._run(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        # An SQL_ASCII database promises nothing of its bytes: they come as they are, and are judged one by one.
        encoding = "SQL_ASCII" if self._pg.parameter_status(b"server_encoding") == b"SQL_ASCII" else "UTF8"
        settings = SETTINGS | {"client_encoding": encoding, "lock_timeout": str(self._idle_ms)}
        if config.statement_timeout_ms is not None:
            settings["statement_timeout"] = str(config.statement_timeout_ms)
        self._set(settings)
        times = self._run("SELECT now() AT TIME ZONE 'UTC', now() AT TIME ZONE current_setting('TimeZone')")
        utc, local = (datetime.fromisoformat((times.get_value(0, n) or b"").decode()) for n in range(2))
        self.clock = Clock(utc, local)
        self._set({"TimeZone": "UTC"})

    def describe(self, source: Fragment, keys: Sequence[str] = ()) -> tuple[Column, ...]:
        text, values = rendered(source)
        self._pg.send_prepare(b"", text.encode())
        self._result(pq.ExecStatus.COMMAND_OK, of_query=True)
        self._pg.send_describe_prepared(b"")
        described = self._result(pq.ExecStatus.COMMAND_OK)
        if described.nfields == 0:
            raise ConfigError("driver.db.query brings no columns; it must be one SELECT", code="DB.QUERY_INVALID")
        oids = [described.ftype(n) for n in range(described.nfields)]
        parameters = [described.param_type(n) for n in range(len(values))]
        self._learn({*oids, *parameters})
        self._parameters = tuple(self._types[oid][0] for oid in parameters)
        return tuple(
            Column(
                n, (described.fname(n) or b"").decode(errors="replace"), self._types[oid][0], CURSOR_KINDS.get(oid), oid
            )
            for n, oid in enumerate(oids)
        )

    def units(self, select: Select) -> Iterator[list[bytes]]:
        members = ", ".join(f"{self._json(column)} AS {self.name(column.name)}" for column in select.shown)
        source, values = self._settled(select.source, self._parameters)
        where, more = self._settled(select.where, (), first=len(values))
        order, most = self._settled(select.order, (), first=len(values) + len(more))
        self._set({f"rootsys.v{n}": text for n, text in enumerate(values + more + most) if text is not None})
        rows = f"SELECT {members} FROM ({source}\n) AS q({aliases(select)})"
        rows += clause("WHERE", where) + clause("ORDER BY", order)
        options = "FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02'"
        statement = f"COPY (SELECT row_to_json(t) FROM ({rows}) AS t) TO STDOUT ({options})"
        # JSON text holds no control character outside of its strings and none unescaped inside, so nothing is quoted.
        self._pg.send_query_params(statement.encode(), [])
        self._result(pq.ExecStatus.COPY_OUT, whole=False)
        pieces: list[Any] = []
        size = 0
        get = self._pg.get_copy_data
        while True:
            count, data = self._checked(get, 1)
            if count > 0:
                pieces.append(data)
                size += count
                if size >= BLOCK_BYTES:
                    yield b"".join(pieces).split(b"\n")[:-1]
                    pieces, size = [], 0
            elif count == 0:
                self._wait()
            else:
                break
        self._result(pq.ExecStatus.COMMAND_OK)
        if pieces:
            yield b"".join(pieces).split(b"\n")[:-1]

    def share(self) -> str:
        """The name of this snapshot, by which other sessions can read it while this one is open."""
        found = self.row(("SELECT pg_export_snapshot()",))
        assert found is not None
        return found[0] or ""

    def part(self, column: Column, number: int, of: int) -> Fragment:
        """The condition for the rows of one of so many parts, by the hash of a column; NULL falls to the first."""
        return sql(f"coalesce(hashtextextended({self.column(column)}::text, 0) % {of} + {of}, {of}) % {of} = {number}")

    def row(self, query: Fragment) -> tuple[str | None, ...] | None:
        text, values = rendered(query)
        found = self._run(text, values, of_query=True)
        if found.ntuples == 0:
            return None
        cells = [found.get_value(0, n) for n in range(found.nfields)]
        return tuple(None if cell is None else cell.decode(errors="replace") for cell in cells)

    def shown(self, select: Select) -> str:
        source, values = rendered(select.source)
        if select.is_plain:
            return source
        where, more = rendered(select.where, len(values))
        order, _ = rendered(select.order, len(values) + len(more))
        names = ", ".join(self.name(column.name) for column in select.shown)
        rows = f"SELECT {names} FROM ({source}) AS q({aliases(select)})"
        return f"{rows}{clause('WHERE', where)}{clause('ORDER BY', order)}"

    def from_clause(self, select: Select) -> Fragment:
        where: Fragment = sql(" WHERE ", select.where) if select.where else ()
        return sql("FROM (", select.source, f"\n) AS q({aliases(select)})", where)

    def name(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def column(self, column: Column) -> str:
        return f"q.c{column.number}"

    def value(self, text: str, column: Column) -> Fragment:
        return sql("CAST(", Value(text), f" AS {column.type})")

    def text(self, column: Column) -> str:
        return f"to_json({self.column(column)}) #>> '{{}}'"

    def instant(self, moment: datetime, column: Column) -> str:
        if column.cursor == "date":
            return moment.date().isoformat()
        return moment.isoformat(" " if column.cursor == "timestamp" else "T")

    def close(self) -> None:
        self._connection.close()

    def _json(self, column: Column) -> str:
        """The column as ``row_to_json`` shall write it."""
        name, oid = self.column(column), column.native or 0
        category = self._types[oid][1]
        match oid:
            case _ if oid == JSON:
                # Its text is kept as it was written, and may hold line ends between its tokens.
                return f"translate({name}::text, E'\\n\\r', '  ')::json"
            case _ if oid in (FLOAT4, FLOAT8):
                return f"CASE WHEN {name} - {name} = 0 THEN {name} END"
            case _ if oid == BYTEA:
                return f"translate(encode({name}, 'base64'), E'\\n', '')"
            case _ if oid in (NUMERIC, TIMESTAMP) or category in "ACP" or oid >= FIRST_OWN_OID:
                return f"{name}::text"
            case _:
                return name

    def _learn(self, oids: set[int]) -> None:
        listed = "{" + ",".join(map(str, sorted(oids))) + "}"
        query = "SELECT oid, format_type(oid, NULL), typcategory FROM pg_type WHERE oid = ANY($1::oid[])"
        found = self._run(query, [listed])
        for n in range(found.ntuples):
            oid, name, category = ((found.get_value(n, field) or b"").decode() for field in range(3))
            self._types[int(oid)] = (name, category)

    def _settled(self, fragment: Fragment, types: tuple[str, ...], first: int = 0) -> tuple[str, list[str | None]]:
        """*fragment* with its values read from settings of the transaction; a value of known type is cast to it."""
        parts: list[str] = []
        values: list[str | None] = []
        for piece in fragment:
            if isinstance(piece, str):
                parts.append(piece)
                continue
            setting = "NULL" if piece.text is None else f"current_setting('rootsys.v{first + len(values)}')"
            parts.append(f"CAST({setting} AS {types[len(values)]})" if types else setting)
            values.append(piece.text)
        return "".join(parts), values

    def _set(self, settings: dict[str, str]) -> None:
        """Settings for the length of the transaction."""
        if settings:
            calls = ", ".join(f"set_config(${2 * n + 1}, ${2 * n + 2}, true)" for n in range(len(settings)))
            self._run(f"SELECT {calls}", [text for pair in settings.items() for text in pair])

    def _run(self, statement: str, values: Sequence[str | None] = (), *, of_query: bool = False) -> pq.abc.PGresult:
        if any("\0" in value for value in values if value is not None):
            raise ConfigError(
                "a value for the query holds a NUL, which PostgreSQL cannot store", code="DB.VALUE_REFUSED"
            )
        self._pg.send_query_params(statement.encode(), [None if value is None else value.encode() for value in values])
        return self._result(pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, of_query=of_query)

    def _result(self, *wanted: pq.ExecStatus, whole: bool = True, of_query: bool = False) -> pq.abc.PGresult:
        """The result of what was sent, awaited; with *whole* all of it has come."""
        first = self._next_result()
        if first is None:
            raise by_sqlstate(None).error(self.where, "no answer")
        if first.status not in wanted:
            raise self._refused(first, of_query)
        while whole and self._next_result() is not None:
            pass
        return first

    def _next_result(self) -> pq.abc.PGresult | None:
        while self._checked(self._pg.is_busy):
            self._wait()
        return self._checked(self._pg.get_result)

    def _wait(self) -> None:
        left_ms = self._idle_ms
        while not self._poll.poll(min(left_ms, SLICE_MS) if self._given_up else left_ms):
            left_ms -= SLICE_MS if self._given_up else left_ms
            if left_ms > 0 and not (self._given_up and self._given_up.is_set()):
                continue
            message = f"{self.where}: the server sent nothing for {self._idle_ms} ms; see to it, or raise "
            raise TransientError(f"{message}driver.db.idle_timeout_ms", code="DB.IDLE_TIMEOUT")
        self._checked(self._pg.consume_input)

    def _checked(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except psycopg.Error:
            raise by_sqlstate(None).error(self.where, "no answer") from None

    def _refused(self, result: pq.abc.PGresult, of_query: bool) -> RootsysError:
        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        if state is None:
            return by_sqlstate(None).error(self.where, "no answer")
        sqlstate = state.decode()
        detail = f"SQLSTATE {sqlstate}"
        with suppress(KeyError):
            detail += f", {condition_name(psycopg.errors.lookup(sqlstate).__name__)}"
        position = result.error_field(pq.DiagnosticField.STATEMENT_POSITION)
        if of_query and position is not None:
            detail += f", at character {position.decode()} of the query"
        return by_sqlstate(sqlstate).error(self.where, detail)


def connected(config: DbConfig, context: DriverContext) -> psycopg.Connection[Any]:
    """A connection that is signed in.

    Raises:
        RootsysError: it cannot be had, or not as safe as it has to be.
    """
    address = server_address(config, context)
    where = f"postgres {address.get('host', 'localhost')}"
    try:
        return psycopg.connect(**conninfo(config, context, address), autocommit=True)
    except psycopg.ProgrammingError:
        message = f"{where}: driver.db.connection names what libpq does not know"
        raise ConfigError(message, code="DB.CONNECTION_INVALID") from None
    except psycopg.Error as error:
        words = str(error)
    if any(word in words for word in (*TLS_WORDS, "channel binding")) and "pg_hba.conf" not in words:
        raise TLS.error(where, "no encrypted connection")
    if any(word in words for word in SIGN_IN_WORDS):
        raise SIGN_IN.error(where, "the server let us not in")
    raise by_sqlstate(None).error(where, "no connection")


def conninfo(config: DbConfig, context: DriverContext, address: dict[str, str]) -> dict[str, Any]:
    """What libpq is told: the address, how safe the connection has to be, and how long it may take."""
    told = {"dbname" if name == "database" else name: value for name, value in address.items()}
    if "postgres_tls_mode" in config.model_fields_set or "sslmode" not in told:
        told["sslmode"] = config.postgres_tls_mode
    if told["sslmode"] == "verify-full" and "sslrootcert" not in told:
        told["sslrootcert"] = str(context.root / config.ca_file) if config.ca_file else "system"
    timeout_s = math.ceil(config.connect_timeout_ms / 1000)
    return (
        KEEP_ALIVE
        | {"application_name": "rootsys", "tcp_user_timeout": str(config.idle_timeout_ms)}
        | told
        | {"connect_timeout": timeout_s}
    )


def rendered(fragment: Fragment, first: int = 0) -> tuple[str, list[str | None]]:
    """The text with ``$1`` … where its values stand, and the values."""
    parts: list[str] = []
    values: list[str | None] = []
    for piece in fragment:
        if isinstance(piece, str):
            parts.append(piece)
        else:
            values.append(piece.text)
            parts.append(f"${first + len(values)}")
    return "".join(parts), values


def aliases(select: Select) -> str:
    """Names for all columns of a query: its own may stand there twice."""
    return ", ".join(f"c{column.number}" for column in select.columns)


def clause(word: str, condition: str) -> str:
    """A clause, where there is something to say."""
    return f" {word} {condition}" if condition else ""
