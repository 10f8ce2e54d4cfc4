"""From page to page: where each way of paging goes, where it ends, and what a run does that is left half way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.http_server import Answer, Asked, in_turn, json_answer
from tests.http_services import datasette
from tests.rest.api import Api, items

LAST = 7
ROWS = 50_000


def cursor(**more: Any) -> dict[str, Any]:
    return {"kind": "cursor", "cursor": {"cursor_param": "after", "cursor_path": "/next", **more}}


def page(**more: Any) -> dict[str, Any]:
    return {"kind": "page", "page": {"page_param": "page", "page_size_param": "size", "page_size": 2, **more}}


def offset(**more: Any) -> dict[str, Any]:
    return {"kind": "offset", "offset": {"offset_param": "skip", "limit_param": "take", "limit": 2, **more}}


def by_cursor(asked: Asked) -> Answer:
    """Pages 0 to LAST with one item each."""
    number = int(asked.query.get("after", 0))
    return items(number, next=str(number + 1) if number < LAST else None)


def by_page(asked: Asked) -> Answer:
    """Pages 1 to LAST with two items each, and empty ones behind."""
    number = int(asked.query["page"])
    return items(*range(number * 2, number * 2 + 2)) if number <= LAST else items()


def by_offset(asked: Asked) -> Answer:
    first, size = int(asked.query["skip"]), int(asked.query["take"])
    return items(*range(first, min(first + size, LAST)))


def by_link(asked: Asked) -> Answer:
    number = int(asked.query.get("p", 0))
    links = f'<?p={number - 1}>; rel="prev", <?p={number + 1}>; title="a, b"; rel="last next"'
    return json_answer([{"id": number}], **({"Link": links} if number < LAST else {}))


def by_next_url(asked: Asked) -> Answer:
    number = int(asked.query.get("p", 0))
    return items(number, next=f"/items?p={number + 1}" if number < LAST else None)


KINDS: list[Any] = [
    pytest.param(by_cursor, {"pagination": cursor(), "items_pointer": "/items"}, list(range(LAST + 1)), id="cursor"),
    pytest.param(by_page, {"pagination": page(), "items_pointer": "/items"}, list(range(2, 2 * LAST + 2)), id="page"),
    pytest.param(by_offset, {"pagination": offset(), "items_pointer": "/items"}, list(range(LAST)), id="offset"),
    pytest.param(by_link, {"pagination": {"kind": "link"}}, list(range(LAST + 1)), id="link"),
    pytest.param(
        by_next_url,
        {"pagination": {"kind": "next_url", "next_url": {"next_url_path": "/next"}}, "items_pointer": "/items"},
        list(range(LAST + 1)),
        id="next_url",
    ),
]


def with_most(rest: dict[str, Any], max_pages: int) -> dict[str, Any]:
    """The same with at most so many pages a run."""
    kind = rest["pagination"]["kind"]
    block = rest["pagination"].get(kind, {}) | {"max_pages": max_pages}
    return rest | {"pagination": {"kind": kind, kind: block}}


@pytest.mark.parametrize(("play", "rest", "ids"), KINDS)
def test_every_page_is_read_once_and_in_order(
    api: Api, play: Callable[[Asked], Answer], rest: dict[str, Any], ids: list[int]
) -> None:
    report = api.play(play).says(**rest).run()
    assert api.ids() == ids
    assert report.stopped is None
    targets = [asked.target for asked in api.server.asked]
    assert len(set(targets)) == len(targets)
    assert api.server.connections == 1, "the connection is kept"


@pytest.mark.parametrize(("play", "rest", "ids"), KINDS)
def test_max_pages_is_a_stop_with_a_name_and_the_next_run_goes_on(
    api: Api, play: Callable[[Asked], Answer], rest: dict[str, Any], ids: list[int]
) -> None:
    api.play(play).says(**with_most(rest, 2))
    stops: list[str | None] = []
    while not stops or stops[-1] is not None:
        stops.append(api.run().stopped)
        assert len(stops) < 10
    assert set(stops[:-1]) == {"driver.rest.pagination.max_pages"}
    assert len(stops) > 2
    assert api.ids() == ids
    targets = [asked.target for asked in api.server.asked]
    assert len(set(targets)) == len(targets), "no page was read twice"


@pytest.mark.parametrize(("play", "rest", "ids"), KINDS)
def test_a_failure_in_the_middle_keeps_what_was_read_and_the_next_run_goes_on(
    api: Api, play: Callable[[Asked], Answer], rest: dict[str, Any], ids: list[int]
) -> None:
    failing = iter([False, False, True, True, False])
    api.play(lambda asked: Answer(503) if next(failing, False) else play(asked)).says(**rest)
    assert api.fails().code == "REST.STATUS"
    assert api.ids() == ids[: len(api.ids())] != ids
    api.run()
    assert api.ids() == ids


@pytest.mark.parametrize(("play", "rest", "ids"), KINDS)
def test_a_pass_replaces_the_one_before(
    api: Api, play: Callable[[Asked], Answer], rest: dict[str, Any], ids: list[int]
) -> None:
    api.play(play).says(**rest)
    api.run()
    api.run()
    assert api.ids() == ids
    assert [manifest["end"] for manifest in api.manifests()][-1] == {"pass": 2}


@pytest.mark.parametrize(
    ("following", "sent"),
    [
        pytest.param("abc", "abc", id="text"),
        pytest.param("a b/ü&=", "a b/ü&=", id="text that has to be encoded"),
        pytest.param(7, "7", id="number"),
        pytest.param(1.50, "1.5", id="decimal number"),
        pytest.param(12345678901234567890123, "12345678901234567890123", id="large number"),
        pytest.param(True, "true", id="true"),
        pytest.param(False, "false", id="false"),
        pytest.param(0, "0", id="zero"),
        pytest.param(None, None, id="null ends"),
        pytest.param("", None, id="empty text ends"),
        pytest.param({"a": 1}, None, id="an object ends"),
        pytest.param(["a"], None, id="an array ends"),
    ],
)
def test_what_is_a_cursor_and_what_ends(api: Api, following: Any, sent: str | None) -> None:
    api.play(in_turn(items(1, next=following), items(2))).says(pagination=cursor(), items_pointer="/items").run()
    queries = [asked.query for asked in api.server.asked]
    assert queries == [{}] if sent is None else [{}, {"after": sent}]


@pytest.mark.parametrize(("initial", "sent"), [(None, {}), ("", {"after": ""}), ("start", {"after": "start"})])
def test_the_first_request_has_the_initial_cursor_only_when_there_is_one(
    api: Api, initial: str | None, sent: dict[str, str]
) -> None:
    more = {} if initial is None else {"initial_cursor": initial}
    api.play(items(1)).says(pagination=cursor(**more), items_pointer="/items").run()
    assert [asked.query for asked in api.server.asked] == [sent]


def test_the_same_cursor_again_ends(api: Api) -> None:
    """Some sources give the last cursor back when there is nothing more."""
    api.play(in_turn(items(1, next="a"), items(2, next="a"))).says(pagination=cursor(), items_pointer="/items").run()
    assert api.ids() == [1, 2]


def test_a_page_that_is_missing_its_items_is_a_failure_on_every_page(api: Api) -> None:
    api.play(in_turn(items(1, next="a"), json_answer({"next": "b"}))).says(pagination=cursor(), items_pointer="/items")
    assert api.fails().code == "REST.ITEMS_MISSING"
    assert api.ids() == [1]


def test_a_page_without_items_does_not_end_a_cursor(api: Api) -> None:
    api.play(in_turn(items(1, next="a"), items(next="b"), items(next="c"), items(4)))
    api.says(pagination=cursor(), items_pointer="/items").run()
    assert api.ids() == [1, 4]


def test_page_numbers_start_where_they_are_told_and_end_at_the_first_empty_page(api: Api) -> None:
    api.play(by_page).says(pagination=page(initial_page=6), items_pointer="/items").run()
    assert [asked.query for asked in api.server.asked] == [{"page": n, "size": "2"} for n in ("6", "7", "8")]


def test_without_an_items_pointer_an_object_is_one_record_a_page_up_to_max_pages(api: Api) -> None:
    report = api.play(lambda asked: json_answer({"at": asked.query["page"]})).says(pagination=page(max_pages=3)).run()
    assert [payload["at"] for payload in api.payloads()] == ["1", "2", "3"]
    assert report.stopped == "driver.rest.pagination.max_pages"


def test_the_cap_is_a_hundred_pages_when_nothing_is_said(api: Api) -> None:
    api.play(lambda asked: items(int(asked.query["page"]))).says(pagination=page(), items_pointer="/items")
    assert api.run().stopped == "driver.rest.pagination.max_pages"
    assert len(api.server.asked) == 100
    api.run()
    assert api.ids() == list(range(1, 201))


def test_a_page_that_is_not_full_does_not_end_the_pages(api: Api) -> None:
    api.play(in_turn(items(1), items(2, 3), items())).says(pagination=page(), items_pointer="/items").run()
    assert api.ids() == [1, 2, 3]


@pytest.mark.parametrize(
    ("link", "more"),
    [
        pytest.param('<?p=1>; rel="next"', True, id="relative"),
        pytest.param("<?p=1>; rel=next", True, id="without quotes"),
        pytest.param('<?p=1>;rel="prev next"', True, id="several relations"),
        pytest.param('<?p=9>; rel="prev", <?p=1>; rel="next"', True, id="the second link"),
        pytest.param('<?p=9>; rel="prev"', False, id="another relation"),
        pytest.param('<?p=9>; rel="nextish"', False, id="a longer relation"),
        pytest.param("nonsense", False, id="no link at all"),
        pytest.param('<?p=1>; title="rel=next"', False, id="the word in a title"),
    ],
)
def test_which_link_is_followed(api: Api, link: str, more: bool) -> None:
    api.play(in_turn(json_answer([{"id": 0}], Link=link), json_answer([{"id": 1}]))).says(pagination={"kind": "link"})
    api.run()
    assert [asked.query for asked in api.server.asked] == [{}, {"p": "1"}][: 1 + more]


@pytest.mark.parametrize(("play", "rest", "ids"), KINDS[1:3])
@pytest.mark.parametrize("in_flight", [2, 4, 16])
def test_several_pages_in_flight_are_taken_in_order(
    api: Api, play: Callable[[Asked], Answer], rest: dict[str, Any], ids: list[int], in_flight: int
) -> None:
    kind = rest["pagination"]["kind"]
    rest = rest | {"pagination": {"kind": kind, kind: rest["pagination"][kind] | {"in_flight": in_flight}}}

    def late(asked: Asked) -> Answer:
        """Even pages take longer, so that odd ones overtake them."""
        first = int(asked.query.get("page", asked.query.get("skip", 0)))
        api.server.closing.wait(0.02 if first % 4 < 2 else 0)
        return play(asked)

    api.play(late).says(**rest).run()
    assert api.ids() == ids
    assert api.server.connections > 1


def test_a_failure_behind_pages_in_flight_keeps_those_before_it(api: Api) -> None:
    api.play(lambda asked: Answer(500) if asked.query["page"] == "4" else by_page(asked))
    api.says(pagination=page(in_flight=4), items_pointer="/items")
    assert api.fails().code == "REST.STATUS"
    assert api.ids() == list(range(2, 8))


@pytest.mark.parametrize(
    ("answers", "pagination"),
    [
        pytest.param(
            [items(1, next="a"), items(2, next="b"), items(3, next="a")], cursor(), id="a cursor that was there before"
        ),
        pytest.param([items(1), items(1)], page(), id="a page number that is ignored"),
        pytest.param([items(1), items(2), items(1)], offset(), id="a body that was there before"),
        pytest.param(
            [items(1, next="/a"), items(2, next="/b"), items(3, next="/a")],
            {"kind": "next_url", "next_url": {"next_url_path": "/next"}},
            id="a URL that was there before",
        ),
        pytest.param(
            [items(1, next="/items")],
            {"kind": "next_url", "next_url": {"next_url_path": "/next"}},
            id="a URL that is its own",
        ),
    ],
)
def test_a_circle_is_an_error_with_a_name_and_what_was_read_is_kept(
    api: Api, answers: list[Answer], pagination: dict[str, Any]
) -> None:
    api.play(in_turn(*answers)).says(pagination=pagination, items_pointer="/items")
    error = api.fails()
    assert error.code == "REST.PAGINATION_LOOP"
    assert type(error).__name__ == "PaginationLoopError"
    assert len(api.server.asked) <= len(answers) + 1
    if len(answers) > 1:
        assert api.ids() == list(range(1, len(set(api.ids())) + 1))


def test_records_that_move_while_they_are_paged_through_are_reported(api: Api) -> None:
    """An item is inserted before the second page is asked for, so the last of the first page comes again."""
    report = api.play(in_turn(items(1, 2), items(2, 3), items())).says(pagination=page(), items_pointer="/items").run()
    assert report.counts.warnings == {"PAGE_DRIFT": 1}
    assert api.manifests()[-1]["counts"]["warnings"] == {"PAGE_DRIFT": 1}
    assert api.ids() == [1, 2, 2, 3]


def test_a_total_that_changes_is_reported(api: Api) -> None:
    api.play(in_turn(items(1, 2, total=9), items(3, 4, total=8), items(total=8)))
    report = api.says(pagination=page(total_pointer="/total"), items_pointer="/items").run()
    assert report.counts.warnings == {"PAGE_DRIFT": 1}


def test_pages_that_hold_still_are_not_reported(api: Api) -> None:
    api.play(by_page).says(pagination=page(), items_pointer="/items")
    assert api.run().counts.warnings == {}


def test_what_was_asked_stands_in_the_commit(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_SECRET", "s3cret-word")
    api.play(by_page).says(
        "/items?a=1", pagination=page(), headers={"X-Key": "env://API_SECRET"}, items_pointer="/items"
    )
    api.run()
    asked = json.dumps(api.manifests()[0]["asked"])
    assert f"GET {api.server.url}/items?a=1&page=1&size=2" in asked
    assert "env://API_SECRET" in asked
    assert "s3cret-word" not in asked


def test_each_record_names_its_page(api: Api) -> None:
    api.play(by_page).says(pagination=page(), items_pointer="/items").run()
    assert api.places()[:3] == [{"page": 1, "item": 0}, {"page": 1, "item": 1}, {"page": 2, "item": 0}]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("datasette")
    with datasette(folder, ROWS, 1000) as url:
        yield url


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        pytest.param(
            "/shop/orders.json?_shape=objects&_size=1000",
            {
                "items_pointer": "/rows",
                "pagination": {"kind": "cursor", "cursor": {"cursor_param": "_next", "cursor_path": "/next"}},
            },
            id="next token",
        ),
        pytest.param(
            "/shop/orders.json?_shape=objects&_size=1000",
            {
                "items_pointer": "/rows",
                "pagination": {"kind": "next_url", "next_url": {"next_url_path": "/next_url"}},
            },
            id="next URL",
        ),
        pytest.param("/shop/orders.json?_shape=array&_size=1000", {"pagination": {"kind": "link"}}, id="Link header"),
    ],
)
def test_fifty_thousand_rows_of_datasette_arrive_once_each(
    api: Api, shop: str, path: str, rest: dict[str, Any]
) -> None:
    report = api.says(shop + path, **rest).run()
    assert report.stopped is None
    assert report.counts.accepted == ROWS
    assert api.ids() == list(range(1, ROWS + 1))
