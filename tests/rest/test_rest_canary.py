"""No secret, in any form, in anything that is written: state, Dagster's storage, output, errors, dead letters."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from rootsys_dagster.secrets import encodings
from tests.certificates import unknown_authority
from tests.command import rootsys
from tests.http_server import Answer, Asked, http_server, json_answer
from tests.rest.api import Api, items
from tests.rest.conftest import Serve
from tests.services import dagster, dagster_home

CANARY = 'c4n4ry/+ %:"word'
TOKEN = "t0k3n-that-nobody-may-see"
KINDS = ["header key", "query key", "bearer", "basic", "oauth2", "header", "parameter", "body", "url", "proxy"]


def with_secret(kind: str, token_url: str) -> dict[str, Any]:
    """The members of ``driver.rest`` that send the canary, one kind of place at a time."""
    reference = "env://API_CANARY"
    match kind:
        case "header key":
            return {"auth": {"kind": "api_key", "api_key": {"in": "header", "name": "X-Key", "value": reference}}}
        case "query key":
            return {"auth": {"kind": "api_key", "api_key": {"in": "query", "name": "key", "value": reference}}}
        case "bearer":
            return {"auth": {"kind": "bearer", "bearer": {"token": reference}}}
        case "basic":
            return {"auth": {"kind": "basic", "basic": {"username": "app", "password": reference}}}
        case "oauth2":
            block = {"token_url": token_url, "client_id": "app", "client_secret": reference, "client_auth": "basic"}
            return {"auth": {"kind": "oauth2_client_credentials", "oauth2_client_credentials": block}}
        case "header":
            return {"headers": {"Cookie": "session=${API_CANARY}"}}
        case "parameter":
            return {"params": {"token": reference}}
        case "body":
            return {"method": "POST", "body": "secret=${API_CANARY}"}
        case "url":
            return {"path": "/items/${API_CANARY}"}
        case _:
            return {"proxy": "http://app:${API_CANARY}@127.0.0.1:9/", "timeout_ms": 200}


def echo(asked: Asked) -> Answer:
    """Everything that was sent, as a debugging page would show it."""
    return json_answer({"items": [{"id": 1, "you sent": [asked.target, asked.headers, asked.body.decode()]}]})


def bad_records(asked: Asked) -> Answer:
    """Records that become dead letters."""
    del asked
    return json_answer({"items": [{"no id": 1}, {"id": 2}]})


FATES: dict[str, Callable[[Asked], Answer]] = {
    "success": lambda _: items(1, 2),
    "dead letters": bad_records,
    "4xx": lambda asked: Answer(403, json.dumps([asked.target, asked.headers]).encode()),
    "5xx": lambda asked: Answer(500, json.dumps([asked.target, asked.headers]).encode(), reason="no " + CANARY),
    "echo": echo,
    "echo in headers": lambda asked: Answer(
        200,
        b'{"items": [{"id": 1}]}',
        {"Content-Type": "application/json; x=" + asked.headers.get("x-key", ""), "X-Seen": asked.target},
    ),
    "html": lambda asked: Answer(200, ("<p>" + asked.target).encode(), {"Content-Type": "text/html"}),
    "redirect": lambda asked: Answer(302, b"", {"Location": asked.target + "&again=1"}),
    "next link": lambda asked: json_answer({"items": [{"id": 1}], "next": "/items?k=" + asked.target}),
    "not json": lambda asked: json_answer(b"{" + asked.target.encode()),
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_CANARY", CANARY)


def forms() -> list[bytes]:
    """Each form of each secret; with Basic the pair that is sent is one, too."""
    pairs = [f"app:{CANARY}", f"app:{quote(CANARY, safe='')}"]
    return sorted({form.encode() for value in (CANARY, TOKEN, *pairs) for form in encodings(value)})


def everything_written(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below *root*, but the interface files and the server's own; and every cell of every SQLite file."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            data = path.read_bytes()
            yield str(path), data
            if data.startswith(b"SQLite format 3"):
                with closing(sqlite3.connect(path)) as connection:
                    for (table,) in connection.execute(
                        "SELECT name FROM sqlite_master WHERE type = 'table'"
                    ).fetchall():
                        for row in connection.execute(f'SELECT * FROM "{table}"'):
                            yield f"{path} {table}", repr(row).encode()


def found(texts: Iterator[tuple[str, bytes]]) -> list[str]:
    """Where a secret stands, and in which form."""
    return [f"{where}: {form.decode()}" for where, data in texts for form in forms() if form in data]


def said(api: Api, kind: str, token_url: str, **more: Any) -> None:
    members = with_secret(kind, token_url) | {"items_pointer": "/items", "retry": {"max_attempts": 1}} | more
    api.says(
        members.pop("path", "/items"),
        {"required_paths": ["/id"], "dead_letters": {"kind": "sqlite"}, "record_id_paths": ["/id"]},
        **members,
    )


@pytest.fixture
def token_url(serve: Serve) -> str:
    return f"{serve(lambda _: json_answer({'access_token': TOKEN})).url}/token"


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_in_what_a_run_writes_says_and_raises(
    api: Api, token_url: str, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    """Every fate of a response through the library: files, standard output, exceptions with all their causes."""
    raised: list[str] = []
    next_url = {"kind": "next_url", "next_url": {"next_url_path": "/next", "max_pages": 2}}
    for fate, play in FATES.items():
        more = {"pagination": next_url} if fate == "next link" else {}
        said(api, kind, token_url, redirects="same_origin", on_echo="mask" if fate == "success" else "fail", **more)
        api.play(play)
        try:
            api.run()
        except Exception as error:
            raised.append(f"{fate}: {error}")
            if (code := getattr(error, "code", None)) is None:
                raise
            assert code
    out, err = capfd.readouterr()
    texts = [("stdout", out.encode()), ("stderr", err.encode()), ("raised", "\n".join(raised).encode())]
    assert found(iter(texts)) == []
    assert found(everything_written(api.folder.root)) == []
    assert len(raised) >= 4


@pytest.mark.parametrize("kind", ["header key", "query key", "bearer", "basic", "oauth2"])
def test_no_secret_in_what_an_echo_becomes_when_it_is_masked(api: Api, token_url: str, kind: str) -> None:
    said(api, kind, token_url, on_echo="mask")
    api.play(echo).run()
    assert "***" in json.dumps(api.payloads(), ensure_ascii=False)
    assert found(everything_written(api.folder.root)) == []


@pytest.mark.parametrize("kind", ["header key", "query key", "oauth2"])
def test_no_secret_when_nothing_answers_or_tls_fails(
    api: Api, token_url: str, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    certificates = unknown_authority(tmp_path)
    messages: list[str] = []
    with http_server(lambda _: items(1), certificates.server) as server:
        said(api, kind, token_url, path=f"{server.url}/items", ca_file=str(certificates.ca_file))
        messages.append(str(api.fails()))
    said(api, kind, token_url, timeout_ms=200)

    def silent(_: Asked) -> Answer:
        api.server.closing.wait(20)
        return items()

    messages.append(str(api.play(silent).fails()))
    out, err = capfd.readouterr()
    assert found(iter([("messages", "\n".join([*messages, out, err]).encode())])) == []
    assert found(everything_written(api.folder.root)) == []


@pytest.mark.parametrize("fate", ["success", "echo"])
def test_no_secret_in_what_the_commands_print(api: Api, token_url: str, fate: str) -> None:
    said(api, "query key", token_url)
    api.play(FATES[fate])
    printed = ""
    for command in (
        ["preview", "api"],
        ["preview", "api", "--json"],
        ["check", "--online", "api"],
        ["run", "api"],
        ["show", "api"],
        ["records", "api"],
        ["dead-letters", "list", "api"],
    ):
        done = rootsys(*command, cwd=api.folder.root)
        printed += done.stdout + done.stderr
    assert found(iter([("printed", printed.encode())])) == []
    assert found(everything_written(api.folder.root)) == []
    assert api.server.asked[0].query["key"] == CANARY, "it was really sent"


@pytest.mark.parametrize("fate", ["success", "echo"])
def test_no_secret_in_dagsters_storage_and_logs(api: Api, token_url: str, fate: str) -> None:
    """Runs, events with their metadata and stack traces, compute logs."""
    dagster_home(api.folder.root)
    said(api, "oauth2", token_url)
    api.play(FATES[fate])
    arguments = ["job", "execute", "-m", "rootsys_dagster.definitions", "-j", "api"]
    done = dagster(api.folder.root, *arguments, API_CANARY=CANARY)
    assert (done.returncode == 0) is (fate == "success")
    assert found(iter([("printed", (done.stdout + done.stderr).encode())])) == []
    written = list(everything_written(api.folder.root))
    assert any("event_logs" in where for where, _ in written), "Dagster's events were looked at"
    assert found(iter(written)) == []
    assert api.server.asked[0].headers["authorization"] == f"Bearer {TOKEN}", "it was really sent"


def test_the_search_would_find_one(api: Api, token_url: str) -> None:
    """The same search over a run that writes the canary: it has to find it, or it proves nothing."""
    del token_url
    api.play(json_answer({"items": [{"id": CANARY}]})).says(items_pointer="/items").run()
    assert found(everything_written(api.folder.root)) != []
