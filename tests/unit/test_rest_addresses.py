"""Which hosts and addresses an interface may reach."""

import pytest

from rootsys_dagster.core.errors import ConfigError, PermanentError
from rootsys_dagster.drivers.rest.egress import Egress


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ],
)
def test_a_name_that_leads_to_a_special_address_is_refused_unless_it_is_declared(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(2, 1, 6, "", (address, 443))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(PermanentError) as caught:
        Egress(["https://api.example.com/"], []).addresses("api.example.com", 443, 5)
    assert caught.value.code == "REST.ADDRESS_NOT_DECLARED"
    assert Egress(["https://api.example.com/"], [address]).addresses("api.example.com", 443, 5) == [address]


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"])
def test_a_public_address_needs_no_declaration(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (address, 443))])
    assert Egress(["https://api.example.com/"], []).addresses("api.example.com", 443, 5) == [address]


def test_only_the_allowed_addresses_of_a_name_are_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", (address, 443)) for address in ("10.0.0.1", "93.184.216.34")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    assert Egress(["https://api.example.com/"], []).addresses("api.example.com", 443, 5) == ["93.184.216.34"]


@pytest.mark.parametrize(
    ("url", "hosts", "is_declared"),
    [
        ("https://api.example.com/x", [], True),
        ("https://API.example.com:8443/x", [], True),
        ("https://evil.example.com/", [], False),
        ("https://api.example.com.evil.org/", [], False),
        ("https://api.example.com@evil.org/", [], False),
        ("https://files.example.com/", ["files.example.com"], True),
        ("http://10.1.2.3/", [], False),
        ("http://10.1.2.3/", ["10.0.0.0/8"], True),
    ],
)
def test_a_host_has_to_be_declared(url: str, hosts: list[str], is_declared: bool) -> None:
    egress = Egress(["https://api.example.com/"], hosts)
    if is_declared:
        egress.check_url(url)
        return
    with pytest.raises(PermanentError) as caught:
        egress.check_url(url)
    assert caught.value.code == "REST.HOST_NOT_DECLARED"


@pytest.mark.parametrize(
    "url", ["ftp://api.example.com/", "file:///etc/passwd", "//x", "http://", "http://h:99999/", ""]
)
def test_what_is_no_http_url_is_an_error_of_the_file(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Egress(["https://api.example.com/"], []).check_url(url)
    assert caught.value.code == "REST.URL_INVALID"
