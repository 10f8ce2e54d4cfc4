"""Where requests go: to what is declared, at the address that is dialled, and never with what is not meant for it."""

import json
import socket
import traceback
from typing import Any

import pytest

from rootsys_dagster.core.errors import RootsysError
from tests.certificates import good
from tests.http_server import Answer, Asked, HttpServer, http_server, in_turn, json_answer
from tests.rest.api import Api, items
from tests.rest.conftest import Serve

SECRET = "s3cret-word"
METADATA = "http://169.254.169.254/latest/meta-data/"
LINK: dict[str, Any] = {"pagination": {"kind": "link"}}
NEXT: dict[str, Any] = {
    "pagination": {"kind": "next_url", "next_url": {"next_url_path": "/next"}},
    "items_pointer": "/items",
}
CREDENTIALS: list[Any] = [
    pytest.param({"auth": {"kind": "bearer", "bearer": {"token": "env://API_SECRET"}}}, id="bearer"),
    pytest.param({"auth": {"kind": "basic", "basic": {"username": "app", "password": "env://API_SECRET"}}}, id="basic"),
    pytest.param(
        {"auth": {"kind": "api_key", "api_key": {"in": "header", "name": "X-Key", "value": "env://API_SECRET"}}},
        id="key in a header",
    ),
    pytest.param(
        {"auth": {"kind": "api_key", "api_key": {"in": "query", "name": "key", "value": "env://API_SECRET"}}},
        id="key in the query",
    ),
    pytest.param({"headers": {"X-Custom": "env://API_SECRET"}}, id="a header of the file"),
    pytest.param({"headers": {"Cookie": "session=${API_SECRET}"}}, id="a cookie of the file"),
    pytest.param({"params": {"token": "env://API_SECRET"}}, id="a parameter of the file"),
]


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_SECRET", SECRET)


def moved(location: str, status: int = 302) -> Answer:
    return Answer(status, b"", {"Location": location, "Set-Cookie": "session=1"})


def other_name(server: HttpServer) -> str:
    """The same server by another name, which is another origin."""
    return f"http://localhost:{server.port}"


def resolving(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> None:
    """What the system's resolver says of names (an underscore stands for a dot); no server can show this."""
    real = socket.getaddrinfo
    known = {name.replace("_", "."): list(addresses) for name, addresses in names.items()}

    def lookup(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in known:
            return real(host, port, *args, **kwargs)
        family = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in known[host]]
        return [(kind, socket.SOCK_STREAM, 6, "", (at, port)) for kind, at in zip(family, known[host], strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


def test_redirects_are_refused_when_nothing_is_said(api: Api) -> None:
    error = api.play(in_turn(moved("/elsewhere"), items(1))).says().fails()
    assert error.code == "REST.REDIRECT"
    assert len(api.server.asked) == 1


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "GET", "GET"),
        (302, "GET", "GET"),
        (303, "GET", "GET"),
        (307, "GET", "GET"),
        (308, "GET", "GET"),
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
    ],
)
def test_a_redirect_within_the_origin_is_followed_as_the_standard_says(
    api: Api, status: int, method: str, then: str
) -> None:
    body: dict[str, Any] = {} if method == "GET" else {"body": "text"}
    api.play(in_turn(moved("/elsewhere?x=1", status), items(1)))
    api.says(method=method, redirects="same_origin", items_pointer="/items", headers={"X-Line": "L1"}, **body).run()
    second = api.server.asked[1]
    assert (second.method, second.target, second.headers["x-line"]) == (then, "/elsewhere?x=1", "L1")
    assert second.body == (b"text" if then == method != "GET" else b"")
    assert "cookie" not in second.headers
    assert api.ids() == [1]


def test_httpbin_redirects_and_is_followed_within_its_origin(api: Api, httpbin_url: str) -> None:
    api.says(f"{httpbin_url}/redirect/3", redirects="same_origin").run()
    assert api.payloads()[0]["url"] == f"{httpbin_url}/get"
    assert api.says(f"{httpbin_url}/redirect/3").fails().code == "REST.REDIRECT"


def test_redirects_that_do_not_end_are_named(api: Api) -> None:
    error = api.play(moved("/again")).says(redirects="same_origin").fails()
    assert error.code == "REST.REDIRECT"
    assert len(api.server.asked) == 6


@pytest.mark.parametrize("location", ["http://[", "http://127.0.0.1:99999/", "ftp://127.0.0.1/", "//", "http:///x"])
def test_a_redirect_to_what_is_no_url_is_named(api: Api, location: str) -> None:
    error = api.play(moved(location)).says(redirects="declared_hosts").fails()
    assert error.code in ("REST.URL_INVALID", "REST.REDIRECT")


@pytest.mark.parametrize("rest", CREDENTIALS)
def test_nothing_of_the_interface_file_goes_to_another_origin(api: Api, serve: Serve, rest: dict[str, Any]) -> None:
    other = serve(lambda _: items(1))
    api.play(moved(f"{other_name(other)}/elsewhere"))
    api.says(redirects="declared_hosts", hosts=["localhost"], items_pointer="/items", **rest).run()
    (request,) = other.asked
    assert request.headers.keys() <= {"host", "accept", "user-agent", "accept-encoding"}
    assert request.target == "/elsewhere"
    first = json.dumps([api.server.asked[0].headers, api.server.asked[0].target])
    assert SECRET in first or "Basic " in first


def test_another_port_is_another_origin(api: Api, serve: Serve) -> None:
    other = serve(lambda _: items(1))
    api.play(moved(f"{other.url}/elsewhere")).says(redirects="same_origin", **CREDENTIALS[0].values[0])
    assert api.fails().code == "REST.REDIRECT"
    assert not other.asked


def test_a_body_is_not_sent_to_another_origin(api: Api, serve: Serve) -> None:
    other = serve(lambda _: items(1))
    api.play(moved(f"{other_name(other)}/x", 307))
    api.says(method="POST", body=SECRET, redirects="declared_hosts", hosts=["localhost"])
    assert api.fails().code == "REST.REDIRECT"
    assert not other.asked


@pytest.mark.parametrize("redirects", ["same_origin", "declared_hosts"])
@pytest.mark.parametrize(
    "location", [METADATA, "http://other.example/x", "http://[::ffff:10.0.0.1]/", "http://2130706433/"]
)
def test_a_redirect_to_what_is_not_declared_is_named(api: Api, redirects: str, location: str) -> None:
    error = api.play(moved(location)).says(redirects=redirects).fails()
    assert error.code == "REST.HOST_NOT_DECLARED"


@pytest.fixture
def tls(tmp_path: Any) -> Any:
    """A server over TLS and the file of its authority."""
    certificates = good(tmp_path)
    with http_server(lambda _: items(1), certificates.server) as server:
        yield server, str(certificates.ca_file)


@pytest.mark.parametrize("redirects", ["same_origin", "declared_hosts"])
def test_https_never_leads_to_http(api: Api, tls: tuple[HttpServer, str], redirects: str) -> None:
    server, ca_file = tls
    server.play = lambda _: moved(f"{api.server.url}/plain")
    api.says(f"{server.url}/items", ca_file=ca_file, redirects=redirects, **CREDENTIALS[0].values[0])
    assert api.fails().code == "REST.REDIRECT"
    assert not api.server.asked


def linked(url: str) -> Answer:
    return json_answer([{"id": 1}], Link=f'<{url}>; rel="next"')


def test_a_next_link_from_https_to_http_is_not_followed(api: Api, tls: tuple[HttpServer, str]) -> None:
    server, ca_file = tls
    server.play = lambda _: linked(f"{api.server.url}/plain")
    api.says(f"{server.url}/items", ca_file=ca_file, **LINK, **CREDENTIALS[0].values[0])
    assert api.fails().code == "REST.REDIRECT"
    assert not api.server.asked


@pytest.mark.parametrize("rest", CREDENTIALS)
def test_a_next_link_to_another_declared_host_takes_nothing_along(api: Api, serve: Serve, rest: dict[str, Any]) -> None:
    other = serve(lambda _: json_answer([{"id": 2}]))
    api.play(linked(f"{other_name(other)}/page")).says(hosts=["localhost"], **LINK, **rest).run()
    (request,) = other.asked
    assert request.headers.keys() <= {"host", "accept", "user-agent", "accept-encoding"}
    assert SECRET not in request.target
    assert api.ids() == [1, 2]


@pytest.mark.parametrize("url", [METADATA, "http://other.example/", "//other.example/x", "http://localhost/"])
@pytest.mark.parametrize("kind", ["link", "next_url"])
def test_a_next_page_on_a_host_that_is_not_declared_is_named_and_what_was_read_is_known(
    api: Api, kind: str, url: str
) -> None:
    if kind == "link":
        api.play(linked(url)).says(**LINK)
    else:
        api.play(items(1, next=url)).says(**NEXT)
    error = api.fails()
    assert error.code == "REST.HOST_NOT_DECLARED"
    assert len(api.server.asked) == 1


@pytest.mark.parametrize("url", ["http://[", "ftp://127.0.0.1/", "http://127.0.0.1:0/"])
def test_a_next_page_that_is_no_url_is_named(api: Api, url: str) -> None:
    assert api.play(items(1, next=url)).says(**NEXT).fails().code == "REST.URL_INVALID"


def test_a_next_link_that_repeats_the_key_is_kept_without_it(api: Api) -> None:
    """Some sources build the link from the URL that they were asked by, key and all."""

    def play(asked: Asked) -> Answer:
        number = int(asked.query.get("p", 0))
        more = {"Link": f'<{api.server.url}/items?key={SECRET}&p={number + 1}>; rel="next"'} if number < 3 else {}
        return json_answer([{"id": number}], **more) if asked.query.get("key") == SECRET else Answer(401)

    api.play(play).says(**LINK, **CREDENTIALS[3].values[0]).run()
    assert api.ids() == [0, 1, 2, 3]
    assert SECRET not in json.dumps(api.manifests())
    assert all(SECRET.encode() not in line for line in api.lines())


def test_a_next_link_that_repeats_another_credential_is_refused(api: Api) -> None:
    api.play(linked(f"{api.server.url}/items?again={SECRET}")).says(**LINK, **CREDENTIALS[0].values[0])
    error = api.fails()
    assert error.code == "REST.SECRET_ECHOED"
    assert SECRET not in error.message


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["172.16.0.1"],
        ["192.168.1.1"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["0.0.0.0"],
        ["224.0.0.1"],
        ["::1"],
        ["fe80::1"],
        ["fd00::1"],
        ["::ffff:127.0.0.1"],
        ["::ffff:169.254.169.254"],
        ["64:ff9b::a9fe:a9fe"],
    ],
    ids=lambda found: found[0],
)
def test_a_name_that_leads_to_a_private_address_is_not_dialled(
    api: Api, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolving(monkeypatch, api_example_com=addresses)
    error = api.says(f"http://api.example.com:{api.server.port}/items", timeout_ms=500).fails()
    assert error.code == "REST.ADDRESS_NOT_DECLARED"
    assert not api.server.asked


def test_a_name_may_lead_to_a_private_address_that_is_declared(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, api_example_com=["127.0.0.1"])
    url = f"http://api.example.com:{api.server.port}/items"
    api.play(items(1)).says(url, hosts=["127.0.0.0/8"], items_pointer="/items").run()
    assert api.ids() == [1]
    assert api.server.asked[0].headers["host"] == f"api.example.com:{api.server.port}"


def test_of_several_addresses_only_those_that_may_are_dialled(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[str] = []
    resolving(monkeypatch, api_example_com=["10.0.0.1", "127.0.0.1", "169.254.169.254"])
    real = socket.create_connection

    def connect(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
        dialled.append(address[0])
        return real(address, *args, **kwargs)

    monkeypatch.setattr(socket, "create_connection", connect)
    url = f"http://api.example.com:{api.server.port}/items"
    api.play(items(1)).says(url, hosts=["127.0.0.1"], items_pointer="/items").run()
    assert set(dialled) == {"127.0.0.1"}


def test_a_name_that_changes_its_address_meanwhile_is_judged_anew(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: good when it is looked at first, private when the next connection is made."""
    addresses = [["127.0.0.1"], ["169.254.169.254"]]
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "api.example.com":
            return real(host, port, *args, **kwargs)
        found = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found[0], port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    page = {"kind": "page", "page": {"page_param": "page", "page_size_param": "size", "page_size": 1}}
    one = items(1)
    api.play(Answer(200, one.body, {**one.headers, "Connection": "close"}))
    url = f"http://api.example.com:{api.server.port}/items"
    error = api.says(url, hosts=["127.0.0.1"], pagination=page, items_pointer="/items").fails()
    assert error.code == "REST.ADDRESS_NOT_DECLARED"
    assert api.ids() == [1]


def test_the_token_endpoint_is_guarded_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, login_example_com=["10.0.0.1"])
    block = {"token_url": "http://login.example.com/token", "client_id": "a", "client_secret": "env://API_SECRET"}
    auth = {"kind": "oauth2_client_credentials", "oauth2_client_credentials": block}
    assert api.says(auth=auth).fails().code == "REST.ADDRESS_NOT_DECLARED"
    assert not api.server.asked


def test_a_host_is_compared_without_regard_to_case(api: Api) -> None:
    api.play(items(1)).says(f"http://LOCALHOST:{api.server.port}/items", items_pointer="/items").run()
    assert api.ids() == [1]


@pytest.fixture
def through(serve: Serve) -> HttpServer:
    """A forward proxy: it is asked for whole URLs."""
    return serve(lambda _: items(9))


def test_proxies_of_the_environment_are_not_used_unless_asked(
    api: Api, through: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, through.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    api.play(items(1)).says(items_pointer="/items").run()
    assert api.ids() == [1]
    assert not through.asked
    api.says(items_pointer="/items", proxy="environment").run()
    assert api.ids() == [9]
    assert through.asked[0].target == f"{api.server.url}/items"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    api.run()
    assert api.ids() == [1]


def test_a_proxy_that_is_named_is_used_with_its_password(
    api: Api, through: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", "pr0xy-word")
    proxy = f"http://me:${{PROXY_PASSWORD}}@127.0.0.1:{through.port}"
    api.says("http://api.example.com/items", proxy=proxy, items_pointer="/items").run()
    assert api.ids() == [9]
    (request,) = through.asked
    assert request.target == "http://api.example.com/items"
    assert request.headers["proxy-authorization"].startswith("Basic ")


def test_a_proxy_that_is_not_there_is_named(api: Api) -> None:
    error: RootsysError = api.says(proxy="http://127.0.0.1:9/", timeout_ms=300).fails()
    assert error.code in ("REST.UNREACHABLE", "REST.PROXY_REFUSED")


@pytest.mark.parametrize(
    "proxy", ["env://PROXY", "http://me:${PROXY}@127.0.0.1:x/", "socks5://127.0.0.1:1080", "http://${PROXY}:port/"]
)
def test_a_proxy_that_is_no_url_of_one_is_named_and_its_password_is_not(
    api: Api, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("PROXY", "pr0xy/word:1 2")
    error = api.says(proxy=proxy).fails()
    assert error.code == "REST.PROXY_INVALID"
    assert "pr0xy" not in "".join(traceback.format_exception(error))
