"""When something runs by itself: at the minutes that a cron expression names, or behind what it needs."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Config, Findings, Text
from rootsys_dagster.core.spelling import did_you_mean, shown

FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")
_TERM: Final = r"(\*|(\d{1,2}|[A-Za-z]{3})(-(\d{1,2}|[A-Za-z]{3}))?)(/\d{1,2})?"
FIELD: Final = re.compile(f"{_TERM}(,{_TERM})*", re.ASCII)
"""What every reader of cron expressions reads alike: no days counted from the end of a month, or by week."""


class Schedule(Config):
    """Minutes at which a run is due."""

    model_config = ConfigDict(json_schema_extra={"required": ["cron"]})

    cron: Text = Field(description="Five fields: minute, hour, day of the month, month, day of the week.")
    timezone: Text = Field(default="UTC", description='Where the clock hangs, such as "Europe/Berlin".')
    enabled: bool = Field(default=True, description="false keeps the schedule and does not start it by itself.")

    def check(self, at: str, found: Findings) -> None:
        if why := cron_problem(self.cron):
            found.add("SCHEDULE_CRON_INVALID", f"{at}/cron", why)
        if why := timezone_problem(self.timezone):
            found.add("SCHEDULE_TIMEZONE_UNKNOWN", f"{at}/timezone", why)

    def next_after(self, instant: datetime) -> datetime:
        """The first minute behind *instant* at which a run is due, in the zone of the schedule."""
        return next(CronSim(self.cron, instant.astimezone(ZoneInfo(self.timezone))))


class Automation(Config):
    """Run behind what it needs, without a schedule."""

    model_config = ConfigDict(json_schema_extra={"required": ["kind"]})

    kind: Literal["eager"] = Field(
        default="eager", description="eager: as soon as something that it needs has new data, and all of it has some."
    )


def cron_problem(text: str) -> str | None:
    """Why *text* is no cron expression of five fields that ever comes; None when it is one."""
    fields = text.split()
    if len(fields) == 6:
        five = shown(" ".join(fields[1:]))
        return f"has six fields, and none is for seconds here; write the other five, such as {five}"
    if len(fields) != len(FIELDS):
        return f'must have five fields ({", ".join(FIELDS)}), as in "20 2 * * *", not {shown(text)}'
    for name, field in zip(FIELDS, fields, strict=True):
        if not FIELD.fullmatch(field):
            return f"the {name} {shown(field)} must be made of *, numbers, names, ranges a-b, steps /n and commas"
    never = f"never comes: no month has the day of {shown(text)}"
    if fields[2] in ("30", "31") and fields[3].upper() in ("2", "02", "FEB"):
        return never
    try:
        next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"is no cron expression: {str(error)[:1].lower()}{str(error)[1:]} in {shown(text)}"
    except StopIteration:
        return never
    return None


def timezone_problem(name: str) -> str | None:
    """Why there is no zone called *name*; None when there is one."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # Listing them takes longer than everything else here.
        hint = did_you_mean(name, available_timezones())
        return f'{shown(name)} is no time zone; write one like "UTC" or "Europe/Berlin"{hint}'
    return None


def next_run(schedules: Iterable[Schedule], instant: datetime) -> datetime | None:
    """The first time behind *instant* at which one of *schedules* is due; None when none of them is switched on."""
    return min((one.next_after(instant) for one in schedules if one.enabled), default=None)
