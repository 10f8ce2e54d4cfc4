"""Reading on behind the last row: which rows are due, in which order, and what a place between two rows is.

A place is the values of the field and of the tie-breakers in the last row. Rows without one of them, and rows from the
future, have no place: they are set aside, each once.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.incremental import Incremental, Window, parse_instant
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.record import Message
from rootsys_dagster.drivers.db.session import (
    TIME_KINDS,
    Column,
    Fragment,
    Session,
    find_column,
    joined,
    sql,
)

FUTURE: Final = timedelta(days=1)
"""How far ahead of its own clock the source may be before a row counts as one from the future: zones differ by less."""
DAY_S: Final = 86400
NO_WATERMARK = Message(
    "WATERMARK_NULL", "/payload", "incremental.field or a tie-breaker is NULL, so the row has no place"
)
FROM_THE_FUTURE = Message(
    "WATERMARK_FUTURE", "/payload", "incremental.field is more than a day ahead of the clock of the source"
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place behind one row: the field's value and those of the tie-breakers, as their JSON has them."""

    field: str
    tie: tuple[str, ...] = ()

    def to_json(self, name: str) -> dict[str, Any]:
        """Members of a position."""
        return {"name": name, "field": self.field, "tie": list(self.tie)}


def cursor_of(resume: Position | None, incremental: Incremental) -> Cursor | None:
    """Where to go on; None for a read from the beginning.

    Raises:
        ConfigError: what was committed is in the order of other columns.
    """
    members = (resume or {}).get("cursor")
    if members is None:
        return None
    if members["name"] != incremental.field or len(members["tie"]) != len(incremental.tie_breaker):
        raise ConfigError(
            f"what is committed is in the order of {members['name']}, incremental now says {incremental.field} "
            f"with {len(incremental.tie_breaker)} tie-breakers; give the interface a new version to begin anew",
            code="DB.CURSOR_CHANGED",
        )
    return Cursor(members["field"], tuple(members["tie"]))


@dataclass(frozen=True, slots=True)
class Ordered:
    """The columns that order a query, and what of it is due now."""

    incremental: Incremental
    session: Session
    field: Column
    tie: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the field and the tie-breakers."""
        return (self.field.name, *(column.name for column in self.tie))

    @property
    def has_time(self) -> bool:
        """Whether the field is a time, so that clock and lateness mean something."""
        return self.field.cursor in TIME_KINDS

    @property
    def lateness(self) -> timedelta:
        """So late a row may appear."""
        return timedelta(seconds=self.incremental.lateness_s)

    @property
    def latest(self) -> str | None:
        """The last moment that is read now: by the clock of the source, less the lateness."""
        if not self.has_time:
            return None
        clock = self.session.clock
        # Without a zone nobody knows which clock wrote the value: by the earlier one nothing is passed over.
        now = clock.utc.replace(tzinfo=UTC) if self.field.cursor == "timestamptz" else min(clock.utc, clock.local)
        return self.session.instant(now - timedelta(seconds=self.incremental.lateness_s), self.field)

    def new(self, after: Cursor | None) -> Fragment:
        """The condition for rows that have a place behind *after*, and are due."""
        if after is not None:
            return joined(" AND ", [*self._due(), self._least(after), sql("(", self._behind(after), ")")])
        start = self.incremental.start
        if start is None:
            return joined(" AND ", self._due())
        begin = sql(f"{self.session.column(self.field)} >= ", self.session.value(start, self.field))
        return joined(" AND ", [*self._due(), begin])

    def again(self, after: Cursor | None) -> Fragment | None:
        """The condition for rows up to *after* of which some may have appeared since; None when that cannot be.

        Those are the rows within the lateness, and without a tie-breaker those beside the last one.
        """
        if after is None or (self.tie and not self.incremental.lateness_s):
            return None
        moved = earlier(after.field, timedelta(seconds=self.incremental.lateness_s)) if self.has_time else None
        begin = after.field if moved is None or not self.incremental.lateness_s else self._moment(moved)
        least = sql(f"{self.session.column(self.field)} >= ", self.session.value(begin, self.field))
        return joined(" AND ", [*self._due(), least, sql("NOT (", self._behind(after), ")")])

    def placeless(self) -> Fragment:
        """The condition for rows that have no place."""
        of = self.session.column
        return sql("(" + " OR ".join(f"{of(column)} IS NULL" for column in (self.field, *self.tie)) + ")")

    def future(self) -> Fragment | None:
        """The condition for rows from the future, where the field is a time."""
        if not self.has_time:
            return None
        clock = self.session.clock
        now = clock.utc.replace(tzinfo=UTC) if self.field.cursor == "timestamptz" else max(clock.utc, clock.local)
        limit = self.session.instant(now + FUTURE, self.field)
        return sql(f"{self.session.column(self.field)} > ", self.session.value(limit, self.field))

    def within(self, window: Window) -> Fragment:
        """The condition for rows of one half-open interval."""
        of = self.session.column(self.field)
        start, end = (self._moment(moment) for moment in (window.start, window.end))
        return sql(
            f"{of} >= ", self.session.value(start, self.field), f" AND {of} < ", self.session.value(end, self.field)
        )

    def order(self) -> Fragment:
        """By field and tie-breakers."""
        return sql(", ".join(map(self.session.column, (self.field, *self.tie))))

    def _moment(self, moment: datetime) -> str:
        zoned = self.field.cursor == "timestamptz"
        return self.session.instant(moment if zoned else moment.astimezone(UTC).replace(tzinfo=None), self.field)

    def _due(self) -> list[Fragment]:
        of = self.session.column
        conditions: list[Fragment] = [sql(f"{of(column)} IS NOT NULL") for column in (self.field, *self.tie)]
        if (latest := self.latest) is not None:
            conditions.append(sql(f"{of(self.field)} <= ", self.session.value(latest, self.field)))
        return conditions

    def _least(self, after: Cursor) -> Fragment:
        """Follows from being behind *after*; an index needs to be told."""
        return sql(f"{self.session.column(self.field)} >= ", self.session.value(after.field, self.field))

    def _behind(self, after: Cursor) -> Fragment:
        of, value = self.session.column, self.session.value
        columns, values = (self.field, *self.tie), (after.field, *after.tie)
        alternatives: list[Fragment] = []
        for n, (column, text) in enumerate(zip(columns, values, strict=True)):
            equal = [sql(f"{of(columns[k])} = ", value(values[k], columns[k])) for k in range(n)]
            alternatives.append(joined(" AND ", [*equal, sql(f"{of(column)} > ", value(text, column))]))
        return joined(" OR ", alternatives)


def ordered(incremental: Incremental, session: Session, columns: tuple[Column, ...]) -> Ordered:
    """The columns of *incremental* among those of a query.

    Raises:
        ConfigError: one is not there, or its type cannot keep a place.
    """
    first = find_column(columns, incremental.field, "incremental.field")
    tie = tuple(find_column(columns, name, "incremental.tie_breaker") for name in incremental.tie_breaker)
    for column in (first, *tie):
        if column.cursor is None:
            message = f"incremental: a column of type {column.type}, as {column.name} is, cannot keep a place"
            raise ConfigError(f"{message}; use a time, a number, a text or a uuid", code="DB.CURSOR_TYPE")
    if incremental.mode == "window" and first.cursor not in TIME_KINDS:
        message = f"incremental.field {first.name} is of type {first.type}; windows need a time"
        raise ConfigError(message, code="DB.CURSOR_TYPE")
    if first.cursor not in TIME_KINDS and incremental.lateness_s:
        message = f"incremental.lateness_s needs a time, and {first.name} is of type {first.type}; remove it"
        raise ConfigError(message, code="DB.LATENESS_NEEDS_TIME")
    if first.cursor in ("text", "real") and not tie and incremental.mode == "cursor":
        message = f"incremental.field {first.name} is of type {first.type}, where equal is not always alike"
        raise ConfigError(f"{message}; name a tie_breaker", code="DB.TIE_BREAKER_NEEDED")
    if first.cursor == "date" and tie and incremental.lateness_s < DAY_S and incremental.mode == "cursor":
        message = f"incremental.field {first.name} is a date, and rows may be added to a day that was read; remove "
        raise ConfigError(f"{message}tie_breaker, or set lateness_s to at least {DAY_S}", code="DB.DATE_NEEDS_LATENESS")
    return Ordered(incremental, session, first, tie)


def earlier(text: str, by: timedelta) -> datetime | None:
    """The moment of *text* less *by*; None when it is not one that the calendar here knows, such as one BC."""
    moment = parse_instant(text)
    try:
        return None if moment is None else moment - by
    except OverflowError:
        return None


def may_reread(incremental: Incremental) -> bool:
    """Whether a read goes back behind the last row: by the lateness, or because others may stand beside it."""
    return incremental.mode == "window" or incremental.lateness_s > 0 or not incremental.tie_breaker


def is_reread(incremental: Incremental, resume: Position, end: Position) -> bool:
    """Whether a read behind *resume* may bring units that a commit with this end has."""
    newest, there = resume.get("cursor"), end.get("cursor")
    if newest is None or there is None or not may_reread(incremental):
        return False
    lateness = timedelta(seconds=incremental.lateness_s)
    begin, at = earlier(newest["field"], lateness), parse_instant(there["field"])
    if begin is not None and at is not None:
        return at >= begin
    return newest["field"] == there["field"]
