"""The three ways to read a database, as batches of one session: everything, on behind the last row, by windows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC
from hashlib import sha256
from itertools import chain
from typing import Any, Final

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.incremental import Window
from rootsys_dagster.core.ports import Batch, Oversized
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.record import unit_fingerprint
from rootsys_dagster.drivers.db.incremental import FROM_THE_FUTURE, NO_WATERMARK, Cursor, Ordered
from rootsys_dagster.drivers.db.locators import Rows, key_texts
from rootsys_dagster.drivers.db.session import Fragment, Select, Session, joined, sql
from rootsys_dagster.drivers.windows import done_windows, due_windows, position_of

KEPT_BYTES: Final = 1 << 16
"""What a dead letter keeps of a row above ``limits.max_record_bytes``."""
MAX_SET_ASIDE: Final = 500
"""Rows without a place are remembered in the position, which has to stay small."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One session, what it is asked, and how its rows are told.

    Attributes:
        asked: what goes into the manifest.
    """

    session: Session
    select: Select
    rows: Rows
    max_record_bytes: int
    asked: dict[str, Any]
    blocks: Iterator[list[bytes]] | None = None
    """All rows, where several sessions bring them."""

    def everything(self, resume: Position | None) -> Iterator[Batch]:
        """All rows in one piece, in the place of what was there before."""
        position = {"pass": (resume or {}).get("pass", 0) + 1}
        held: Batch | None = None
        first_row = 1
        for units in self.blocks or self.session.units(self.select):
            for batch in self._batches(units, position, replace(self.rows, first_row=first_row)):
                if held is not None:
                    yield replace(held, resumable=False)
                held = batch if first_row > 1 or held is not None else self._first(batch)
            first_row += len(units)
        yield held or self._first(self._batch([], position, self.rows))

    def behind(self, ordered: Ordered, after: Cursor | None, aside: list[str], *, again: bool) -> Iterator[Batch]:
        """Rows behind *after* in the order of their places, then those that have none and are not in *aside*.

        Args:
            again: whether rows up to *after* are read again where some may have appeared since.
        """
        name = ordered.incremental.field
        position: Position = {"cursor": after.to_json(name) if after else None}
        if aside:
            position["set_aside"] = aside
        asked: dict[str, Any] | None = self.asked
        repeated = ordered.again(after) if again else None
        for units in self._ordered(ordered, repeated) if repeated is not None else ():
            for batch in self._batches(units, position, self.rows):
                yield replace(batch, asked=asked)
                asked = None
        for units, is_split in places_apart(self._ordered(ordered, ordered.new(after)), ordered):
            position = position | {"cursor": place_of(units[-1], ordered).to_json(name)}
            for batch, is_last in marked(self._batches(units, position, self.rows)):
                yield replace(batch, asked=asked, resumable=is_last and not is_split)
                asked = None
        for batch in self._set_aside(ordered, position, frozenset(aside)):
            yield replace(batch, asked=asked)
            asked = None

    def windows(self, ordered: Ordered, resume: Position | None, only: Window | None) -> Iterator[Batch]:
        """The rows of each window that is due, oldest first, or of *only* that one."""
        done = done_windows(resume)
        now = self.session.clock.utc.replace(tzinfo=UTC)
        due = [only] if only else due_windows(ordered.incremental, done, now - ordered.lateness)
        for window in due:
            position = position_of(done, window)
            done = done_windows(position)
            asked = self.asked | {"window": window.to_json()}
            found = (
                self._batches(units, position, self.rows) for units in self._ordered(ordered, ordered.within(window))
            )
            batches = marked(chain.from_iterable(found))
            for batch, is_last in batches:
                yield replace(batch, resumable=is_last, asked=asked)
                asked = None
            if asked is not None:
                yield replace(self._batch([], position, self.rows), asked=asked)

    def _ordered(self, ordered: Ordered, where: Fragment) -> Iterator[list[bytes]]:
        return self.session.units(replace(self.select, where=where, order=ordered.order()))

    def _set_aside(self, ordered: Ordered, position: Position, known: frozenset[str]) -> Iterator[Batch]:
        """Rows without a place that are not known yet; the position remembers those that are there now."""
        future = ordered.future()
        where = ordered.placeless() if future is None else sql(ordered.placeless(), " OR ", future)
        found = dict[str, bytes]()
        for units in self._ordered(ordered, where):
            found |= {unit_fingerprint(unit)[:6].hex(): unit for unit in units}
            if len(found) > MAX_SET_ASIDE:
                raise ConfigError(
                    f"more than {MAX_SET_ASIDE} rows have no value, or one from the future, in {ordered.field.name} "
                    "or a tie-breaker, so they cannot be read in this order; choose a column that every row has, or a "
                    "query with COALESCE. Rows that have a place were read",
                    code="DB.WATERMARKS_MISSING",
                )
        if not found.keys() ^ known:
            return
        moved = position | {"set_aside": sorted(found)} if found else position
        fresh = [unit for fingerprint, unit in found.items() if fingerprint not in known]
        nulls = [unit for unit in fresh if None in key_texts(unit, ordered.names)]
        futures = [unit for unit in fresh if unit not in nulls]
        for units, why in ((nulls, NO_WATERMARK), (futures, FROM_THE_FUTURE)):
            if units:
                # Together, or a crash between the two would leave rows remembered that were not told of.
                yield replace(
                    self._batch(units, moved, self.rows), refused=why, resumable=units is futures or not futures
                )

    def _batches(self, units: list[bytes], position: Position, rows: Rows) -> Iterator[Batch]:
        """One batch, or more where a row is above the limit."""
        if sum(map(len, units)) <= self.max_record_bytes or max(map(len, units)) <= self.max_record_bytes:
            yield self._batch(units, position, rows)
            return
        start = 0
        for n, unit in enumerate(units):
            if len(unit) > self.max_record_bytes:
                if start < n:
                    yield self._batch(units[start:n], position, replace(rows, first_row=rows.first_row + start))
                whole = self._batch([unit[:KEPT_BYTES]], position, replace(rows, first_row=rows.first_row + n, key=()))
                yield replace(whole, raw_bytes=len(unit), oversized=Oversized(len(unit), sha256(unit).hexdigest()))
                start = n + 1
        if start < len(units):
            yield self._batch(units[start:], position, replace(rows, first_row=rows.first_row + start))

    def _batch(self, units: list[bytes], position: Position, rows: Rows) -> Batch:
        return Batch(units, "json", rows, position, sum(map(len, units)))

    def _first(self, batch: Batch) -> Batch:
        return replace(batch, replaces=True, asked=self.asked)


def place_of(unit: bytes, ordered: Ordered) -> Cursor:
    """The place behind a row that has one."""
    first, *tie = (text or "" for text in key_texts(unit, ordered.names))
    return Cursor(first, tuple(tie))


def places_apart(blocks: Iterable[list[bytes]], ordered: Ordered) -> Iterator[tuple[list[bytes], bool]]:
    """The blocks, each with whether the next one goes on in the same place: between the two no read can resume."""
    held: list[bytes] | None = None
    for block in blocks:
        if held is not None:
            yield held, place_of(held[-1], ordered) == place_of(block[0], ordered)
        held = block
    if held is not None:
        yield held, False


def marked(batches: Iterable[Batch]) -> Iterator[tuple[Batch, bool]]:
    """The batches, each with whether it is the last."""
    held: Batch | None = None
    for batch in batches:
        if held is not None:
            yield held, False
        held = batch
    if held is not None:
        yield held, True


def count_of(session: Session, select: Select, column: str, limit: int) -> tuple[int, str | None]:
    """How many rows of *select* there are, counted to *limit*, and the largest value of *column*."""
    rows = session.from_clause(select)
    found = session.row(
        joined(" ", [sql(f"SELECT count(*), max(k) FROM (SELECT {column} AS k"), rows, sql(f"LIMIT {limit}) AS heads")])
    )
    assert found is not None
    return int(found[0] or 0), found[1]
