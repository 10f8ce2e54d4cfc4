"""The watermark of an incremental read: the greatest value of a field of the items, and what is asked for next.

A value is kept as the source wrote it. Values are compared as moments when both are, else as numbers, else as text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias

import msgspec

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.incremental import Incremental, Window, instant_text, parse_instant
from rootsys_dagster.core.pointer import tokens
from rootsys_dagster.drivers.rest.page import REFUSALS, Document

Key: TypeAlias = tuple[int, datetime | Decimal | str]
"""Comparable only with keys of the same rank, which is its first member."""
MOMENT: Final = 2
NUMBER: Final = 1
TEXT: Final = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the items of one page say.

    Attributes:
        kept: for each item whether it is at or behind the place that was asked for; one without a place is.
        high: the greatest value that is not in the future, as written; None when no item has one.
        placeless: the numbers of the items that have no value there.
        future: the numbers of those that name a moment that has not come yet.
    """

    kept: list[bool]
    high: str | None
    placeless: list[int]
    future: list[int]


class Watermark:
    """The field of one interface, and its lateness."""

    def __init__(self, incremental: Incremental) -> None:
        field = incremental.field
        self._path = tokens(field if field.startswith("/") else f"/{field}")
        self._lateness = timedelta(seconds=incremental.lateness_s)
        self._start = incremental.start

    def asked_from(self, committed: str | None) -> str | None:
        """The value that a read begins at: what is committed less the lateness, or the start; None: from anywhere.

        Raises:
            ConfigError: the values are text, from which no lateness can be taken.
        """
        if committed is None:
            return self._start
        if not self._lateness:
            return committed
        _, value = key_of(committed)
        if isinstance(value, datetime):
            return instant_text(value - self._lateness)
        if isinstance(value, Decimal):
            return str(value - Decimal(self._lateness.total_seconds()))
        message = "incremental.lateness_s: the field holds text, from which no seconds can be taken; set it to 0"
        raise ConfigError(message, code="REST.LATENESS_OF_TEXT")

    def look(self, units: Sequence[bytes], low: str | None, high: str | None, now: datetime) -> Seen:
        """What *units* say, behind *low* and with *high* the greatest value so far."""
        floor, top = key_of(low) if low is not None else None, key_of(high) if high is not None else None
        kept: list[bool] = []
        placeless: list[int] = []
        future: list[int] = []
        for number, unit in enumerate(units):
            text = self._value(unit)
            key = key_of(text) if text is not None else None
            kept.append(key is None or floor is None or key[0] != floor[0] or key >= floor)
            if text is None:
                placeless.append(number)
            if key is None or not kept[-1]:
                continue
            if isinstance(key[1], datetime) and key[1] > now:
                future.append(number)
            elif top is None or (key[0] == top[0] and key > top):
                top, high = key, text
        return Seen(kept, high, placeless, future)

    def within(self, units: Sequence[bytes], window: Window) -> list[bool]:
        """For each unit whether it belongs into *window*: one that names no moment does, because it was asked for."""
        moments = (parse_instant(text) if (text := self._value(unit)) is not None else None for unit in units)
        return [moment is None or window.start <= moment < window.end for moment in moments]

    def reaches(self, asked: str | None, high: str | None) -> bool:
        """Whether a read from *asked* may bring items again of which the greatest value was *high*."""
        if asked is None or high is None:
            return True
        low, top = key_of(asked), key_of(high)
        return low[0] != top[0] or top >= low

    def _value(self, unit: bytes) -> str | None:
        try:
            value = Document(unit).at(self._path)
            if value is None or value == b"null" or value[:1] in (b"{", b"["):
                return None
            return msgspec.json.decode(value, type=str) if value.startswith(b'"') else value.decode()
        except REFUSALS:
            return None


def key_of(text: str) -> Key:
    """By which values are compared."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = None
    if number is not None and number.is_finite():
        return NUMBER, number
    moment = parse_instant(text)
    return (MOMENT, moment) if moment is not None else (TEXT, text)


def utc_now() -> datetime:
    """Now, with its zone."""
    return datetime.now(UTC)
