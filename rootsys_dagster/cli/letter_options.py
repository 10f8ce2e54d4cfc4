"""Which dead letters a command line means."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from rootsys_dagster.log.letters import LetterFilter, State

AGO = re.compile(r"(\d+)([smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
STATES = ("open", "failing", "replayed", "discarded", "superseded")


class Instant(click.ParamType):
    """A date, a time, or how long ago; as milliseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if match := AGO.fullmatch(value):
            instant = datetime.now(UTC) - timedelta(**{UNITS[match[2]]: int(match[1])})
        else:
            try:
                instant = datetime.fromisoformat(value)
            except ValueError:
                self.fail(f"{value!r} is no time; write 2026-02-14, 2026-02-14T09:30:00Z, or 90m, 12h, 7d", param, ctx)
            if instant.tzinfo is None:
                instant = instant.replace(tzinfo=UTC)
        return int(instant.timestamp() * 1000)


def letter_options(*, states: bool) -> Callable[[Any], Any]:
    """The options by which letters are chosen, for :func:`chosen_letters`.

    Args:
        states: whether letters that are not open can be meant too.
    """
    options = [
        click.option("--id", "ids", multiple=True, metavar="ID", help="By id, or its first characters. Repeatable."),
        click.option("--reason", metavar="CODE", help="With this reason code."),
        click.option("--pointer", metavar="POINTER", help="With an error at this place of the payload."),
        click.option("--since", type=Instant(), help="Rejected at this time or later (UTC), or 12h, 7d: so long ago."),
        click.option("--until", type=Instant(), help="Rejected before this time."),
    ]
    if states:
        state = click.option(
            "--state", "states", multiple=True, type=click.Choice(STATES), help="In this state. Repeatable."
        )
        options.insert(0, state)

    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def chosen_letters(
    ids: tuple[str, ...],
    reason: str | None,
    pointer: str | None,
    since: int | None,
    until: int | None,
    states: tuple[State, ...] = (),
) -> LetterFilter:
    """What :func:`letter_options` has collected."""
    return LetterFilter(
        states=states, ids=ids, reason=reason, pointer=pointer, since_unix_ms=since, until_unix_ms=until
    )
