"""TLS is always verified: a good certificate works, six bad kinds are named and nothing is sent to them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rootsys_dagster.core.errors import PermanentError
from tests.certificates import BAD, Certificates, good
from tests.http_server import http_server, json_answer
from tests.rest.api import Api, items


def test_a_good_certificate_of_an_authority_of_our_own_works(api: Api, tmp_path: Path) -> None:
    certificates = good(tmp_path)
    with http_server(lambda _: items(1), certificates.server) as server:
        api.says(f"{server.url}/items", items_pointer="/items", ca_file=str(certificates.ca_file)).run()
        assert api.ids() == [1]
        assert len(server.asked) == 1


def test_the_file_of_the_authority_may_be_relative_to_the_project(api: Api) -> None:
    certificates = good(api.folder.root)
    with http_server(lambda _: items(1), certificates.server) as server:
        api.says(f"{server.url}/items", items_pointer="/items", ca_file=certificates.ca_file.name).run()
        assert api.ids() == [1]


@pytest.mark.parametrize("kind", BAD, ids=lambda kind: kind.__name__)
def test_a_bad_certificate_is_named_at_once_and_nothing_is_sent(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[Path], Certificates]
) -> None:
    monkeypatch.setenv("API_SECRET", "s3cret-word")
    certificates = kind(tmp_path)
    with http_server(lambda _: json_answer({}), certificates.server) as server:
        auth = {"kind": "bearer", "bearer": {"token": "env://API_SECRET"}}
        error = api.says(f"{server.url}/items", ca_file=str(certificates.ca_file), auth=auth).fails()
        assert not server.asked
        assert error.code == "REST.TLS"
        assert isinstance(error, PermanentError), "trying again would not help"


def test_an_authority_of_our_own_is_not_trusted_unless_it_is_named(api: Api, tmp_path: Path) -> None:
    certificates = good(tmp_path)
    with http_server(lambda _: items(1), certificates.server) as server:
        error = api.says(f"{server.url}/items").fails()
        assert error.code == "REST.TLS"
        assert "driver.rest.ca_file" in error.message


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_that_is_no_authority_is_named(api: Api, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_bytes(content)
    assert api.says("https://127.0.0.1/items", ca_file=str(path)).fails().code == "REST.CA_FILE"


def test_plain_http_where_tls_is_expected_is_named(api: Api) -> None:
    error = api.says(f"https://127.0.0.1:{api.server.port}/items", timeout_ms=1000).fails()
    assert error.code in ("REST.TLS", "REST.UNREACHABLE")
    assert not api.server.asked
