"""A source that is slow, busy, broken or away: tried again or named, in time, and nothing is lost or doubled."""

import email.utils
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.core.errors import PermanentError, TransientError
from tests.command import rootsys
from tests.http_server import Answer, Asked, in_turn, json_answer, packed
from tests.proxy import Fault, Proxy, proxy
from tests.rest.api import Api, items
from tests.services import free_port

PAGES = {"kind": "page", "page": {"page_param": "page", "page_size_param": "size", "page_size": 50}}
SLACK_S = 2.0


def elapsed_s(call: Callable[[], object]) -> float:
    """How long *call* takes."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_tried_again(api: Api, status: int) -> None:
    api.play(in_turn(Answer(status), items(1))).says(items_pointer="/items").run()
    assert api.ids() == [1]
    assert len(api.server.asked) == 2


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "REST.BAD_REQUEST"),
        (401, "REST.UNAUTHORIZED"),
        (403, "REST.FORBIDDEN"),
        (404, "REST.NOT_FOUND"),
        (409, "REST.STATUS"),
        (410, "REST.NOT_FOUND"),
        (418, "REST.STATUS"),
        (501, "REST.STATUS"),
        (505, "REST.STATUS"),
        (300, "REST.REDIRECT"),
        (304, "REST.REDIRECT"),
        (999, "REST.STATUS"),
    ],
)
def test_a_status_that_stays_is_named_at_once(api: Api, status: int, code: str) -> None:
    error = api.play(Answer(status, b"secret text of the source")).says(items_pointer="/items").fails()
    assert isinstance(error, PermanentError)
    assert error.code == code
    assert f"HTTP {status}" in error.message
    assert "secret text" not in error.message
    assert len(api.server.asked) == 1


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_httpbin_says_the_same(api: Api, httpbin_url: str, status: int) -> None:
    error = api.says(f"{httpbin_url}/status/{status}").fails()
    assert isinstance(error, TransientError) is (status in (429, 500, 503))
    assert f"/status/{status}: HTTP {status}" in error.message


def test_attempts_end_after_as_many_as_the_policy_allows(api: Api) -> None:
    retry = {"max_attempts": 4, "base_delay_ms": 1, "max_delay_ms": 2}
    assert api.play(Answer(503)).says(retry=retry).fails().code == "REST.STATUS"
    assert len(api.server.asked) == 4


def test_three_attempts_when_nothing_is_said(api: Api) -> None:
    api.folder.interface("api", driver={"kind": "rest", "rest": {"url": api.server.url}})
    assert elapsed_s(api.play(Answer(503)).fails) >= 0.08 + 0.16
    assert len(api.server.asked) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for_in_both_forms(api: Api, form: str) -> None:
    text = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
    api.play(in_turn(Answer(429, headers={"Retry-After": text}), items(1))).says(items_pointer="/items")
    assert 0.9 <= elapsed_s(api.run) < 5
    assert api.ids() == [1]


@pytest.mark.parametrize("text", ["-5", "soon", "", "1.5", "Wed, 21 Oct 1998 07:28:00 GMT", "9" * 400, "99999999"])
def test_retry_after_of_any_text_is_capped_or_not_heeded(api: Api, text: str) -> None:
    api.play(in_turn(Answer(503, headers={"Retry-After": text}), items(1)))
    api.says(items_pointer="/items", max_retry_after_s=0)
    assert elapsed_s(api.run) < 3
    assert api.ids() == [1]


def test_a_pause_that_would_end_after_the_deadline_is_not_begun(api: Api) -> None:
    api.play(Answer(503, headers={"Retry-After": "30"})).says(deadline_ms=500)
    error: list[Exception] = []
    assert elapsed_s(lambda: error.append(api.fails())) < 0.5 + SLACK_S
    assert error[0].retry_after_s == 30  # pyright: ignore[reportAttributeAccessIssue]
    assert len(api.server.asked) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"},
        {"RateLimit-Remaining": "0", "RateLimit-Reset": "1"},
        {"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": "epoch"},
    ],
)
def test_a_limit_that_is_used_up_is_waited_for(api: Api, headers: dict[str, str]) -> None:
    at = {name: str(int(time.time()) + 2) if value == "epoch" else value for name, value in headers.items()}
    page = json_answer({"items": [{"id": 1}]}, **at)
    api.play(in_turn(page, items())).says(items_pointer="/items", pagination=PAGES)
    assert 0.9 <= elapsed_s(api.run) < 5


@pytest.mark.parametrize("reset", ["nan", "inf", "1e400", "-9", "soon", "9" * 400])
def test_a_limit_that_makes_no_sense_stops_nothing(api: Api, reset: str) -> None:
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    page = json_answer({"items": [{"id": 1}]}, **headers)
    api.play(in_turn(page, items())).says(items_pointer="/items", pagination=PAGES, deadline_ms=1500)
    with suppress(TransientError):
        assert elapsed_s(api.run) < 1.5 + SLACK_S
    assert api.ids() == [1]


def test_a_limit_that_is_used_up_for_longer_than_a_page_may_take_is_named_and_not_waited_for(api: Api) -> None:
    page = json_answer({"items": [{"id": 1}]}, **{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"})
    api.play(in_turn(page, items())).says(items_pointer="/items", pagination=PAGES, deadline_ms=700)
    error: list[Exception] = []
    assert elapsed_s(lambda: error.append(api.fails())) < 0.7 + SLACK_S
    assert isinstance(error[0], TransientError)
    assert api.ids() == [1]


def test_two_processes_share_one_rate_limit(api: Api) -> None:
    """Ten requests at twenty a second, by two commands at once: no faster than one alone may be."""
    for name in ("one", "two"):
        rest = {
            "url": f"{api.server.url}/{name}",
            "items_pointer": "/items",
            "pagination": PAGES,
            "rate_limit": {"requests_per_s": 10, "burst": 1},
        }
        api.folder.interface(name, driver={"kind": "rest", "rest": rest})
    times: list[float] = []

    def play(asked: Asked) -> Answer:
        times.append(time.monotonic())
        return items(int(asked.query["page"])) if int(asked.query["page"]) < 8 else items()

    api.play(play)
    program = Path(sys.executable).with_name("rootsys")
    processes = [
        subprocess.Popen([program, "run", name], cwd=api.folder.root, stdout=subprocess.DEVNULL)
        for name in ("one", "two")
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(times) == 16
    times.sort()
    # In any second at most ten, with one more for the clock's sake.
    assert all(later - earlier > 0.95 for earlier, later in zip(times, times[11:], strict=False))


def breaker(failure_threshold: int, open_timeout_ms: int) -> dict[str, Any]:
    return {
        "circuit_breaker": {"failure_threshold": failure_threshold, "open_timeout_ms": open_timeout_ms},
        "retry": {"max_attempts": 1},
    }


def test_the_breaker_opens_across_runs_leaves_the_source_alone_and_is_seen(api: Api) -> None:
    """RS-53 to RS-55 with runs instead of calls: each is a driver of its own."""
    api.play(items(1)).says(items_pointer="/items", **breaker(2, 60_000)).run()
    api.play(Answer(503))
    assert api.fails().code == "REST.STATUS"
    assert api.fails().code == "REST.STATUS"
    asked = len(api.server.asked)
    assert api.fails().code == "CIRCUIT.OPEN"
    assert len(api.server.asked) == asked
    assert (
        "left alone" in rootsys("show", "api", cwd=api.folder.root).stdout + rootsys("show", cwd=api.folder.root).stdout
    )


@pytest.mark.alone
def test_the_breaker_lets_one_probe_through_and_closes_when_it_succeeds(api: Api) -> None:
    api.play(Answer(503)).says(items_pointer="/items", **breaker(1, 300))
    api.fails()
    assert api.fails().code == "CIRCUIT.OPEN"
    api.server.closing.wait(0.4)
    api.play(items(1)).run()
    assert api.ids() == [1]
    api.run()


def test_a_404_counts_for_the_breaker_too(api: Api) -> None:
    api.play(Answer(404)).says(**breaker(1, 60_000))
    assert api.fails().code == "REST.NOT_FOUND"
    assert api.fails().code == "CIRCUIT.OPEN"


def test_nobody_listens(api: Api) -> None:
    error = api.says(f"http://127.0.0.1:{free_port()}/items").fails()
    assert error.code == "REST.UNREACHABLE"
    assert isinstance(error, TransientError)


def test_a_name_that_leads_nowhere(api: Api) -> None:
    assert api.says("http://no-such-host.invalid/items", deadline_ms=5000).fails().code == "REST.UNREACHABLE"


def test_a_source_that_says_nothing_is_given_up_after_the_timeout(api: Api) -> None:

    def silent(_: Asked) -> Answer:
        api.server.closing.wait(20)
        return items()

    api.play(silent)
    api.says(timeout_ms=200, retry={"max_attempts": 2, "base_delay_ms": 1})
    assert elapsed_s(lambda: api.fails()) < 0.4 + SLACK_S


def test_a_source_that_drips_is_cut_off_at_the_deadline(api: Api) -> None:
    """Each wait is short, so that no timeout of a client ever passes."""
    api.play(lambda _: Answer(200, [b" "] * 1000, framing="chunked", pause_s=0.05))
    api.says(timeout_ms=5000, deadline_ms=1000)
    error: list[Any] = []
    assert elapsed_s(lambda: error.append(api.fails())) < 1.0 + SLACK_S
    assert error[0].code == "REST.DEADLINE"


@contextmanager
def dripping_headers() -> Iterator[int]:
    """A server that never comes to the end of its headers; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            with suppress(OSError):
                one, _ = listener.accept()
                with one:
                    one.sendall(b"HTTP/1.1 200 OK\r\n")
                    while not done.wait(0.05):
                        one.sendall(b"X: y\r\n")

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()


def test_headers_that_drip_are_cut_off_too(api: Api) -> None:
    with dripping_headers() as port:
        api.says(f"http://127.0.0.1:{port}/", timeout_ms=5000, deadline_ms=1000)
        error: list[Any] = []
        assert elapsed_s(lambda: error.append(api.fails())) < 1.0 + SLACK_S
    assert error[0].code == "REST.DEADLINE"


def test_httpbin_drips_and_is_cut_off(api: Api, httpbin_url: str) -> None:
    api.says(f"{httpbin_url}/drip?duration=20&numbytes=40&delay=0", response_format="text", deadline_ms=1000)
    error: list[Any] = []
    assert elapsed_s(lambda: error.append(api.fails())) < 1.0 + SLACK_S
    assert error[0].code == "REST.DEADLINE"


def test_the_deadline_holds_over_all_attempts_and_their_pauses(api: Api) -> None:
    retry = {"max_attempts": 1000, "base_delay_ms": 50, "max_delay_ms": 50}
    api.play(Answer(503)).says(retry=retry, deadline_ms=800)
    assert elapsed_s(lambda: api.fails()) < 0.8 + SLACK_S
    assert len(api.server.asked) > 3


@pytest.mark.alone
def test_a_run_has_a_deadline_too_and_keeps_what_it_has(api: Api) -> None:
    def play(asked: Asked) -> Answer:
        api.server.closing.wait(0.25)
        return items(int(asked.query["page"]))

    members = {"limits": {"max_run_s": 1}, "commit_every": {"records": 1}}
    api.play(play).says(items_pointer="/items", pagination=PAGES, members=members)
    with suppress(TransientError):
        assert api.run().stopped == "limits.max_run_s"
    first = len(api.ids())
    assert 0 < first < 10
    with suppress(TransientError):
        api.run()
    assert api.ids() == list(range(1, len(api.ids()) + 1))
    assert len(api.ids()) > first


def test_a_body_above_the_limit_is_named_and_not_read_to_its_end(api: Api) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1 << 30:
            sent += 1 << 16
            yield b" " * (1 << 16)

    api.play(lambda _: Answer(200, endless(), framing="chunked")).says(max_body_bytes=1 << 20)
    assert api.fails().code == "REST.BODY_TOO_LARGE"
    assert sent < 16 << 20


def test_a_gzip_bomb_is_named_in_bounded_memory(api: Api) -> None:
    """A quarter of a gigabyte in a quarter of a megabyte; the kernel says what the process that reads it has used."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    bomb = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(256)) + packer.flush()
    assert len(bomb) < 1 << 19
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    api.play(Answer(200, bomb, headers)).says(max_decoded_bytes=8 << 20)
    probe = (
        "import sys\n"
        "from rootsys_dagster.cli.main import execute\n"
        "status = execute(['run', 'api'])\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=api.folder.root, capture_output=True, text=True, timeout=60, check=False
    )
    assert "[REST.BODY_TOO_LARGE]" in done.stderr
    assert int(done.stderr.split()[-1]) < 150_000, "kilobytes"


TRUNCATED: list[Any] = [
    pytest.param(Answer(200, b'{"items": [{"id": 1}', length=100), id="shorter than announced"),
    pytest.param(Answer(200, [b'{"items": []}'], framing="chunked", chunk_end=False), id="no last chunk"),
    pytest.param(
        Answer(200, packed(b'{"items": [{"id": 1}]}' * 50)[:-5], {"Content-Encoding": "gzip"}), id="gzip cut short"
    ),
    pytest.param(
        Answer(200, packed(b'{"items": []}' * 50)[:-8] + b"\0" * 8, {"Content-Encoding": "gzip"}), id="gzip checksum"
    ),
    pytest.param(Answer(200, b"no gzip at all", {"Content-Encoding": "gzip"}), id="no gzip"),
    pytest.param(
        Answer(200, packed(b'{"items": []}' * 50)[:-5], {"Content-Encoding": "gzip"}, framing="none"),
        id="gzip cut short without a length",
    ),
]


@pytest.mark.parametrize("answer", TRUNCATED)
def test_a_body_that_is_cut_short_is_tried_again_and_never_used(api: Api, answer: Answer) -> None:
    api.play(in_turn(answer, items(1, 2))).says(items_pointer="/items").run()
    assert api.ids() == [1, 2]
    assert len(api.server.asked) == 2


@pytest.mark.parametrize("answer", TRUNCATED)
def test_a_body_that_stays_cut_short_is_named(api: Api, answer: Answer) -> None:
    error = api.play(answer).says(items_pointer="/items").fails()
    assert error.code == "REST.BODY_TRUNCATED"
    assert api.manifests() == []


def test_a_body_whose_end_cannot_be_told_is_flagged_on_every_record(api: Api) -> None:
    api.play(Answer(200, b'{"items": [{"id": 1}, {"id": 2}]}', {"Content-Type": "application/json"}, framing="none"))
    api.says(items_pointer="/items").run()
    assert api.places() == [{"item": 0, "unframed": True}, {"item": 1, "unframed": True}]


@pytest.mark.parametrize("kept", [10, 25, 32])
def test_half_a_json_body_without_a_length_is_named(api: Api, kept: int) -> None:
    body = b'{"items": [{"id": 1}, {"id": 2}]}'
    api.play(Answer(200, body[:kept], {"Content-Type": "application/json"}, framing="none")).says(
        items_pointer="/items"
    )
    if kept == len(body):
        api.run()
    else:
        assert api.fails().code in ("REST.BODY_NOT_JSON", "REST.BODY_TRUNCATED")
        assert api.manifests() == []


class Pages:
    """Five pages of fifty items, each on a connection of its own so that bytes count from its beginning."""

    last = 5

    def __init__(self) -> None:
        self.proxy: Proxy | None = None
        self.fault: Fault | None = None

    def answer(self, number: int) -> Answer:
        ids = range(number * 50, number * 50 + 50) if number <= self.last else ()
        page = items(*ids)
        return Answer(200, page.body, {**page.headers, "Connection": "close"})

    def __call__(self, asked: Asked) -> Answer:
        number = int(asked.query["page"])
        if number == 3 and self.proxy is not None and self.proxy.fault is None:
            self.proxy.fault = self.fault
        return self.answer(number)


def response_bytes(api: Api) -> int:
    """The length of the response to page 3 on the wire."""
    with socket.create_connection(("127.0.0.1", api.server.port)) as one:
        one.sendall(b"GET /items?page=3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        length = 0
        while data := one.recv(1 << 16):
            length += len(data)
    return length


@pytest.mark.parametrize("place", ["0", "1", "100", "half", "last"])
@pytest.mark.parametrize("kind", ["cut", "reset", "black_hole"])
@pytest.mark.parametrize("times", [1, 1000], ids=["once", "always"])
def test_a_connection_that_breaks_at_any_byte_is_tried_again_or_named(
    api: Api, kind: Any, place: str, times: int
) -> None:
    pages = Pages()
    api.play(pages)
    length = response_bytes(api)
    at = {"0": 0, "1": 1, "100": 100, "half": length // 2, "last": length - 1}[place]
    with proxy("127.0.0.1", api.server.port) as through:
        pages.proxy, pages.fault = through, Fault(kind, at, times)
        url = f"http://127.0.0.1:{through.port}/items"
        retry = {"max_attempts": 2, "base_delay_ms": 1}
        api.says(url, items_pointer="/items", pagination=PAGES, timeout_ms=150, deadline_ms=2000, retry=retry)
        if times == 1:
            assert elapsed_s(api.run) < 2 + SLACK_S
        else:
            error: list[Any] = []
            assert elapsed_s(lambda: error.append(api.fails())) < 2 + SLACK_S
            assert error[0].code in ("REST.UNREACHABLE", "REST.TIMEOUT", "REST.BODY_TRUNCATED", "REST.DEADLINE")
            assert api.ids() == list(range(50, 150))
            through.fault = Fault("cut", 0, 0)
            api.run()
        assert through.fired >= 1, "the fault did not happen"
    assert api.ids() == list(range(50, 300))


@pytest.mark.parametrize("delay_s", [0.05, 0.4])
def test_a_slow_line_is_waited_for_or_named(api: Api, delay_s: float) -> None:
    """Each block comes late: below the timeout it is waited for, above it the page is given up by name."""
    api.play(Pages())
    with proxy("127.0.0.1", api.server.port) as through:
        through.delay_s = delay_s
        api.says(
            f"http://127.0.0.1:{through.port}/items",
            items_pointer="/items",
            pagination=PAGES,
            timeout_ms=200,
            deadline_ms=1000,
        )
        if delay_s < 0.2:
            api.run()
            assert api.ids() == list(range(50, 300))
        else:
            error: list[Any] = []
            assert elapsed_s(lambda: error.append(api.fails())) < 1 + SLACK_S
            assert error[0].code in ("REST.TIMEOUT", "REST.DEADLINE")


def test_a_connection_that_the_source_has_closed_meanwhile_is_no_failure(api: Api) -> None:
    """Keep-alive ends when the source likes."""
    pages = Pages()
    api.play(lambda asked: pages.answer(int(asked.query["page"]))).says(
        items_pointer="/items", pagination=PAGES, retry={"max_attempts": 1}
    )
    api.run()
    assert api.ids() == list(range(50, 300))
    assert api.server.connections == 6
