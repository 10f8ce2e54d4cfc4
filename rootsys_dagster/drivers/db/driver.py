"""Databases: one JSON object per row of a query or table, read from one snapshot in a read-only transaction.

Position: ``{"pass": n}`` where everything is read each time; ``{"cursor": {"name", "field", "tie"}, "set_aside": […]}``
behind the last row; ``{"windows": [[start, end], …], "window": [start, end]}`` by windows.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import ConfigError, RootsysError, TransientError
from rootsys_dagster.core.incremental import Incremental
from rootsys_dagster.core.policy import Retry
from rootsys_dagster.core.ports import Batch, Driver, DriverContext
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.drivers.db.connection import SCHEMES
from rootsys_dagster.drivers.db.incremental import Ordered, cursor_of, is_reread, may_reread, ordered
from rootsys_dagster.drivers.db.locators import Rows
from rootsys_dagster.drivers.db.placeholders import bind
from rootsys_dagster.drivers.db.reading import Reading, count_of
from rootsys_dagster.drivers.db.session import Fragment, Select, Session, Value, find_column, one_per_name, sql
from rootsys_dagster.drivers.windows import done_windows, is_done
from rootsys_dagster.log.commit import StreamId
from rootsys_dagster.log.shared_state import circuit_state
from rootsys_dagster.resilience import Breaker, backoff_ms, retrying
from rootsys_dagster.secrets import redact

COUNTED: Final = 10_001
"""A lag is counted so far and no further."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that has been asked what the query is."""

    session: Session
    source: Fragment
    select: Select
    ordered: Ordered | None
    watermarks: dict[str, str | None]


@DRIVERS.register("db")
class DbDriver(Driver[DriverConfig]):
    """Reads SQLite, PostgreSQL, MySQL or MariaDB."""

    def __init__(self, config: DriverConfig, context: DriverContext) -> None:
        super().__init__(config, context)
        assert config.db is not None
        self.db: DbConfig = config.db
        self.source_type = f"db/{self.db.kind}"

    def check(self) -> None:
        """Sign in, and have the database look at the query."""
        self._open().session.close()

    def read(self, resume: Position | None) -> Iterator[Batch]:
        """Batches from one snapshot; where a read can go on behind a row it also goes on after a broken connection."""
        incremental = self.context.incremental
        if incremental is not None and incremental.mode == "cursor":
            return self._behind(incremental, resume)
        return self._in_one_piece(resume)

    @property
    def remembers_units(self) -> bool:
        """Where a read goes back a little."""
        return self.context.incremental is not None and may_reread(self.context.incremental)

    def rereads(self, resume: Position, end: Position) -> bool:
        """By the places of both; a window that was read before brings back anything."""
        incremental = self.context.incremental
        if incremental is None:
            return False
        if incremental.mode == "window":
            return self.context.window is not None and is_done(self.context.window, done_windows(resume))
        return is_reread(incremental, resume, end)

    def head(self, resume: Position | None) -> str | None:
        """How many rows are due, and the largest of their values; None without any."""
        count, largest = self._due(resume)
        return f"{count} {largest}" if count else None

    def unread_units(self, resume: Position | None) -> int | None:
        """How many rows are due, counted to 10,001; None where only reading would tell."""
        incremental = self.context.incremental
        return None if incremental is None or incremental.mode == "window" else self._due(resume)[0]

    def plan(self, resume: Position | None) -> dict[str, Any]:
        """The statement, its values, and what the watermarks are now."""
        opened = self._open()
        with opened.session:
            return self._asked(opened, self._planned(opened, resume))

    def _due(self, resume: Position | None) -> tuple[int, str | None]:
        incremental = self.context.incremental
        if incremental is None or incremental.mode == "window":
            raise NotImplementedError
        # Whoever looks comes again soon, and does not want to wait.
        opened = self._open(Retry(max_attempts=1))
        with opened.session as session:
            assert opened.ordered is not None
            select = self._planned(opened, resume)
            return count_of(session, select, session.column(opened.ordered.field), COUNTED)

    def _planned(self, opened: Opened, resume: Position | None) -> Select:
        """What a read from *resume* asks first."""
        if opened.ordered is None or self.context.incremental is None:
            return opened.select
        incremental, select = self.context.incremental, opened.select
        where: Fragment = ()
        if incremental.mode == "cursor":
            where = opened.ordered.new(cursor_of(resume, incremental))
        elif self.context.window is not None:
            where = opened.ordered.within(self.context.window)
        return Select(select.source, select.columns, select.shown, where, opened.ordered.order())

    def _in_one_piece(self, resume: Position | None) -> Iterator[Batch]:
        opened = self._open()
        with opened.session:
            reading = self._reading(opened, resume)
            if opened.ordered is None:
                if self.db.partition_key is not None:
                    reading = replace(reading, blocks=self._in_shards(opened, self.db.partition_key))
                yield from reading.everything(resume)
            else:
                yield from reading.windows(opened.ordered, resume, self.context.window)

    def _in_shards(self, opened: Opened, key: str) -> Iterator[list[bytes]]:
        from rootsys_dagster.drivers.db.postgres import PostgresSession
        from rootsys_dagster.drivers.db.shards import units_of_shards

        session = opened.session
        assert isinstance(session, PostgresSession)
        column = find_column(opened.select.columns, key, "driver.db.partition_key")
        # The session that lends its snapshot is a connection too.
        most = self.db.pool.max_connections - 1 if self.db.pool else self.db.shards
        shards = max(min(self.db.shards, most), 1)
        snapshot = session.share()
        parts = [session.part(column, number, shards) for number in range(shards)]
        return units_of_shards(
            opened.select, parts, lambda given_up: PostgresSession(self.db, self.context, snapshot, given_up)
        )

    def _behind(self, incremental: Incremental, resume: Position | None) -> Iterator[Batch]:
        after = cursor_of(resume, incremental)
        aside: list[str] = (resume or {}).get("set_aside", [])
        replaces = resume is not None and "cursor" not in resume
        again, failures = True, 0
        policy = self.db.retry or Retry()
        while True:
            opened = self._open()
            can_go_on = True
            try:
                with opened.session:
                    assert opened.ordered is not None
                    reading = self._reading(opened, resume)
                    for batch in reading.behind(opened.ordered, after, aside, again=again):
                        yield replace(batch, replaces=True) if replaces else batch
                        replaces = False
                        place = cursor_of(batch.position, incremental)
                        can_go_on = batch.resumable and place is not None and place != after
                        if can_go_on:
                            after, again, failures = place, False, 0
                return
            except TransientError:
                failures += 1
                if not can_go_on or failures >= policy.max_attempts:
                    raise
            time.sleep(backoff_ms(failures, policy, Random()) / 1000)

    def _reading(self, opened: Opened, resume: Position | None) -> Reading:
        key = opened.ordered.names if opened.ordered else ()
        rows = Rows(self.source_type, self.config.content_type or "application/json", self.config.filename, 1, key)
        asked = self._asked(opened, self._planned(opened, resume))
        return Reading(opened.session, opened.select, rows, self.context.max_record_bytes, asked)

    def _asked(self, opened: Opened, select: Select) -> dict[str, Any]:
        pieces = (*select.source, *select.where, *select.order)
        asked: dict[str, Any] = {"sql": redact(opened.session.shown(select))}
        if values := [redact(piece.text or "NULL") for piece in pieces if isinstance(piece, Value)]:
            asked["values"] = values
        asked["columns"] = [{"name": column.name, "type": column.type} for column in opened.select.shown]
        if opened.watermarks:
            asked["watermarks"] = {name: redact(text or "NULL") for name, text in opened.watermarks.items()}
        return asked

    def _open(self, policy: Retry | None = None) -> Opened:
        """A session that knows its query, after as many tries as the policy allows."""
        policy = policy or self.db.retry or Retry()
        attempt = self._open_once
        if self.db.circuit_breaker is not None and self.context.state_root is not None:
            stream = StreamId(self.context.name, self.context.version)
            shared = circuit_state(self.context.state_root, stream)
            breaker = Breaker(str(stream), self.db.circuit_breaker, shared)
            return retrying(lambda: breaker.call(attempt), policy)
        return retrying(attempt, policy)

    def _open_once(self) -> Opened:
        session = open_session(self.db, self.context)
        try:
            watermarks = self._resolved(session)
            source = self._source(session, watermarks)
            incremental = self.context.incremental
            keys = (incremental.field, *incremental.tie_breaker) if incremental else ()
            columns = session.describe(source, keys)
            shown = one_per_name(columns, self.db.columns)
            in_order = ordered(incremental, session, columns) if incremental else None
            for column in (in_order.field, *in_order.tie) if in_order else ():
                if column not in shown:
                    message = (
                        f"driver.db.columns leaves out {column.name}, by which incremental keeps its place; add it"
                    )
                    raise ConfigError(message, code="DB.COLUMN_MISSING")
            return Opened(session, source, Select(source, columns, shown), in_order, watermarks)
        except BaseException:
            session.close()
            raise

    def _source(self, session: Session, watermarks: dict[str, str | None]) -> Fragment:
        if self.db.table is not None:
            return sql("SELECT * FROM " + ".".join(map(session.name, self.db.table.split("."))))
        literal = frozenset(watermark.name for watermark in self.context.watermarks if watermark.literal)
        return bind(self.db.query or "", watermarks, self.db.kind, literal)

    def _resolved(self, session: Session) -> dict[str, str | None]:
        """The values of the named watermarks now."""
        found: dict[str, str | None] = {}
        for watermark in self.context.watermarks:
            try:
                if watermark.connection is None:
                    row = session.row((watermark.resolver_sql,))
                else:
                    with open_session(self._elsewhere(watermark.connection), self.context) as other:
                        row = other.row((watermark.resolver_sql,))
            except RootsysError as error:
                error.message = f"watermark {watermark.name}: {error.message}"
                raise
            value = row[0] if row else None
            found[watermark.name] = watermark.default if value is None else value
        return found

    def _elsewhere(self, connection: str) -> DbConfig:
        named = self.context.connections.by_name.get(connection)
        return elsewhere(self.db, connection) if named is None or named.db is None else named.db


def elsewhere(config: DbConfig, connection: str) -> DbConfig:
    """Another database, as a watermark names it: the kind of the query's own unless it is a URL of another one."""
    kinds = {scheme: kind for kind, schemes in SCHEMES.items() for scheme in schemes} | {"sqlite": "sqlite"}
    kind = kinds.get(connection.partition("://")[0], config.kind)
    return config.model_copy(update={"kind": kind, "connection": connection.removeprefix("sqlite://")})


def open_session(config: DbConfig, context: DriverContext) -> Session:
    """A session with the database of *config*; of the client libraries, which are heavy, only its own is loaded."""
    match config.kind:
        case "sqlite":
            from rootsys_dagster.drivers.db.sqlite import SqliteSession

            return SqliteSession(config, context)
        case "postgres":
            from rootsys_dagster.drivers.db.postgres import PostgresSession

            return PostgresSession(config, context)
        case "mysql":
            from rootsys_dagster.drivers.db.mysql import MysqlSession

            return MysqlSession(config, context)
