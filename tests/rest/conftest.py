"""An interface that reads a server of our own, and servers that nobody here wrote."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import ProjectFolder
from tests.http_server import HttpServer, Play, http_server, json_answer
from tests.http_services import OAuthServer, httpbin, oauth_server
from tests.rest.api import Api

Serve = Callable[[Play], HttpServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts further servers, which end with the test."""
    with ExitStack() as stack:
        yield lambda play: stack.enter_context(http_server(play))


@pytest.fixture
def api(project: ProjectFolder, serve: Serve) -> Api:
    """An interface ``api``, and the server that it reads: no items, until a test says what it plays."""
    return Api(project, serve(lambda _: json_answer({"items": []})))


@pytest.fixture(scope="session")
def httpbin_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """httpbin, once for all tests."""
    with httpbin(tmp_path_factory.mktemp("httpbin")) as url:
        yield url


@pytest.fixture(scope="session")
def oauth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthServer]:
    """Canaille, once for all tests."""
    folder: Path = tmp_path_factory.mktemp("oauth")
    with oauth_server(folder) as server:
        yield server
