"""HTTP servers that nobody here wrote, from ``.servers`` (``make servers``): httpbin, datasette, Canaille."""

import base64
import json
import os
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.services import REPOSITORY, free_port, running, wait_for

SERVERS = REPOSITORY / ".servers"
OAUTH_SECRET = "s3cret/+ %:ü"
"""With everything in it that a form or a Basic header has to encode."""
OAUTH_LIFETIME_S = 7


def needs(what: str, path: Path) -> None:
    """Skip when *path* is not there, or fail where a skip would let a release pass untested."""
    if not path.exists():
        unavailable(f"this test needs {what} (make servers)")


def unavailable(message: str) -> NoReturn:
    """Skip, or fail under CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def serving(command: Sequence[str], port: int, folder: Path, probe: str) -> Iterator[str]:
    """A server from its start until *probe* answers and to its end; yields its URL."""
    url, log = f"http://127.0.0.1:{port}", folder / "server.log"
    with running(command, cwd=folder, env={"PATH": os.environ["PATH"], "HOME": str(folder)}, log=log) as process:

        def answers() -> bool | None:
            assert process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(url + probe, timeout=5):
                    return True
            except OSError:
                return None

        wait_for(command[0], answers)
        yield url


@contextmanager
def httpbin(folder: Path) -> Iterator[str]:
    """httpbin under gunicorn."""
    gunicorn = SERVERS / "python/bin/gunicorn"
    needs("httpbin", gunicorn)
    port = free_port()
    command = [str(gunicorn), "--threads", "8", "--bind", f"127.0.0.1:{port}", "httpbin:app"]
    with serving(command, port, folder, "/status/200") as url:
        yield url


@contextmanager
def datasette(folder: Path, rows: int, page_size: int) -> Iterator[str]:
    """datasette over a table ``shop.orders`` with ids from 1; yields its URL."""
    program = SERVERS / "python/bin/datasette"
    needs("datasette", program)
    with closing(sqlite3.connect(folder / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, line TEXT, weight REAL)")
        orders = ((number, f"L{number % 20}", number / 8) for number in range(1, rows + 1))
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", orders)
    port = free_port()
    settings = ["--setting", "max_returned_rows", str(page_size), "--setting", "default_page_size", str(page_size)]
    command = [str(program), "serve", "-i", "shop.db", "--host", "127.0.0.1", "--port", str(port), *settings]
    with serving(command, port, folder, "/-/versions.json") as url:
        yield url


class OAuthServer:
    """Canaille: ``/oauth/token`` gives tokens to the clients ``by-post`` and ``by-basic``."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def token_url(self) -> str:
        """Where tokens come from."""
        return f"{self.url}/oauth/token"

    def accepts(self, authorization: str | None) -> bool:
        """Whether the server says that a bearer token is valid now."""
        scheme, _, token = (authorization or "").partition(" ")
        return scheme == "Bearer" and any(self._about(token, client)["active"] for client in ("by-post", "by-basic"))

    def revoke(self, authorization: str) -> None:
        """Make a bearer token of the client ``by-post`` invalid before its time."""
        self._post("revoke", authorization.removeprefix("Bearer "), "by-post")

    def _about(self, token: str, client: str) -> dict[str, object]:
        return json.loads(self._post("introspect", token, client))

    def _post(self, what: str, token: str, client: str) -> bytes:
        pair = f"{client}:{urllib.parse.quote(OAUTH_SECRET, safe='')}"
        headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        form = urllib.parse.urlencode({"token": token}).encode()
        request = urllib.request.Request(f"{self.url}/oauth/{what}", form, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()


@contextmanager
def oauth_server(folder: Path) -> Iterator[OAuthServer]:
    """Canaille with tokens that expire after a few seconds."""
    python = SERVERS / "oauth/bin/python"
    needs("Canaille", python)
    port = free_port()
    program = REPOSITORY / "tests/servers/oauth.py"
    command = [str(python), str(program), str(port), str(OAUTH_LIFETIME_S), OAUTH_SECRET]
    with serving(command, port, folder, "/.well-known/oauth-authorization-server") as url:
        yield OAuthServer(url)
