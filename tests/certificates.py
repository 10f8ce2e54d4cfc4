"""Certificates for 127.0.0.1 from an authority of our own: a good one, and six kinds that a client must refuse."""

import datetime
import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

HOST: Final = "127.0.0.1"
DAY: Final = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """What a server shows, and the file of the authority that a client is told to trust."""

    server: ssl.SSLContext
    ca_file: Path


def good(folder: Path) -> Certificates:
    """Valid, for this host, by the authority that is trusted."""
    authority = trustme.CA()
    return _certificates(folder, authority, authority.issue_cert(HOST))


def expired(folder: Path) -> Certificates:
    """Valid until yesterday."""
    authority = trustme.CA()
    now = datetime.datetime.now(datetime.UTC)
    return _certificates(folder, authority, authority.issue_cert(HOST, not_before=now - 2 * DAY, not_after=now - DAY))


def not_yet_valid(folder: Path) -> Certificates:
    """Valid from tomorrow on."""
    authority = trustme.CA()
    now = datetime.datetime.now(datetime.UTC)
    return _certificates(folder, authority, authority.issue_cert(HOST, not_before=now + DAY, not_after=now + 2 * DAY))


def wrong_host(folder: Path) -> Certificates:
    """For another host."""
    authority = trustme.CA()
    return _certificates(folder, authority, authority.issue_cert("other.example"))


def unknown_authority(folder: Path) -> Certificates:
    """By an authority that is not the one that is trusted."""
    return _certificates(folder, trustme.CA(), trustme.CA().issue_cert(HOST))


def self_signed(folder: Path) -> Certificates:
    """An authority's own certificate, shown as a server's."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = folder / "self-signed.pem"
    pem.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    server.load_cert_chain(pem)
    return Certificates(server, _written(folder, trustme.CA()))


def too_old(folder: Path) -> Certificates:
    """A good certificate over TLS 1.1, which the library still speaks when it is made to."""
    found = good(folder)
    found.server.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        found.server.minimum_version = ssl.TLSVersion.TLSv1
        found.server.maximum_version = ssl.TLSVersion.TLSv1_1
    return found


BAD: Final[tuple[Callable[[Path], Certificates], ...]] = (
    expired,
    not_yet_valid,
    wrong_host,
    unknown_authority,
    self_signed,
    too_old,
)


def _certificates(folder: Path, trusted: trustme.CA, shown: trustme.LeafCert) -> Certificates:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.configure_cert(server)
    return Certificates(server, _written(folder, trusted))


def _written(folder: Path, authority: trustme.CA) -> Path:
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path
