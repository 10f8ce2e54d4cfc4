"""What is sent is what the interface file says, with every reference filled in and nothing else."""

import json
from typing import Any

import pytest

from tests.http_server import Asked
from tests.rest.api import Api


def asked(api: Api) -> Asked:
    """The one request that a run makes."""
    api.run()
    (request,) = api.server.asked
    return request


def test_a_plain_interface_sends_one_get(api: Api) -> None:
    request = asked(api.says("/items?kind=a%20b&kind=c&empty="))
    assert (request.method, request.target, request.body) == ("GET", "/items?kind=a%20b&kind=c&empty=", b"")
    assert request.headers["accept-encoding"] == "gzip, deflate"
    assert request.headers["user-agent"].startswith("rootsys/")
    assert request.headers["host"] == f"127.0.0.1:{api.server.port}"
    assert not {"cookie", "authorization", "content-length", "content-type"} & request.headers.keys()


def test_method_headers_parameters_and_body_are_sent_as_written(api: Api) -> None:
    body = '{"b": 1.0,  "a": "ü"}'
    api.says(method="post", headers={"X-Line": "L1", "user-agent": "mine"}, params={"q": "ü & ö/+"}, body=body)
    request = asked(api)
    assert (request.method, request.body) == ("POST", body.encode())
    assert request.query == {"q": "ü & ö/+"}
    assert request.headers["x-line"] == "L1"
    assert request.headers["user-agent"] == "mine"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(body.encode()))


@pytest.mark.parametrize("method", ["GET", "DELETE", "PROPFIND", "REPORT"])
def test_a_body_goes_with_any_method(api: Api, method: str) -> None:
    request = asked(api.says(method=method, body="plain text"))
    assert (request.method, request.body) == (method, b"plain text")
    assert "content-type" not in request.headers


def test_a_parameter_replaces_the_one_of_the_url_and_leaves_the_others_to_the_letter(api: Api) -> None:
    request = asked(api.says("/items?a=%7E&page=1&b=x+y", params={"page": "7"}))
    assert request.target == "/items?a=%7E&b=x+y&page=7"


@pytest.mark.parametrize(
    "reference",
    ["env://API_WORD", "$API_WORD", "${API_WORD}", "secrets://API_WORD", "file://word"],
)
def test_a_reference_is_filled_in_wherever_it_stands(api: Api, monkeypatch: pytest.MonkeyPatch, reference: str) -> None:
    monkeypatch.setenv("API_WORD", "s3cret/ü +")
    secrets = api.folder.root / "secrets"
    secrets.mkdir()
    (secrets / "word").write_text("s3cret/ü +\n")
    request = asked(api.says(headers={"X-Key": reference}, params={"key": reference}, body=reference, method="PUT"))
    assert request.headers["x-key"].encode("latin-1").decode() == "s3cret/ü +"
    assert request.query == {"key": "s3cret/ü +"}
    assert request.body.decode() == "s3cret/ü +"


def test_a_reference_inside_a_text_is_filled_in_and_encoded_for_its_place(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_WORD", "a/b?c d")
    api.says("/items/${API_WORD}?k=${API_WORD}", headers={"X-Key": "Token ${API_WORD}"}, body="<${API_WORD}>")
    request = asked(api)
    assert request.target == "/items/a%2Fb%3Fc%20d?k=a%2Fb%3Fc%20d"
    assert request.headers["x-key"] == "Token a/b?c d"
    assert request.body == b"<a/b?c d>"


@pytest.mark.parametrize("value", [None, ""])
def test_a_secret_that_is_not_there_sends_nothing(api: Api, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("API_WORD", value)
    error = api.says(headers={"X-Key": "env://API_WORD"}).fails()
    assert error.code == "SECRET.MISSING"
    assert "API_WORD" in error.message
    assert not api.server.asked


def test_a_secret_bound_to_other_hosts_is_not_sent(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_WORD", "s3cret-word")
    monkeypatch.setenv("API_WORD_HOSTS", "api.example.com, other.example.com")
    assert api.says(headers={"X-Key": "env://API_WORD"}).fails().code == "SECRET.HOST_NOT_ALLOWED"
    assert not api.server.asked
    monkeypatch.setenv("API_WORD_HOSTS", "api.example.com,127.0.0.1")
    assert asked(api).headers["x-key"] == "s3cret-word"


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        pytest.param({"headers": {"X-Two": "a\r\nX-Injected: 1"}}, "REST.REQUEST_INVALID", id="line end in a header"),
        pytest.param({"headers": {"Ü": "a"}}, "REST.REQUEST_INVALID", id="header name"),
        pytest.param({"method": "GET /evil HTTP/1.1\r\n"}, "REST.REQUEST_INVALID", id="method"),
        pytest.param({"path": "ftp://127.0.0.1/x"}, "REST.URL_INVALID", id="another scheme"),
        pytest.param({"path": "file:///etc/passwd"}, "SECRET.OUTSIDE_ROOT", id="a file, which is a reference"),
        pytest.param({"path": "http://127.0.0.1:99999/x"}, "REST.URL_INVALID", id="no port"),
        pytest.param({"path": "http:///x"}, "REST.URL_INVALID", id="no host"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_a_name(api: Api, rest: dict[str, Any], code: str) -> None:
    error = api.says(**rest).fails()
    assert error.code == code
    assert not api.server.asked


def test_a_line_end_from_a_secret_cannot_add_a_header(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_WORD", "abcd\r\nX-Injected: 1")
    error = api.says(headers={"X-Key": "env://API_WORD"}).fails()
    assert error.code == "REST.REQUEST_INVALID"
    assert "abcd" not in error.message
    assert not api.server.asked


def test_an_independent_server_sees_the_same(api: Api, httpbin_url: str) -> None:
    body = '{"a": [1, 2.50]}'
    api.says(f"{httpbin_url}/anything/x?p=1", method="PATCH", headers={"X-Line": "L1"}, params={"ü": "é/&"}, body=body)
    api.run()
    (seen,) = api.payloads()
    assert seen["method"] == "PATCH"
    assert seen["args"] == {"p": "1", "ü": "é/&"}
    assert seen["data"] == body
    assert seen["headers"]["X-Line"] == "L1"
    assert json.loads(body) == seen["json"]
