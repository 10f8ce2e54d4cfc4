"""Signing in: every kind against servers that check it, tokens that expire, and answers that are no token."""

import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rootsys_dagster.drivers.rest import auth
from tests.http_server import Answer, Asked, HttpServer, in_turn, json_answer
from tests.http_services import OAUTH_SECRET, OAuthServer
from tests.rest.api import Api, items
from tests.rest.conftest import Serve
from tests.services import wait_for


@pytest.fixture(autouse=True)
def _no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process."""
    auth._tokens.clear()
    monkeypatch.setenv("API_SECRET", "s3cret/+ %:ü")


def api_key(place: str, name: str = "X-Key") -> dict[str, Any]:
    return {"kind": "api_key", "api_key": {"in": place, "name": name, "value": "env://API_SECRET"}}


def client_credentials(token_url: str, client: str = "by-post", **more: str) -> dict[str, Any]:
    block = {"token_url": token_url, "client_id": client, "client_secret": "env://API_SECRET", **more}
    return {"kind": "oauth2_client_credentials", "oauth2_client_credentials": block}


def guarded(accepts: Callable[[str | None], bool], asked: list[Asked] | None = None) -> Callable[[Asked], Answer]:
    """A resource that opens to what *accepts* says."""

    def play(request: Asked) -> Answer:
        if asked is not None:
            asked.append(request)
        return items(1) if accepts(request.headers.get("authorization")) else Answer(401)

    return play


def tokens_of(api: Api) -> list[str]:
    """The Authorization header of every request."""
    return [request.headers.get("authorization", "") for request in api.server.asked]


def test_an_api_key_goes_into_its_header(api: Api) -> None:
    api.says(auth=api_key("header")).run()
    assert api.server.asked[0].headers["x-key"].encode("latin-1").decode() == OAUTH_SECRET


def test_an_api_key_goes_into_the_query_and_not_into_what_is_kept(api: Api) -> None:
    api.play(items(1)).says("/items?a=1", auth=api_key("query", "key"), items_pointer="/items").run()
    assert api.server.asked[0].query == {"a": "1", "key": OAUTH_SECRET}
    assert api.records()[0]["metadata"]["source_details"]["locator"] == f"{api.server.url}/items?a=1"


@pytest.mark.parametrize(("path", "works"), [("basic-auth/app/s3cret-word", True), ("basic-auth/app/other", False)])
def test_basic_signs_in_at_httpbin(
    api: Api, httpbin_url: str, monkeypatch: pytest.MonkeyPatch, path: str, works: bool
) -> None:
    monkeypatch.setenv("API_SECRET", "s3cret-word")
    basic = {"kind": "basic", "basic": {"username": "app", "password": "env://API_SECRET"}}
    api.says(f"{httpbin_url}/{path}", auth=basic)
    if works:
        api.run()
        assert api.payloads() == [{"authenticated": True, "user": "app"}]
    else:
        assert api.fails().code == "REST.UNAUTHORIZED"


def test_bearer_signs_in_at_httpbin_which_repeats_the_token_and_is_refused(
    api: Api, httpbin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """httpbin's /bearer answers with the token: that must not become a record."""
    monkeypatch.setenv("API_SECRET", "s3cret-word")
    bearer = {"kind": "bearer", "bearer": {"token": "env://API_SECRET"}}
    assert api.says(f"{httpbin_url}/bearer", auth=bearer).fails().code == "REST.SECRET_ECHOED"
    api.says(f"{httpbin_url}/bearer", auth=bearer, on_echo="mask").run()
    assert api.payloads() == [{"authenticated": True, "token": "***"}]


def test_the_literal_kinds_do_not_sign_in_again_after_a_401(api: Api) -> None:
    bearer = {"kind": "bearer", "bearer": {"token": "env://API_SECRET"}}
    error = api.play(Answer(401)).says(auth=bearer).fails()
    assert error.code == "REST.UNAUTHORIZED"
    assert len(api.server.asked) == 1


@pytest.mark.parametrize("client_auth", ["body", "basic"])
def test_client_credentials_of_both_ways_open_the_resource(api: Api, oauth: OAuthServer, client_auth: str) -> None:
    client = {"body": "by-post", "basic": "by-basic"}[client_auth]
    sign_in = client_credentials(oauth.token_url, client, client_auth=client_auth, scope="read")
    api.play(guarded(oauth.accepts)).says(auth=sign_in, items_pointer="/items").run()
    assert api.ids() == [1]
    (header,) = tokens_of(api)
    assert header.startswith("Bearer ")


@pytest.mark.parametrize("client_auth", ["body", "basic"])
def test_a_wrong_secret_is_named_and_the_resource_is_not_asked(
    api: Api, oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch, client_auth: str
) -> None:
    monkeypatch.setenv("API_SECRET", "not this one")
    client = {"body": "by-post", "basic": "by-basic"}[client_auth]
    error = api.says(auth=client_credentials(oauth.token_url, client, client_auth=client_auth)).fails()
    assert error.code == "REST.UNAUTHORIZED"
    assert "/oauth/token" in error.message
    assert not api.server.asked


def test_a_token_is_shared_by_runs_and_renewed_before_it_expires(api: Api, oauth: OAuthServer) -> None:
    """It lives for seven seconds and is renewed five before its end, so that no run ever meets a 401."""
    api.play(guarded(oauth.accepts)).says(auth=client_credentials(oauth.token_url), items_pointer="/items")
    api.run()
    api.run()
    first, second = tokens_of(api)
    assert first == second

    def renewed() -> str | None:
        api.run()
        last = tokens_of(api)[-1]
        return last if last != first else None

    wait_for("another token", renewed, 10)
    assert oauth.accepts(first), "the first one was still good when it was given up"


def test_a_token_that_was_revoked_is_renewed_once_and_the_run_goes_on(api: Api, oauth: OAuthServer) -> None:
    api.play(guarded(oauth.accepts)).says(auth=client_credentials(oauth.token_url), items_pointer="/items").run()
    (first,) = tokens_of(api)
    oauth.revoke(first)
    api.run()
    assert api.ids() == [1]
    assert tokens_of(api)[1] == first
    assert len(set(tokens_of(api))) == 2


def test_a_401_that_stays_is_a_failure_after_one_renewal(api: Api, oauth: OAuthServer) -> None:
    error = api.play(Answer(401)).says(auth=client_credentials(oauth.token_url)).fails()
    assert error.code == "REST.UNAUTHORIZED"
    assert len(set(tokens_of(api))) == len(tokens_of(api)) == 2


def front(oauth: OAuthServer, serve: Serve, *faults: Answer) -> HttpServer:
    """Stands before the token endpoint, and answers itself as long as it has *faults*."""
    remaining = list(faults)

    def play(asked: Asked) -> Answer:
        if remaining:
            return remaining.pop(0)
        kept = {name: asked.headers[name] for name in ("content-type", "authorization") if name in asked.headers}
        with urllib.request.urlopen(urllib.request.Request(oauth.token_url, asked.body, kept), timeout=10) as answer:
            return Answer(answer.status, answer.read(), {"Content-Type": "application/json"})

    return serve(play)


def test_a_token_endpoint_that_is_busy_is_tried_again(api: Api, oauth: OAuthServer, serve: Serve) -> None:
    tokens = front(oauth, serve, Answer(503), Answer(502))
    sign_in = client_credentials(f"{tokens.url}/token")
    retry = {"max_attempts": 3, "base_delay_ms": 1}
    api.play(guarded(oauth.accepts)).says(auth=sign_in, items_pointer="/items", retry=retry).run()
    assert api.ids() == [1]
    assert len(tokens.asked) == 3
    assert len(api.server.asked) == 1


def test_a_token_endpoint_that_stays_busy_is_a_failure_with_its_name(api: Api, serve: Serve) -> None:
    tokens = serve(lambda _: Answer(503))
    error = api.says(auth=client_credentials(f"{tokens.url}/token")).fails()
    assert error.code == "REST.STATUS"
    assert "/token: HTTP 503" in error.message
    assert not api.server.asked


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(json_answer({"error": "invalid_client"}), "REST.TOKEN_MISSING", id="200 without a token"),
        pytest.param(json_answer({"access_token": ""}), "REST.TOKEN_MISSING", id="empty token"),
        pytest.param(json_answer({"access_token": 7}), "REST.TOKEN_MISSING", id="a number"),
        pytest.param(json_answer(b"[]"), "REST.TOKEN_MISSING", id="another shape"),
        pytest.param(Answer(200, b"<html>"), "REST.TOKEN_MISSING", id="HTML"),
        pytest.param(Answer(200, b""), "REST.TOKEN_MISSING", id="nothing"),
        pytest.param(json_answer({"access_token": "x" * 30, "expires_in": "soon"}), "REST.TOKEN_MISSING", id="expiry"),
        pytest.param(Answer(400), "REST.BAD_REQUEST", id="400"),
        pytest.param(Answer(302, b"", {"Location": "/login"}), "REST.REDIRECT", id="redirect"),
        pytest.param(Answer(204), "REST.STATUS", id="204"),
    ],
)
def test_what_is_no_token_is_named_and_not_sent(api: Api, serve: Serve, answer: Answer, code: str) -> None:
    tokens = serve(lambda _: answer)
    error = api.says(auth=client_credentials(f"{tokens.url}/token"), redirects="same_origin").fails()
    assert error.code == code
    assert not api.server.asked


@pytest.mark.parametrize(
    ("expires_in", "reused"),
    [
        pytest.param({}, True, id="300 seconds when it does not say"),
        pytest.param({"expires_in": 3600}, True, id="number"),
        pytest.param({"expires_in": "3600"}, True, id="number as text"),
        pytest.param({"expires_in": None}, True, id="null"),
    ],
)
def test_a_token_is_kept_for_as_long_as_it_says(api: Api, serve: Serve, expires_in: Any, reused: bool) -> None:
    tokens = serve(lambda asked: json_answer({"access_token": "token-of-a-test", **expires_in}))
    api.says(auth=client_credentials(f"{tokens.url}/token"))
    api.run()
    api.run()
    assert (len(tokens.asked) == 1) is reused


def test_the_form_is_what_the_standard_says(api: Api, serve: Serve) -> None:
    """RFC 6749: sections 4.4.2 and 2.3.1, with the client's id and secret encoded before they are joined."""
    tokens = serve(lambda _: json_answer({"access_token": "token-of-a-test"}))
    api.says(auth=client_credentials(f"{tokens.url}/token", "a b", scope="read write")).run()
    (request,) = tokens.asked
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.body == (
        b"grant_type=client_credentials&client_id=a+b&client_secret=s3cret%2F%2B+%25%3A%C3%BC&scope=read+write"
    )


def test_several_runs_at_once_fetch_one_token(api: Api, serve: Serve) -> None:
    tokens = serve(lambda _: json_answer({"access_token": "token-of-a-test"}))
    names = [f"api{number}" for number in range(4)]
    for name in names:
        rest = {"url": f"{api.server.url}/items", "auth": client_credentials(f"{tokens.url}/token")}
        api.folder.interface(name, driver={"kind": "rest", "rest": rest})
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(api.folder.run, names))
    assert len(tokens.asked) == 1
    assert len(api.server.asked) == 4


def test_a_token_in_the_answer_of_the_resource_is_refused(api: Api, serve: Serve) -> None:
    tokens = serve(lambda _: json_answer({"access_token": "token-of-a-test"}))
    api.play(lambda asked: json_answer({"you sent": asked.headers["authorization"]}))
    error = api.says(auth=client_credentials(f"{tokens.url}/token")).fails()
    assert error.code == "REST.SECRET_ECHOED"
    assert "token-of-a-test" not in error.message


def test_another_token_after_a_401_for_every_page_that_needs_it(api: Api, serve: Serve) -> None:
    """A token may run out in the middle of a pass."""
    issued = [f"token-number-{number}" for number in range(10)]
    tokens = serve(lambda _: json_answer({"access_token": issued[len(tokens.asked) - 1]}))
    used: list[str] = []

    def play(asked: Asked) -> Answer:
        header = asked.headers["authorization"]
        used.append(header)
        page = int(asked.query["page"])
        if used.count(header) > 2:
            return Answer(401)
        return items(page) if page <= 5 else items()

    page = {"kind": "page", "page": {"page_param": "page", "page_size_param": "size", "page_size": 1}}
    api.play(play).says(auth=client_credentials(f"{tokens.url}/token"), pagination=page, items_pointer="/items").run()
    assert api.ids() == [1, 2, 3, 4, 5]
    assert len(tokens.asked) == 3


def test_a_renewed_token_that_cannot_be_had_leaves_what_was_read(api: Api, serve: Serve) -> None:
    tokens = serve(in_turn(json_answer({"access_token": "token-of-a-test"}), Answer(403)))
    page = {"kind": "page", "page": {"page_param": "page", "page_size_param": "size", "page_size": 1}}
    api.play(in_turn(items(1), Answer(401)))
    error = api.says(auth=client_credentials(f"{tokens.url}/token"), pagination=page, items_pointer="/items").fails()
    assert error.code == "REST.FORBIDDEN"
    assert api.ids() == [1]
