"""A REST interface from the command line and in Dagster, as people use it; and the smoke test of the reference."""

import json
from typing import Any

import pytest

from tests.command import events, json_lines, rootsys
from tests.http_server import Answer, Asked, json_answer
from tests.rest.api import Api
from tests.rest.conftest import Serve
from tests.services import dagster, dagster_home

SMOKE_COUNT = 200
CURSOR = {"kind": "cursor", "cursor": {"cursor_param": "after", "cursor_path": "/next", "max_pages": 2}}


def pages(asked: Asked) -> Answer:
    """Four pages of two items; the second item of each lacks what is required."""
    number = int(asked.query.get("after", 0))
    return json_answer(
        {"items": [{"id": number, "line": "L1"}, {"id": 100 + number}], "next": number + 1 if number < 3 else None}
    )


@pytest.fixture
def claims(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setenv("API_SECRET", "s3cret-word")
    bearer = {"kind": "bearer", "bearer": {"token": "env://API_SECRET"}}
    members = {"required_paths": ["/line"], "record_id_paths": ["/id"]}
    return api.play(pages).says("/items", members, items_pointer="/items", pagination=CURSOR, auth=bearer)


def test_preview_shows_the_request_and_the_first_records_and_commits_nothing(claims: Api) -> None:
    done = rootsys("preview", "api", "--limit", "3", cwd=claims.folder.root)
    assert done.returncode == 0, done.stderr
    assert f"GET {claims.server.url}/items" in done.stdout
    assert "bearer" in done.stdout
    assert "MISSING_REQUIRED_PATH /line" in done.stdout
    assert "3 units, 1 dead letter; nothing was committed" in done.stdout
    assert claims.manifests() == []
    assert len(claims.server.asked) == 2, "no page behind the limit"


def test_preview_goes_on_behind_the_last_commit_or_begins_anew(claims: Api) -> None:
    claims.run()
    (plan, first, *_) = json_lines(rootsys("preview", "api", "--json", cwd=claims.folder.root).stdout)
    assert plan["plan"]["request"].endswith("/items?after=2")
    assert json.loads(first["payload"])["id"] == 2
    begun = json_lines(
        rootsys("preview", "api", "--json", "--from-start", "--limit", "1", cwd=claims.folder.root).stdout
    )
    assert begun[0]["plan"]["request"].endswith("/items")


def test_preview_asks_nothing_when_no_records_are_wanted(claims: Api) -> None:
    assert rootsys("preview", "api", "--limit", "0", cwd=claims.folder.root).returncode == 0
    assert claims.server.asked == []


def test_check_asks_the_source_only_online(claims: Api) -> None:
    assert rootsys("check", "api", cwd=claims.folder.root).returncode == 0
    assert claims.server.asked == []
    assert rootsys("check", "--online", "api", cwd=claims.folder.root).returncode == 0
    assert len(claims.server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(401), "REST.UNAUTHORIZED"),
        (Answer(503), "REST.STATUS"),
        (Answer(200, b"<html>", {"Content-Type": "text/html"}), "REST.BODY_HTML"),
        (json_answer({"data": []}), "REST.ITEMS_MISSING"),
    ],
)
def test_check_online_names_what_would_stop_a_run(claims: Api, answer: Answer, code: str) -> None:
    done = rootsys("check", "--online", "api", cwd=claims.play(answer).folder.root)
    assert done.returncode == 2
    assert f"[{code}]" in done.stdout


def test_check_and_preview_say_which_secret_is_missing(claims: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_SECRET")
    for command in (["check", "--online", "api"], ["preview", "api"], ["run", "api"]):
        done = rootsys(*command, cwd=claims.folder.root)
        assert done.returncode != 0
        assert "env://API_SECRET" in done.stdout + done.stderr


def test_runs_go_on_until_the_source_is_done(claims: Api) -> None:
    first = rootsys("run", "api", cwd=claims.folder.root)
    assert first.returncode == 0, first.stderr
    assert "driver.rest.pagination.max_pages" in first.stdout + first.stderr
    second = rootsys("run", "api", cwd=claims.folder.root)
    assert sum(event["records"] for event in events(first.stdout + second.stdout, "commit")) == 4
    assert claims.ids() == [0, 1, 2, 3]
    assert len(claims.folder.dead_letters("api")) == 4


def test_a_failure_is_one_line_with_a_code_and_exit_1(claims: Api) -> None:
    done = rootsys("run", "api", cwd=claims.play(Answer(404)).folder.root)
    assert done.returncode == 1
    assert done.stderr.startswith("error: api: GET ")
    assert "[REST.NOT_FOUND]" in done.stderr


def test_dagster_runs_it_and_goes_on_after_a_failure_half_way(claims: Api) -> None:
    dagster_home(claims.folder.root)
    block = {"kind": "cursor", "cursor": {"cursor_param": "after", "cursor_path": "/next"}}
    bearer = {"kind": "bearer", "bearer": {"token": "env://API_SECRET"}}
    members = {"required_paths": ["/line"], "record_id_paths": ["/id"]}
    claims.says("/items", members, items_pointer="/items", pagination=block, auth=bearer)
    claims.play(lambda asked: Answer(404) if asked.query.get("after") == "2" else pages(asked))
    arguments = ["job", "execute", "-m", "rootsys_dagster.definitions", "-j", "api"]
    failed = dagster(claims.folder.root, *arguments, API_SECRET="s3cret-word")
    assert failed.returncode != 0
    assert "REST.NOT_FOUND" in failed.stderr
    assert claims.ids() == [0, 1]
    done = dagster(claims.play(pages).folder.root, *arguments, API_SECRET="s3cret-word")
    assert done.returncode == 0, done.stderr
    assert "Materialized value api." in done.stderr
    assert claims.ids() == [0, 1, 2, 3]
    firsts = [asked for asked in claims.server.asked if "after" not in asked.query]
    assert len(firsts) == 1, "what was committed was not asked for again"


def event(number: int) -> dict[str, Any]:
    return {
        "event_id": f"rest-{number:04d}",
        "status": "ok" if number % 2 else "warn",
        "line": f"L{(number - 1) % 20 + 1}",
    }


def test_the_rest_step_of_the_service_smoke(api: Api, serve: Serve) -> None:
    """A mock of the reference's shape, its strict interface through its own options, its counts and ids.

    Source: spec/1-reference.md 1.17.
    """
    mock = serve(
        lambda asked: (
            json_answer({"items": [event(number) for number in range(1, SMOKE_COUNT + 1)]})
            if asked.path == "/events"
            else Answer(404)
        )
    )
    root = api.folder.root
    rest = {"url": f"{mock.url}/events", "method": "GET", "response_format": "json", "items_pointer": "/items"}
    api.folder.interface(
        "rest-smoke",
        driver={"kind": "rest", "rest": rest},
        record_id_policy="strict",
        record_id_paths=["/event_id"],
        required_paths=["/event_id", "/status", "/line"],
    )
    done = rootsys("run", "--interface", "interfaces/rest-smoke.json", "--output", "out.jsonl", cwd=root)
    assert done.returncode == 0, done.stderr
    ids = [record["record_id"] for record in json_lines((root / "out.jsonl").read_bytes())]
    assert len(ids) == len(set(ids)) == SMOKE_COUNT
    assert (ids[0], ids[-1]) == ("rest-0001", f"rest-{SMOKE_COUNT:04d}")
    assert f"run 1: records={SMOKE_COUNT} | dead_letters=0" in done.stdout
