"""An HTTP source that is read window by window: each once, as a whole, and nothing beyond its ends."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from rootsys_dagster.core.errors import ConfigError, TransientError
from rootsys_dagster.core.incremental import Window, instant_text, parse_instant
from rootsys_dagster.log.verify import verify_log
from rootsys_dagster.pipeline.run import ingest, open_line
from tests.conftest import ProjectFolder

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = TODAY - timedelta(days=3)
PAGE_SIZE = 10


class Hourly:
    """An API with one event an hour, that knows whole days only: it gives every event of each day that is touched."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.fail_page: int | None = None

    def events(self, query: dict[str, str]) -> list[dict[str, Any]]:
        begin, end = (parse_instant(query[name]) for name in ("from", "to"))
        assert begin is not None
        assert end is not None
        moments = [START - timedelta(days=1) + timedelta(hours=hour) for hour in range(24 * 6)]
        found = [moment for moment in moments if begin.date() <= moment.date() <= end.date()]
        page = int(query["page"])
        return [
            {"id": moment.isoformat(), "at": instant_text(moment)}
            for moment in found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
        ]


@contextmanager
def serving(api: Hourly) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = dict(parse_qsl(urlsplit(self.path).query))
            api.asked.append(query)
            failing = api.fail_page == int(query["page"])
            body = b"" if failing else json.dumps({"items": api.events(query)}).encode()
            self.send_response(503 if failing else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/events"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def api() -> Hourly:
    return Hourly()


@pytest.fixture
def hourly(project: ProjectFolder, api: Hourly) -> Iterator[ProjectFolder]:
    with serving(api) as url:
        write(project, url)
        yield project


def write(project: ProjectFolder, url: str, max_pages: int = 100) -> None:
    page = {"page_param": "page", "page_size_param": "size", "page_size": PAGE_SIZE, "max_pages": max_pages}
    rest = {
        "url": url,
        "items_pointer": "/items",
        "pagination": {"kind": "page", "page": page},
        "inject": [{"param": "from", "from": "window_start"}, {"param": "to", "from": "window_end"}],
        "retry": {"max_attempts": 1},
    }
    project.interface(
        "hourly",
        driver={"kind": "rest", "rest": rest},
        incremental={"field": "/at", "mode": "window", "start": instant_text(START), "step": "P1D"},
        record_id_paths=["/id"],
    )


def ids(project: ProjectFolder) -> list[str]:
    return [record["record_id"] for record in project.records("hourly")]


def expected(days: int) -> list[str]:
    return [(START + timedelta(hours=hour)).isoformat() for hour in range(24 * days)]


def test_every_window_that_has_passed_is_read_once(hourly: ProjectFolder, api: Hourly) -> None:
    report = hourly.run("hourly")
    assert ids(hourly) == expected(3)
    assert report.end == {
        "windows": [[instant_text(START), instant_text(TODAY)]],
        "window": [instant_text(TODAY - timedelta(days=1)), instant_text(TODAY)],
    }
    assert report.counts.skipped["outside_window"] > 0
    asked = len(api.asked)
    assert hourly.run("hourly").manifests == []
    assert len(api.asked) == asked
    assert not verify_log(hourly.log("hourly"))


def test_one_window_may_be_asked_for_and_again(hourly: ProjectFolder) -> None:
    window = Window(START + timedelta(days=1), START + timedelta(days=2))
    for wanted in (24, 24):
        project = hourly.load()
        line = open_line(project.interface("hourly"), project, window=window)
        with line.log.writer("run") as writer:
            ingest(line, writer, line.driver.read(writer.position))
        assert ids(hourly) == expected(2)[24:]
        assert len(ids(hourly)) == wanted
    hourly.run("hourly")
    assert sorted(ids(hourly)) == expected(3)


def test_a_window_that_breaks_off_leaves_nothing_half_read(hourly: ProjectFolder, api: Hourly) -> None:
    api.fail_page = 2
    with pytest.raises(TransientError):
        hourly.run("hourly")
    assert any(query["page"] == "2" for query in api.asked)
    assert ids(hourly) == []
    api.fail_page = None
    hourly.run("hourly")
    assert ids(hourly) == expected(3)


def test_a_window_with_too_many_pages_is_an_error_and_not_half_a_window(project: ProjectFolder, api: Hourly) -> None:
    with serving(api) as url:
        write(project, url, max_pages=2)
        with pytest.raises(ConfigError) as caught:
            project.run("hourly")
    assert caught.value.code == "REST.WINDOW_TOO_LARGE"
    assert ids(project) == []
