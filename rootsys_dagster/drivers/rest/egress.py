"""Where requests may go: to declared hosts, at the address that is really dialled, over TLS that is verified, in time.

An HTTP client checks none of this: it resolves a name by itself, and its timeouts start anew with every byte.
"""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import httpcore

from rootsys_dagster.core.errors import ConfigError, PermanentError
from rootsys_dagster.resilience import Deadline

MAX_CONNECTIONS: Final = 32
KEEPALIVE_S: Final = 30.0
EVERYWHERE: Final = ("0.0.0.0/0", "::/0")
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Egress:
    """The hosts and networks that one interface declares.

    Args:
        urls: those of the interface file; their hosts are declared by standing there. An address, or ``localhost``,
            is typed by a person and therefore also a network that names may lead to.
        hosts: further host names, addresses and networks.
    """

    def __init__(self, urls: Iterable[str], hosts: Iterable[str]) -> None:
        declared = [urlsplit(url).hostname or "" for url in urls] + list(hosts)
        self.hosts = frozenset(host.lower() for host in declared)
        local = LOOPBACK if "localhost" in self.hosts else ()
        self.networks = [ipaddress.ip_network(text, strict=False) for text in (*declared, *local) if _is_network(text)]

    def check_url(self, url: str) -> None:
        """Raise PermanentError unless the host of *url* is declared, or ConfigError when it is no HTTP URL."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in ("http", "https") or not host or port == 0:
            message = 'driver.rest: a URL must be "http://host/…" or "https://host/…"'
            raise ConfigError(message, code="REST.URL_INVALID")
        if host.lower() not in self.hosts and not self._is_declared(host):
            raise PermanentError(
                f"host {host} is not declared; if the source may really lead there, add it to driver.rest.hosts",
                code="REST.HOST_NOT_DECLARED",
            )

    def addresses(self, host: str, port: int, timeout_s: float | None) -> list[str]:
        """The addresses of *host* that may be dialled.

        Raises:
            httpcore.ConnectError: the name leads nowhere.
            PermanentError: it leads only to private, local or otherwise special addresses that are not declared.
        """
        found = list(dict.fromkeys(_resolve(host, port, timeout_s)))
        allowed = [text for text in found if _is_public(ipaddress.ip_address(text)) or self._is_declared(text)]
        if not allowed:
            raise PermanentError(
                f"host {host} leads to {', '.join(found)}, which is no public address; if that is meant, add the "
                "address or its network to driver.rest.hosts",
                code="REST.ADDRESS_NOT_DECLARED",
            )
        return allowed

    def _is_declared(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self.networks)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_public(address: Address) -> bool:
    """Whether *address* is one of the open Internet; one that carries an IPv4 address is judged by that."""
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in NAT64:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return _is_public(inside)
    return address.is_global and not address.is_multicast


def _resolve(host: str, port: int, timeout_s: float | None) -> list[str]:
    """The addresses of *host*. The system's resolver cannot be given a time, so it is left behind when it is late."""
    answer: Future[list[str]] = Future()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.set_result([str(entry[4][0]) for entry in found])
        except OSError as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(timeout_s)
    except NotInTime:
        raise httpcore.ConnectTimeout("the name was not resolved in time") from None
    except OSError as error:
        raise httpcore.ConnectError("the name leads nowhere") from error


class Clock(threading.local):
    """The deadline of the request that this thread sends."""

    deadline: Deadline | None = None

    def clamp(self, timeout_s: float | None) -> float | None:
        """*timeout_s*, or what is left until the deadline when that is less."""
        if self.deadline is None:
            return timeout_s
        left_s = max(self.deadline.left_s(), 0.001)
        return left_s if timeout_s is None else min(timeout_s, left_s)


class TimedStream(httpcore.NetworkStream):
    """A connection on which no wait lasts longer than the deadline of the request."""

    def __init__(self, stream: httpcore.NetworkStream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.clamp(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._clock.clamp(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._clock.clamp(timeout))
        return TimedStream(secured, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class GuardedBackend(httpcore.SyncBackend):
    """Dials only addresses that the interface declares."""

    def __init__(self, egress: Egress, clock: Clock) -> None:
        self._egress = egress
        self._clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        failure: Exception | None = None
        for address in self._egress.addresses(host, port, self._clock.clamp(timeout)):
            try:
                wait_s = self._clock.clamp(timeout)
                stream = super().connect_tcp(address, port, wait_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return TimedStream(stream, self._clock)
        assert failure is not None
        raise failure


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or later, always verified.

    Raises:
        ConfigError: *ca_file* holds no certificates.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        message = f"driver.rest.ca_file {ca_file} cannot be read, or holds no certificate in PEM form"
        raise ConfigError(message, code="REST.CA_FILE") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def connections(
    egress: Egress, context: ssl.SSLContext, clock: Clock, proxy: str | None = None
) -> httpcore.ConnectionPool:
    """Keep-alive connections, straight to the source or through *proxy*, which then dials in our place.

    The pool is the engine of httpx, used without it: httpx has no argument for the backend.

    Raises:
        ConfigError: *proxy* is no URL of a proxy.
    """
    if proxy is None:
        return httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=GuardedBackend(egress, clock),
        )
    parts = _proxy_parts(proxy)
    user = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return httpcore.HTTPProxy(
        proxy_url=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        proxy_auth=user,
        ssl_context=context,
        proxy_ssl_context=context if parts.scheme == "https" else None,
        max_connections=MAX_CONNECTIONS,
        keepalive_expiry=KEEPALIVE_S,
        # Whoever names a proxy means that one, wherever it is.
        network_backend=GuardedBackend(Egress([proxy], EVERYWHERE), clock),
    )


def _proxy_parts(proxy: str) -> SplitResult:
    try:
        parts = urlsplit(proxy)
        # Only asking for the port shows that it is none.
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_good = urlsplit(""), False
    if not is_good:
        # Whatever stands there may hold a password.
        message = 'driver.rest.proxy: must be a URL such as "http://proxy:3128", with what is special in it encoded'
        raise ConfigError(message, code="REST.PROXY_INVALID")
    return parts
