"""Cron expressions: what is refused and why, that Dagster takes what is not, and when the next run is."""

from datetime import UTC, datetime, timedelta

import pytest
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_schedule
from hypothesis import assume, given
from hypothesis import strategies as st

from rootsys_dagster.core.schedule import Schedule, cron_problem, next_run, timezone_problem

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 20 2 * * *", "has six fields, and none is for seconds here; write the other five, such as '20 2 * * *'"),
        ("* * * *", "must have five fields"),
        ("", "must have five fields"),
        ("@daily", "must have five fields"),
        ("60 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("*/0 * * * *", "bad minute"),
        ("* * 0 * *", "bad day-of-month"),
        ("5-2 * * * *", "bad minute"),
        ("* * * foo *", "bad month"),
        ("* * L * *", "the day of the month 'L' must be made of"),
        ("* * * * 5#2", "the day of the week '5#2' must be made of"),
        ("* * ? * *", "the day of the month '?' must be made of"),
        ("H * * * *", "the minute 'H' must be made of"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 30 2 1", "never comes"),
        ("0 0 31 4,6 *", "bad day-of-month"),
    ],
)
def test_a_cron_expression_that_is_none_says_why(cron: str, words: str) -> None:
    assert words in (cron_problem(cron) or "")


def test_names_ranges_steps_and_lists_are_cron_expressions() -> None:
    for cron in ("20 2 * * *", "*/15 8-18 * * mon-fri", "0 0 1,15 JAN,jul 7", "5/10 * * * *"):
        assert cron_problem(cron) is None, cron


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high).map(str)
    span = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda two: f"{min(two)}-{max(two)}")
    base = st.one_of(st.just("*"), number, span)
    term = st.one_of(base, st.tuples(base, st.integers(1, high)).map(lambda two: f"{two[0]}/{two[1]}"))
    return st.lists(term, min_size=1, max_size=3).map(",".join)


@given(st.tuples(fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 7)).map(" ".join))
def test_dagster_takes_every_expression_that_we_take(cron: str) -> None:
    assume(cron_problem(cron) is None)
    assert is_valid_cron_schedule(cron), cron


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "*/20 * * * *", "0 9 * * 1-5", "15 0 1 * *"])
def test_the_next_run_that_we_show_is_when_dagster_runs_it(cron: str, zone: str) -> None:
    shown = Schedule(cron=cron, timezone=zone).next_after(NOON)
    assert shown == next(cron_string_iterator(NOON.timestamp() + 1, cron, zone))


def test_the_next_run_is_the_first_of_the_schedules_that_are_switched_on() -> None:
    daily, hourly = Schedule(cron="0 2 * * *"), Schedule(cron="0 * * * *", enabled=False)
    assert next_run([daily, hourly], NOON) == NOON + timedelta(hours=14)
    assert next_run([hourly], NOON) is None


@pytest.mark.parametrize("name", ["", "Mars", "Europe/Berlim", "../etc/passwd", "/etc/localtime", "x\0"])
def test_a_time_zone_that_is_none_says_so(name: str) -> None:
    assert "is no time zone" in (timezone_problem(name) or "")


def test_a_mistyped_time_zone_is_named() -> None:
    assert (timezone_problem("Europe/Berlim") or "").endswith("did you mean 'Europe/Berlin'?")
