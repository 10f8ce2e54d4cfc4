"""Windows of an interface as Dagster's time partitions: backfills, and what the UI shows as done."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.incremental import Window, parse_duration, parse_instant
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.drivers.windows import done_windows
from rootsys_dagster.log.manifest import Manifest

KEY_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
MINUTE, HOUR, DAY, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)


def partitions_of(interface: Interface) -> dg.TimeWindowPartitionsDefinition | None:
    """One partition for each window that is complete, those of the lateness left out.

    None for an interface without windows, and for steps that no calendar has (PT7H): such runs read all that are due.
    """
    incremental = interface.incremental
    if incremental is None or incremental.mode != "window":
        return None
    step, start = parse_duration(incremental.step or ""), parse_instant(incremental.start or "")
    if step is None or start is None or (schedule := cron_of(step, start)) is None:
        return None
    waiting = -(-timedelta(seconds=incremental.lateness_s) // step)
    return dg.TimeWindowPartitionsDefinition(
        start=start, fmt=KEY_FORMAT, cron_schedule=schedule, timezone="UTC", end_offset=-waiting
    )


def cron_of(step: timedelta, start: datetime) -> str | None:
    """The cron schedule that ticks every *step* from *start* on, None when there is none."""
    if start.second or start.microsecond:
        return None
    if step < HOUR and step % MINUTE == timedelta() and HOUR % step == timedelta():
        return f"{_listed(start.minute, step // MINUTE, 60)} * * * *"
    if step < DAY and step % HOUR == timedelta() and DAY % step == timedelta():
        return f"{start.minute} {_listed(start.hour, step // HOUR, 24)} * * *"
    if step == DAY:
        return f"{start.minute} {start.hour} * * *"
    if step == WEEK:
        return f"{start.minute} {start.hour} * * {start.isoweekday() % 7}"
    return None


def _listed(first: int, step: int, size: int) -> str:
    return ",".join(map(str, range(first % step, size, step)))


def asked_window(context: dg.OpExecutionContext) -> Window | None:
    """The window that a run was started for; None where the assets have no partitions.

    Raises:
        ConfigError: they have, and the run names none of them: it would end green and have read nothing.
    """
    if context.assets_def.partitions_def is None:
        return None
    if not (context.has_partition_key or context.has_partition_key_range):
        message = (
            "this interface is read by windows, and the run names none; materialize partitions, or run 'rootsys run'"
        )
        raise ConfigError(message, code="WINDOW.NOT_NAMED")
    named = context.partition_time_window
    return Window(named.start.astimezone(UTC), named.end.astimezone(UTC))


def partition_keys(partitions: dg.TimeWindowPartitionsDefinition, commit: Manifest) -> Iterator[str]:
    """The partitions that *commit* completed; of a window that was read again, those of that window."""
    before = done_windows(commit.start)
    now = done_windows(commit.end)
    added = [window for window in now if window not in before]
    for window in added or done_windows({"windows": [commit.end["window"]]} if "window" in commit.end else None):
        found = partitions.get_partition_keys_in_time_window(dg.TimeWindow(window.start, window.end))
        known = {key for one in before for key in _keys_within(partitions, one)} if added else set[str]()
        yield from (key for key in found if key not in known)


def _keys_within(partitions: dg.TimeWindowPartitionsDefinition, window: Window) -> list[str]:
    return list(partitions.get_partition_keys_in_time_window(dg.TimeWindow(window.start, window.end)))
