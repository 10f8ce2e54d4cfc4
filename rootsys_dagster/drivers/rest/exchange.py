"""One page from the wire: signed in, in turn, within its deadline, tried again where that helps, and nowhere else."""

import email.utils
import math
import re
import threading
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpcore
import httpx

from rootsys_dagster.core.errors import PermanentError, RootsysError
from rootsys_dagster.core.policy import Retry
from rootsys_dagster.core.rest_config import RestConfig
from rootsys_dagster.drivers.rest.auth import SignIn, sign_in
from rootsys_dagster.drivers.rest.body import ACCEPT_ENCODING, Response, read_response
from rootsys_dagster.drivers.rest.egress import Clock, Egress, connections, tls_context
from rootsys_dagster.drivers.rest.errors import deadline_passed, shown, status_error, transport_errors
from rootsys_dagster.drivers.rest.request import Request, absolute
from rootsys_dagster.log.commit import StreamId
from rootsys_dagster.log.shared_state import SharedState, circuit_state
from rootsys_dagster.resilience import Breaker, Deadline, SharedMembers, Throttle, retrying
from rootsys_dagster.secrets import MASK, Secrets, encodings

MAX_REDIRECTS: Final = 5
PLAIN_URL: Final = re.compile(r"[A-Za-z0-9:/?#\[\]@!$&'()*+,;=._~%-]+")
"""Holds nothing that has to be encoded first."""
MAX_PAUSE_S: Final = 60.0
EPOCH_S: Final = 1_000_000_000
"""A reset time above this is a moment, below it a number of seconds: services do not agree."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What processes share: the circuit breaker of an interface, the rate limit of a host."""

    circuit: SharedMembers
    rate: SharedMembers

    @classmethod
    def of(cls, state_root: Path | None, stream: StreamId, host: str) -> "Shared":
        """Below *state_root*; without one it ends with the run."""
        if state_root is None:
            return cls(OwnState(), OwnState())
        return cls(circuit_state(state_root, stream), SharedState(state_root, f"rate-{host}"))


class Exchange:
    """Sends the requests of one interface; a context manager that closes its connections.

    Args:
        url: with every reference filled in: credentials go to its origin only.
        shared: the state of the circuit breaker and of the rate limit.
    """

    def __init__(self, name: str, config: RestConfig, url: str, root: Path, secrets: Secrets, shared: Shared) -> None:
        self.name = name
        self.config = config
        self.url = url
        self._root = root
        self._secrets = secrets
        self._clock = Clock()
        self.egress = Egress([url, *config.urls()], config.hosts)
        self.egress.check_url(url)
        self._throttle = Throttle(config.rate_limit, shared.rate)
        breaker = config.circuit_breaker
        self._breaker = Breaker(name, breaker, shared.circuit) if breaker is not None else None
        self._sign_in: SignIn = sign_in(config.auth, url, secrets, self._send_once)
        self._connections = self._open()
        self._forms: tuple[int, list[bytes]] = (0, [])

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(self, *exc: object) -> None:
        self._connections.close()

    @property
    def credential_param(self) -> str | None:
        """The query parameter that carries a credential: it must not be kept with a URL."""
        return self._sign_in.param

    def fetch(self, request: Request, run_deadline: Deadline | None) -> Response:
        """The response to *request* when it is a success.

        Raises:
            TransientError: not in time, after every attempt that the retry policy allows.
            PermanentError: trying again changes nothing.
        """
        left_s = self.config.deadline_ms / 1000
        deadline = Deadline.after(left_s if run_deadline is None else min(left_s, run_deadline.left_s()))

        def attempt() -> Response:
            self._throttle.take(deadline)
            if self._breaker is not None:
                return self._breaker.call(lambda: self._success(request, deadline))
            return self._success(request, deadline)

        return retrying(attempt, self.config.retry or Retry(), deadline=deadline)

    def _success(self, request: Request, deadline: Deadline) -> Response:
        if origin(request.url) == origin(self.url):
            response = self._follow(self._sign_in.apply(request, deadline), deadline)
            if response.status == 401 and self._sign_in.renew():
                response = self._follow(self._sign_in.apply(request, deadline), deadline)
        else:
            # A source may name the next page where it likes: that is as a redirect to a declared host.
            response = self._follow(_to_another_origin(request, self.url, request.url), deadline)
        self._heed_limits(response.headers)
        if not 200 <= response.status < 300:
            retry_after_s = self._retry_after_s(response.headers)
            raise status_error(request.method, request.url, response.status, retry_after_s)
        return self._without_credentials(request, response)

    def _follow(self, request: Request, deadline: Deadline) -> Response:
        """The response, after as many redirects as the interface file allows."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send_once(request, deadline)
            location = response.headers.get("location")
            if self.config.redirects == "refuse" or not 300 <= response.status < 400 or location is None:
                return response
            request = self._redirected(request, response.status, location)
        message = f"{request.method} {shown(self.url)}: more than {MAX_REDIRECTS} redirects; check driver.rest.url"
        raise PermanentError(message, code="REST.REDIRECT")

    def _redirected(self, request: Request, status: int, location: str) -> Request:
        target = absolute(request.url, location)
        self.egress.check_url(target)
        if status == 303 or (status in (301, 302) and request.method == "POST"):
            request = Request("GET", request.url, request.headers)
        if origin(target) == origin(request.url):
            return Request(request.method, target, request.headers, request.body)
        if self.config.redirects == "same_origin":
            raise _not_followed(request, request.url, target, "it is another origin; see driver.rest.redirects")
        return _to_another_origin(request, request.url, target)

    def _send_once(self, request: Request, deadline: Deadline) -> Response:
        """The response with whatever status it has."""
        method, url = request.method, request.url
        self.egress.check_url(url)
        self._clock.deadline = deadline
        try:
            with transport_errors(method, url):
                incoming = self._connections.handle_request(self._outgoing(request, deadline))
            try:
                return read_response(
                    method,
                    url,
                    incoming,
                    deadline=deadline,
                    most_wire=self.config.max_body_bytes,
                    most_decoded=self.config.max_decoded_bytes,
                )
            finally:
                incoming.close()
        except RootsysError as error:
            if error.code in ("REST.TIMEOUT", "REST.BODY_TRUNCATED") and deadline.left_s() <= 0:
                raise deadline_passed(method, url) from error
            raise
        finally:
            self._clock.deadline = None

    def _outgoing(self, request: Request, deadline: Deadline) -> httpcore.Request:
        url = request.url if PLAIN_URL.fullmatch(request.url) else str(httpx.URL(request.url))
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("ascii")
        timeout_s = self.config.timeout_ms / 1000
        headers = [("Host", parts.netloc.rpartition("@")[2]), *request.headers, ("Accept-Encoding", ACCEPT_ENCODING)]
        if request.body is not None or request.method in ("POST", "PUT", "PATCH"):
            headers.append(("Content-Length", str(len(request.body or b""))))
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return httpcore.Request(
            request.method,
            httpcore.URL(scheme=parts.scheme.encode(), host=host, port=parts.port, target=target.encode()),
            headers=[(name.encode("ascii"), value.encode()) for name, value in headers],
            content=request.body,
            extensions={
                "timeout": {"connect": timeout_s, "read": timeout_s, "write": timeout_s, "pool": deadline.left_s()}
            },
        )

    def _open(self) -> httpcore.ConnectionPool:
        config = self.config
        context = tls_context(self._root / config.ca_file if config.ca_file else None)
        proxy = environment_proxy(self.url) if config.proxy == "environment" else config.proxy
        if proxy is not None:
            host = urlsplit(proxy).hostname
            proxy = self._secrets.filled(proxy, "driver.rest.proxy", host, encode=lambda value: quote(value, safe=""))
        return connections(self.egress, context, self._clock, proxy)

    def _without_credentials(self, request: Request, response: Response) -> Response:
        """The response, unless it repeats what was sent in secret: that must not become a record."""
        repeated = [form for form in self._secret_forms() if form in response.body]
        if not repeated:
            return response
        if self.config.on_echo == "fail":
            raise PermanentError(
                f"{request.method} {shown(request.url)}: the response repeats a credential that was sent, and nothing "
                'of it was kept; ask for less, or set driver.rest.on_echo to "mask"',
                code="REST.SECRET_ECHOED",
            )
        body = response.body
        for form in repeated:
            body = body.replace(form, MASK.encode())
        return Response(response.url, response.status, response.headers, body, response.wire_bytes, response.framed)

    def _secret_forms(self) -> list[bytes]:
        """Every credential of the interface in each of its forms, the longest first."""
        known = len(self._secrets.given_out)
        if self._forms[0] != known:
            forms = {form.encode() for value in tuple(self._secrets.given_out) for form in encodings(value)}
            self._forms = known, sorted(forms, key=len, reverse=True)
        return self._forms[1]

    def _retry_after_s(self, headers: Mapping[str, str]) -> float | None:
        text = headers.get("retry-after")
        if text is None:
            return None
        try:
            wait_s = float(int(text))
        except OverflowError:
            return None
        except ValueError:
            try:
                wait_s = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
            except (ValueError, OverflowError):
                return None
        return min(max(wait_s, 0.0), float(self.config.max_retry_after_s))

    def _heed_limits(self, headers: Mapping[str, str]) -> None:
        """Wait where a source says, by one of the usual headers, that its limit is used up."""
        for prefix in ("x-ratelimit", "x-rate-limit", "ratelimit"):
            remaining, reset = headers.get(f"{prefix}-remaining"), headers.get(f"{prefix}-reset")
            if remaining is None or reset is None:
                continue
            try:
                left, reset_s = int(remaining), float(reset)
            except ValueError:
                continue
            if left <= 0 and math.isfinite(reset_s):
                wait_s = reset_s - time.time() if reset_s > EPOCH_S else reset_s
                self._throttle.pause(min(max(wait_s, 0.0), MAX_PAUSE_S))


def _to_another_origin(request: Request, start: str, target: str) -> Request:
    """*request* as it may be sent to *target*, which *start* has led to.

    Nothing that the interface file sends is meant for another origin: not its headers, and not its credentials.
    """
    if urlsplit(start).scheme == "https" and urlsplit(target).scheme != "https":
        raise _not_followed(request, start, target, "it leads from https to http, which never happens")
    if request.body is not None:
        raise _not_followed(request, start, target, "a body is not sent to another origin")
    moved = Request(request.method, target, request.headers)
    return moved.without_headers(lambda name: name not in ("accept", "user-agent"))


def _not_followed(request: Request, start: str, target: str, why: str) -> PermanentError:
    message = f"{request.method} {shown(start)}: leads to {shown(target)}, and is not followed: {why}"
    return PermanentError(message, code="REST.REDIRECT")


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port. Source: RFC 6454."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port


def environment_proxy(url: str) -> str | None:
    """The proxy that the environment names for *url*, None when it names none."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


class OwnState:
    """State of a run that keeps nothing: it has the shape of shared state, and ends with the run."""

    def __init__(self) -> None:
        self._members: dict[str, Any] = {}
        self._lock = threading.Lock()

    def read(self) -> dict[str, Any]:
        return self._members

    @contextmanager
    def changing(self) -> Generator[dict[str, Any]]:
        with self._lock:
            yield self._members
