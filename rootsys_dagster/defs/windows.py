"""Windows of an interface as Dagster's time partitions: backfills, and what the UI shows as done."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.incremental import Window, parse_duration, parse_instant
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.position import Position
from rootsys_dagster.drivers.windows import done_windows, due_windows
from rootsys_dagster.log.manifest import Manifest

KEY_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
RANGE = "..."
MAX_WINDOWS = 100
"""So many neighbouring windows are read by one run at most, when a sensor starts it: what fails is read again whole."""
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


def waiting_windows(interface: Interface, committed: Position | None, now: datetime) -> str | None:
    """The oldest neighbouring windows that are complete and not committed, ``first...last``; None when all are."""
    incremental = interface.incremental
    assert incremental is not None
    found: list[Window] = []
    due = due_windows(incremental, done_windows(committed), now - timedelta(seconds=incremental.lateness_s))
    for window in islice(due, MAX_WINDOWS):
        if found and found[-1].end != window.start:
            break
        found.append(window)
    return RANGE.join(f"{found[n].start.astimezone(UTC):{KEY_FORMAT}}" for n in (0, -1)) if found else None


def range_tags(waiting: str) -> dict[str, str]:
    """What tells a run that it is for the partitions ``first...last``."""
    first, last = waiting.split(RANGE)
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


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
