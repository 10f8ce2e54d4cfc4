"""Signing in: what is added to a request, and tokens that all runs of this process share."""

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from rootsys_dagster.core.errors import PermanentError
from rootsys_dagster.core.rest_auth_config import ApiKey, Basic, Bearer, OAuth2ClientCredentials, RestAuth
from rootsys_dagster.drivers.rest.body import Response
from rootsys_dagster.drivers.rest.errors import shown, status_error
from rootsys_dagster.drivers.rest.request import Request
from rootsys_dagster.resilience import Deadline
from rootsys_dagster.secrets import Secrets

DEFAULT_EXPIRES_S: Final = 300.0
MARGIN_S: Final = 5.0
SHORTEST_S: Final = 1.0

Send = Callable[[Request, Deadline], Response]
"""Sends one request, follows no redirect, and returns whatever status comes."""


class SignIn(Protocol):
    """One way to sign in."""

    def apply(self, request: Request, deadline: Deadline) -> Request:
        """The request with its credentials."""
        ...

    def renew(self) -> bool:
        """The credentials were refused: whether others can be had, which the next :meth:`apply` then brings."""
        ...

    @property
    def param(self) -> str | None:
        """The query parameter that carries a credential, None when none does."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Credentials that do not change: a header or a query parameter, or neither."""

    header: tuple[str, str] | None = None
    query: tuple[str, str] | None = None

    def apply(self, request: Request, deadline: Deadline) -> Request:
        if self.header is not None:
            return request.with_header(*self.header)
        return request.with_params(dict([self.query])) if self.query is not None else request

    def renew(self) -> bool:
        return False

    @property
    def param(self) -> str | None:
        return self.query[0] if self.query is not None else None


class _TokenAnswer(msgspec.Struct):
    access_token: str = ""
    expires_in: float | str | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    until_s: float


_tokens: dict[str, _Token] = {}
_tokens_lock = threading.Lock()
_decode = msgspec.json.Decoder(_TokenAnswer).decode


class ClientCredentials:
    """A bearer token from a token endpoint; shared by every run of this process that signs in alike.

    Source: RFC 6749 section 4.4 and spec/1-reference.md 1.8.
    """

    param = None

    def __init__(self, config: OAuth2ClientCredentials, secrets: Secrets, send: Send) -> None:
        self._config = config
        self._secrets = secrets
        self._send = send
        self._key = ""

    def apply(self, request: Request, deadline: Deadline) -> Request:
        """With the token that is known while it lasts, else with a new one.

        Raises:
            RootsysError: the token endpoint does not give one.
        """
        grant = self._grant()
        identity = (grant.url, grant.body, grant.headers)
        self._key = hashlib.sha256(repr(identity).encode()).hexdigest()
        # Held while a token is fetched: several pages in flight would otherwise fetch one each.
        with _tokens_lock:
            token = _tokens.get(self._key)
            if token is None or time.monotonic() >= token.until_s:
                token = _tokens[self._key] = self._fetch(grant, deadline)
        # Another run may have fetched it: this one, too, must know it when a source repeats it.
        self._secrets.remember(token.value)
        return request.with_header("Authorization", f"Bearer {token.value}")

    def renew(self) -> bool:
        """Forget the token, so that the next request fetches another."""
        with _tokens_lock:
            return _tokens.pop(self._key, None) is not None

    def _grant(self) -> Request:
        config, what = self._config, "driver.rest.auth.oauth2_client_credentials"
        host = urlsplit(config.token_url).hostname
        client = self._secrets.filled(config.client_id, f"{what}.client_id", host)
        secret = self._secrets.value(config.client_secret, f"{what}.client_secret", host)
        form = {"grant_type": "client_credentials"}
        headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
        if config.client_auth == "basic":
            # As %20, because some servers do not undo the plus that a form may have for a space.
            pair = basic(quote(client, safe=""), quote(secret, safe=""), self._secrets)
            headers.append(("Authorization", pair))
        else:
            form |= {"client_id": client, "client_secret": secret}
        if config.scope is not None:
            form["scope"] = config.scope
        return Request("POST", config.token_url, tuple(headers), urlencode(form).encode())

    def _fetch(self, grant: Request, deadline: Deadline) -> _Token:
        asked_s = time.monotonic()
        response = self._send(grant, deadline)
        if response.status != 200:
            raise status_error(grant.method, grant.url, response.status, None)
        try:
            answer = _decode(response.body)
            expires_s = DEFAULT_EXPIRES_S if answer.expires_in is None else float(answer.expires_in)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            answer, expires_s = _TokenAnswer(), 0.0
        if not answer.access_token:
            message = f"POST {shown(grant.url)}: the answer holds no access_token; check token_url, client_id and scope"
            raise PermanentError(message, code="REST.TOKEN_MISSING")
        return _Token(answer.access_token, asked_s + max(expires_s - MARGIN_S, SHORTEST_S))


def sign_in(config: RestAuth | None, url: str, secrets: Secrets, send: Send) -> SignIn:
    """The way to sign in that an interface file chose. *url* is where its credentials go.

    Raises:
        ConfigError: a secret is not there, or not for the host of *url*.
    """
    host = urlsplit(url).hostname
    what = "driver.rest.auth"
    match config.block() if config is not None else None:
        case ApiKey() as key:
            pair = (key.name, secrets.value(key.value, f"{what}.api_key.value", host))
            return Fixed(header=pair) if key.place == "header" else Fixed(query=pair)
        case Bearer() as bearer:
            token = secrets.value(bearer.token, f"{what}.bearer.token", host)
            return Fixed(header=("Authorization", f"Bearer {token}"))
        case Basic() as block:
            name = secrets.filled(block.username, f"{what}.basic.username", host)
            password = secrets.value(block.password, f"{what}.basic.password", host)
            return Fixed(header=("Authorization", basic(name, password, secrets)))
        case OAuth2ClientCredentials() as grant:
            return ClientCredentials(grant, secrets, send)
        case None:
            return Fixed()


def basic(username: str, password: str, secrets: Secrets) -> str:
    """The value of an Authorization header. Source: RFC 7617."""
    pair = f"{username}:{password}"
    secrets.remember(pair)
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
