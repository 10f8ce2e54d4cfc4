"""Half-open intervals of time: which are done, which are due.

Position: ``{"windows": [[start, end], …], "window": [start, end]}``.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rootsys_dagster.core.incremental import Incremental, Window, parse_duration, parse_instant
from rootsys_dagster.core.position import Position


def done_windows(resume: Position | None) -> list[Window]:
    """The intervals that are committed, merged and in order."""
    found: list[Window] = []
    for start, end in (resume or {}).get("windows", []):
        first, last = parse_instant(start), parse_instant(end)
        assert first is not None
        assert last is not None
        found.append(Window(first, last))
    return found


def merged(windows: Sequence[Window]) -> list[Window]:
    """The same moments in as few intervals as possible, in order."""
    found: list[Window] = []
    for window in sorted(windows, key=lambda one: one.start):
        if found and window.start <= found[-1].end:
            found[-1] = Window(found[-1].start, max(found[-1].end, window.end))
        else:
            found.append(window)
    return found


def due_windows(incremental: Incremental, done: Sequence[Window], until: datetime) -> Iterator[Window]:
    """The intervals of one step each that ended by *until* and are not done, oldest first."""
    step, start = parse_duration(incremental.step or ""), parse_instant(incremental.start or "")
    assert step is not None
    assert start is not None
    remaining = list(done)
    while start + step <= until:
        while remaining and remaining[0].end <= start:
            remaining.pop(0)
        if remaining and remaining[0].start <= start and start + step <= remaining[0].end:
            start += step * max((remaining[0].end - start) // step, 1)
            continue
        yield Window(start, start + step)
        start += step


def position_of(done: Sequence[Window], window: Window) -> Position:
    """The position when *window* is committed too."""
    return {"windows": [one.to_json() for one in merged([*done, window])], "window": window.to_json()}


def is_done(window: Window, done: Sequence[Window]) -> bool:
    """Whether any part of *window* is committed."""
    return any(one.start < window.end and window.start < one.end for one in done)
