"""Keeping one's place in a source that can be asked for what is new: by cursor or by window, and named watermarks."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import Field

from rootsys_dagster.core.config import Config, Findings, Text, Whole

DURATION: Final = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Incremental(Config):
    """What orders the units of the source, and how a run goes on behind the last one."""

    field: Text = Field(description="A column, or a JSON Pointer (or top-level name) into an item.")
    tie_breaker: tuple[Text, ...] = Field(
        default=(),
        description="What orders units with the same field; together they are unique.",
        json_schema_extra={"uniqueItems": True},
    )
    start: str | None = Field(default=None, description="Where the first run begins; in mode window it is needed.")
    lateness_s: Whole = Field(
        default=0,
        description="So old a unit may be when it appears: runs stay behind the clock by that much, and read it again.",
        json_schema_extra={"minimum": 0},
    )
    step: str | None = Field(
        default=None,
        description="The length of a window: an ISO 8601 duration of days, hours, minutes and seconds, such as PT1H.",
    )
    mode: Literal["cursor", "window"] = "cursor"

    def check(self, at: str, found: Findings) -> None:
        found.blank("INCREMENTAL_FIELD_EMPTY", f"{at}/field", self.field)
        firsts: dict[str, int] = {}
        for index, name in enumerate(self.tie_breaker):
            found.blank("INCREMENTAL_TIE_BREAKER_EMPTY", f"{at}/tie_breaker/{index}", name)
            if firsts.setdefault(name, index) < index:
                found.add("DUPLICATE_ENTRY", f"{at}/tie_breaker/{index}", f"repeats entry {firsts[name]}; remove it")
        if self.lateness_s < 0:
            found.add("INCREMENTAL_LATENESS_INVALID", f"{at}/lateness_s", f"must be at least 0, not {self.lateness_s}")
        if self.step is not None and parse_duration(self.step) is None:
            message = f'must be a duration such as "PT1H" or "P1D", above 0, not {self.step!r}'
            found.add("INCREMENTAL_STEP_INVALID", f"{at}/step", message)
        if self.mode == "window":
            given = [f"{at}/mode"]
            if self.step is None:
                found.add("INCREMENTAL_STEP_REQUIRED", f"{at}/step", 'is needed for mode "window"', given)
            if self.start is None:
                found.add("INCREMENTAL_START_REQUIRED", f"{at}/start", 'is needed for mode "window"', given)
            elif parse_instant(self.start) is None:
                message = f'must be a time such as "2026-01-01T00:00:00Z" in mode "window", not {self.start!r}'
                found.add("INCREMENTAL_START_INVALID", f"{at}/start", message, given)


class Watermark(Config):
    """A value that is asked for at the start of a run and put where the query says ``{name}``."""

    name: Text = Field(json_schema_extra={"pattern": f"^{NAME.pattern}$"})
    connection: str | None = Field(default=None, description="Where to ask; the connection of the query by default.")
    resolver_sql: Text = Field(description="Its first row and column is the value.")
    default: str | None = Field(default=None, description="The value when there is no row, or NULL in it.")
    literal: bool = Field(
        default=False,
        description="Write the value into the query instead of binding it. Whoever can change it can change the query.",
    )

    def check(self, at: str, found: Findings) -> None:
        if not NAME.fullmatch(self.name):
            message = "must start with a letter or '_' and hold only letters, digits and '_'"
            found.add("WATERMARK_NAME_INVALID", f"{at}/name", message)
        found.blank("WATERMARK_CONNECTION_EMPTY", f"{at}/connection", self.connection)
        found.blank("WATERMARK_RESOLVER_SQL_EMPTY", f"{at}/resolver_sql", self.resolver_sql)


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open interval of time: *start* belongs to it, *end* does not. Both have a time zone."""

    start: datetime
    end: datetime

    def to_json(self) -> list[str]:
        """Both ends as RFC 3339 in UTC."""
        return [instant_text(self.start), instant_text(self.end)]


def parse_duration(text: str) -> timedelta | None:
    """The length that an ISO 8601 duration of days, hours, minutes and seconds names; None when it names none."""
    match = DURATION.fullmatch(text)
    if match is None:
        return None
    try:
        length = timedelta(**{unit: int(count) for unit, count in match.groupdict().items() if count is not None})
    except OverflowError:
        return None
    return length or None


def parse_instant(text: str) -> datetime | None:
    """The moment that an ISO 8601 text names, in UTC when it names no zone; None when it is no moment."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def instant_text(moment: datetime) -> str:
    """*moment* as RFC 3339 in UTC, with a Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
