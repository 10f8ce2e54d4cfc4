"""The watermark of an HTTP source: which value is the greatest, and what is asked for next."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.incremental import Incremental
from rootsys_dagster.drivers.rest.watermark import Seen, Watermark

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def watermark(**members: Any) -> Watermark:
    return Watermark(Incremental(**{"field": "at", **members}))


def look(*items: bytes, low: str | None = None, high: str | None = None, **members: Any) -> Seen:
    return watermark(**members).look(items, low, high, NOW)


@pytest.mark.parametrize(
    ("committed", "members", "asked"),
    [
        pytest.param(None, {}, None, id="from anywhere"),
        pytest.param(None, {"start": "2026-01-01"}, "2026-01-01", id="from the start, as it is written"),
        pytest.param("2026-05-01T00:00:00+02:00", {}, "2026-05-01T00:00:00+02:00", id="as the source wrote it"),
        pytest.param("2026-05-01T00:00:00+02:00", {"lateness_s": 60}, "2026-04-30T21:59:00Z", id="less the lateness"),
        pytest.param("1748736000", {"lateness_s": 60}, "1748735940", id="of a number of seconds"),
        pytest.param("A-17", {}, "A-17", id="text"),
    ],
)
def test_a_read_begins_at_what_is_committed(committed: str | None, members: dict[str, Any], asked: str | None) -> None:
    assert watermark(**members).asked_from(committed) == asked


def test_no_lateness_can_be_taken_from_text() -> None:
    with pytest.raises(ConfigError) as caught:
        watermark(lateness_s=60).asked_from("A-17")
    assert caught.value.code == "REST.LATENESS_OF_TEXT"


@pytest.mark.parametrize(
    ("values", "high"),
    [
        (["1", "10", "9"], "10"),
        (['"1"', '"10"', '"9"'], "10"),
        (["1.0", "1"], "1.0"),
        (['"2026-05-01T00:00:00Z"', '"2026-05-01T01:00:00+02:00"'], "2026-05-01T00:00:00Z"),
        (['"2026-05-01"', '"2026-04-30T23:59:59Z"'], "2026-05-01"),
        (['"b"', '"a"'], "b"),
        (["null", "{}", "[]"], None),
    ],
)
def test_the_greatest_value_is_found_by_what_values_mean(values: list[str], high: str | None) -> None:
    assert look(*(f'{{"at": {value}}}'.encode() for value in values)).high == high


def test_values_of_another_kind_do_not_move_the_watermark() -> None:
    assert look(b'{"at": "n/a"}', high="2026-05-01T00:00:00Z").high == "2026-05-01T00:00:00Z"


def test_an_item_of_a_time_to_come_does_not_move_the_watermark() -> None:
    seen = look(b'{"at": "2026-05-01T00:00:00Z"}', b'{"at": "9999-01-01T00:00:00Z"}')
    assert (seen.high, seen.future, seen.kept) == ("2026-05-01T00:00:00Z", [1], [True, True])


def test_items_without_a_place_are_named_and_kept() -> None:
    seen = look(b"{}", b'{"at": null}', b'{"at": 5}', b"7", low="3")
    assert (seen.placeless, seen.kept, seen.high) == ([0, 1, 3], [True] * 4, "5")


def test_what_is_before_the_place_that_was_asked_for_is_not_kept() -> None:
    assert look(b'{"at": 2}', b'{"at": 3}', b'{"at": 4}', low="3").kept == [False, True, True]


def test_the_field_may_stand_deep_inside_an_item() -> None:
    assert look(b'{"meta": {"at~/x": 5}}', field="/meta/at~0~1x").high == "5"


@pytest.mark.parametrize(
    ("asked", "high", "reaches"),
    [("5", "5", True), ("5", "4", False), ("5", "6", True), (None, "4", True), ("5", None, True), ("5", "x", True)],
)
def test_a_read_reaches_the_commits_at_or_behind_its_place(asked: str | None, high: str | None, reaches: bool) -> None:
    assert watermark().reaches(asked, high) is reaches
