"""Only what is new: nothing is lost and nothing doubled, by a server that keeps its own books."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ProjectFolder
from tests.http_server import Answer, Asked, http_server, in_turn, json_answer
from tests.rest.api import Api, items

START = datetime(2026, 1, 1, tzinfo=UTC)


def moment(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class Feed:
    """A source of changes that can be asked from a moment on, page by page, oldest first."""

    page_size: int = 3
    rows: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    asked_from: list[str | None] = field(default_factory=list[str | None])

    def add(self, *rows: tuple[float, int]) -> None:
        """Rows of (seconds after START, id)."""
        self.rows += rows

    def __call__(self, asked: Asked) -> Answer:
        since, first = asked.query.get("since"), int(asked.query.get("after", 0))
        if not first:
            self.asked_from.append(since)
        found = sorted(row for row in self.rows if since is None or moment(row[0]) >= since)
        page = [{"id": number, "at": moment(at)} for at, number in found[first : first + self.page_size]]
        more = first + self.page_size < len(found)
        return json_answer({"items": page, "next": first + self.page_size if more else None})


def watching(api: Api, feed: Any, lateness_s: int = 0, start: str | None = None, **cursor: Any) -> Api:
    block = {"cursor_param": "after", "cursor_path": "/next", **cursor}
    return api.play(feed).says(
        items_pointer="/items",
        pagination={"kind": "cursor", "cursor": block},
        inject=[{"param": "since", "from": "watermark"}],
        members={"incremental": {"field": "/at", "lateness_s": lateness_s, **({"start": start} if start else {})}},
    )


def test_each_run_brings_what_is_new_and_nothing_again(api: Api) -> None:
    feed = Feed()
    watching(api, feed)
    for number in range(4):
        feed.add(*((number * 10 + n, number * 10 + n) for n in range(5)))
        api.run()
    assert api.ids() == [number for _, number in feed.rows]
    assert feed.asked_from == [None, moment(4), moment(14), moment(24)]


def test_a_run_with_nothing_new_makes_no_commit(api: Api) -> None:
    feed = Feed()
    feed.add((0, 1), (1, 2))
    watching(api, feed)
    api.run()
    api.run()
    assert len(api.manifests()) == 1


def test_the_first_run_begins_at_the_start(api: Api) -> None:
    feed = Feed()
    feed.add((0, 1), (10, 2))
    watching(api, feed, start=moment(5)).run()
    assert feed.asked_from == [moment(5)]
    assert api.ids() == [2]


def test_rows_that_share_a_moment_with_the_last_one_are_not_lost(api: Api) -> None:
    feed = Feed()
    feed.add((5, 1))
    watching(api, feed)
    api.run()
    feed.add((5, 2))
    report = api.run()
    assert api.ids() == [1, 2]
    assert report.counts.skipped == {"already_committed": 1}


def test_a_row_that_appears_late_is_found_within_the_lateness(api: Api) -> None:
    feed = Feed()
    feed.add((100, 1))
    watching(api, feed, lateness_s=60)
    api.run()
    feed.add((41, 2), (101, 3), (39, 4))
    api.run()
    assert sorted(api.ids()) == [1, 2, 3]
    assert feed.asked_from[-1] == moment(40)


def test_a_row_that_has_changed_is_a_new_record(api: Api) -> None:
    feed = Feed()
    feed.add((100, 1))
    watching(api, feed, lateness_s=60)
    api.run()
    feed.rows = [(110, 1)]
    api.run()
    assert api.ids() == [1, 1]


def test_a_source_that_ignores_what_it_is_asked_doubles_nothing(api: Api) -> None:
    rows = [{"id": number, "at": moment(number)} for number in range(5)]
    api.folder.interface(
        "api",
        driver={
            "kind": "rest",
            "rest": {
                "url": f"{api.server.url}/items",
                "items_pointer": "/items",
                "inject": [{"param": "since", "from": "watermark"}],
            },
        },
        incremental={"field": "at"},
    )
    api.play(lambda _: json_answer({"items": rows}))
    api.run()
    rows += [{"id": 5, "at": moment(5)}]
    report = api.run()
    assert api.ids() == [0, 1, 2, 3, 4, 5]
    assert report.counts.skipped == {"before_watermark": 4, "already_committed": 1}


def test_a_pass_that_is_left_half_way_goes_on_with_the_same_question(api: Api) -> None:
    feed = Feed(page_size=2)
    feed.add(*((n, n) for n in range(4)))
    watching(api, feed, max_pages=2).run()
    feed.add(*((n, n) for n in range(4, 12)))
    assert api.run().stopped == "driver.rest.pagination.max_pages"
    newer = (20.0, 20)
    feed.add(newer)
    while api.run().stopped:
        pass
    api.run()
    assert sorted(api.ids()) == [number for _, number in feed.rows]
    assert len(set(api.ids())) == len(api.ids())
    since = {asked.query.get("since") for asked in api.server.asked if "after" in asked.query}
    assert since == {None, moment(3)}


def test_an_item_of_a_time_to_come_does_not_move_the_watermark(api: Api) -> None:
    feed = Feed()
    far = (datetime.now(UTC) - START).total_seconds() + 3600 * 24 * 365
    feed.add((1, 1), (far, 2))
    watching(api, feed)
    assert api.run().counts.warnings == {"FUTURE_WATERMARK": 1}
    feed.add((2, 3))
    api.run()
    assert sorted(api.ids()) == [1, 2, 3]
    assert feed.asked_from[-1] == moment(1)


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        pytest.param([1, 10, 9], "10", id="numbers"),
        pytest.param([1.5, 1.25], "1.5", id="decimals"),
        pytest.param(["a", "c", "b"], "c", id="text"),
        pytest.param(["9", "10"], "10", id="numbers as text"),
        pytest.param([2**70, 5], str(2**70), id="large numbers"),
        pytest.param(["2026-01-01T00:00:00+02:00", "2025-12-31T23:00:00Z"], "2025-12-31T23:00:00Z", id="time zones"),
        pytest.param([None, 3, {"a": 1}, [1]], "3", id="items without a value are records, and move nothing"),
    ],
)
def test_the_watermark_is_the_greatest_value_as_its_source_writes_it(api: Api, values: list[Any], asked: str) -> None:
    first = json_answer({"items": [{"id": n, "at": value} for n, value in enumerate(values)]})
    watching(api, in_turn(first, items()))
    api.run()
    assert len(api.ids()) == len(values)
    api.run()
    assert api.server.asked[-1].query["since"] == asked


def test_the_watermark_goes_into_a_body_where_it_is_told(api: Api) -> None:
    block = {
        "url": f"{api.server.url}/search",
        "method": "POST",
        "body": '{"filter": {"kind": "claim", "since": null}, "size": 100}',
        "items_pointer": "/items",
        "inject": [{"body": "/filter/since", "from": "watermark"}],
    }
    api.folder.interface("api", driver={"kind": "rest", "rest": block}, incremental={"field": "/at"})
    api.play(in_turn(json_answer({"items": [{"id": 1, "at": moment(7)}]}), items()))
    api.run()
    api.run()
    bodies = [json.loads(asked.body) for asked in api.server.asked]
    assert bodies[0]["filter"] == {"kind": "claim", "since": None}
    assert bodies[1] == {"filter": {"kind": "claim", "since": moment(7)}, "size": 100}
    assert api.server.asked[1].headers["content-length"] == str(len(api.server.asked[1].body))


def windowed(api: Api, feed: Any, start: str, step: str, **more: Any) -> Api:
    return api.play(feed).says(
        items_pointer="/items",
        inject=[{"param": "from", "from": "window_start"}, {"param": "to", "from": "window_end"}],
        members={"incremental": {"field": "/at", "mode": "window", "start": start, "step": step, **more}},
    )


def test_each_window_is_asked_for_once_by_both_its_ends(api: Api) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first = hour - timedelta(hours=3)
    text = first.isoformat().replace("+00:00", "Z")

    def feed(asked: Asked) -> Answer:
        # One item before the window, one at its start, one at its end: the middle one belongs to it.
        begin, end = (datetime.fromisoformat(asked.query[name]) for name in ("from", "to"))
        moments = [begin - timedelta(seconds=1), begin, end]
        return json_answer({"items": [{"id": n, "at": at.isoformat()} for n, at in enumerate(moments)]})

    windowed(api, feed, text, "PT1H")
    report = api.run()
    assert len(api.server.asked) == 3
    assert api.ids() == [1, 1, 1]
    assert report.counts.skipped == {"outside_window": 6}
    ends = [(asked.query["from"], asked.query["to"]) for asked in api.server.asked]
    assert [end for _, end in ends[:-1]] == [begin for begin, _ in ends[1:]]
    assert ends[0][0] == text
    api.run()
    assert len(api.server.asked) == 3, "a window that is done is not asked for again"


def test_a_window_that_fails_is_asked_for_again_and_the_others_are_not(api: Api) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    text = (hour - timedelta(hours=3)).isoformat().replace("+00:00", "Z")
    failing = iter([False, True, True])

    def feed(asked: Asked) -> Answer:
        if next(failing, False):
            return Answer(503)
        return json_answer({"items": [{"id": 1, "at": asked.query["from"]}]})

    windowed(api, feed, text, "PT1H")
    assert api.fails().code == "REST.STATUS"
    assert api.ids() == [1]
    api.run()
    assert api.ids() == [1, 1, 1]
    starts = [asked.query["from"] for asked in api.server.asked]
    assert starts[1] == starts[2] == starts[3]
    assert len(set(starts)) == 3


@settings(max_examples=15)
@given(
    st.lists(st.lists(st.integers(0, 20), max_size=5), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_whatever_arrives_within_the_lateness_is_committed_once(
    tmp_path_factory: pytest.TempPathFactory, arrivals: list[list[int]], page_size: int, max_pages: int
) -> None:
    """Rows arrive up to 20 s late while passes are under way; the server's own list is the oracle."""
    folder = ProjectFolder(tmp_path_factory.mktemp("law") / "project")
    feed = Feed(page_size=page_size)
    with http_server(feed) as server:
        api = watching(Api(folder, server), feed, lateness_s=20, max_pages=max_pages)
        for number, late in enumerate(arrivals, 1):
            feed.add(*((number * 7.0 - seconds, number * 100 + n) for n, seconds in enumerate(late)))
            api.run()
        # The pass that was under way when the last row came, and one that began behind it.
        for _ in range(2):
            while api.run().stopped:
                pass
    assert sorted(api.ids()) == sorted(number for _, number in feed.rows)
