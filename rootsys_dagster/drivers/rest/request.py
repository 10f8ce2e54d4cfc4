"""The request that an interface file describes: with references for people, with values for the wire."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote_plus, urlencode, urljoin, urlsplit, urlunsplit

from rootsys_dagster.core.errors import ConfigError, PermanentError
from rootsys_dagster.core.pointer import tokens
from rootsys_dagster.core.rest_config import SECRET_NAME, RestConfig
from rootsys_dagster.core.secret_ref import has_secret_ref
from rootsys_dagster.drivers.rest.errors import shown
from rootsys_dagster.secrets import IN_QUERY, MASK, Secrets, redact


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are compared without regard to case."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def with_header(self, name: str, value: str) -> "Request":
        """With the header set, whatever it was before."""
        return replace(self, headers=(*self.without_headers(lambda one: one == name.lower()).headers, (name, value)))

    def without_headers(self, unwanted: Callable[[str], bool]) -> "Request":
        """Without the headers whose lower-case names are *unwanted*."""
        return replace(self, headers=tuple(pair for pair in self.headers if not unwanted(pair[0].lower())))

    def with_params(self, params: Mapping[str, str]) -> "Request":
        """With query parameters set, whatever they were before."""
        return replace(self, url=with_params(self.url, params)) if params else self


@dataclass(frozen=True, slots=True)
class Ask:
    """What one page needs besides what the interface file says: another URL, query parameters, members of the body."""

    params: Mapping[str, str]
    url: str | None = None
    members: Mapping[str, Any] | None = None
    """By JSON Pointer."""


class RequestTemplate:
    """The request of ``driver.rest`` without its sign-in. What does not change from page to page is made once."""

    def __init__(self, config: RestConfig, secrets: Secrets, agent: str) -> None:
        self._config = config
        self._secrets = secrets
        self._agent = agent
        self._base: Request | None = None

    def url(self) -> str:
        """The URL with every reference in it filled in."""
        host = urlsplit(self._config.url).hostname
        return self._secrets.filled(
            self._config.url, "driver.rest.url", host, encode=lambda value: quote(value, safe="")
        )

    def build(self, ask: Ask) -> Request:
        """The request for the wire.

        Raises:
            ConfigError: a secret is not there, or a member cannot be put into the body.
        """
        if self._base is None:
            self._base = self._filled_in()
        base = self._base
        if ask.url is not None:
            base = replace(base, url=ask.url)
        if ask.members:
            base = replace(base, body=with_members((base.body or b"").decode(), ask.members))
        return base.with_params(ask.params)

    def _filled_in(self) -> Request:
        config, url = self._config, self.url()
        host = urlsplit(url).hostname
        headers = [(name, self._filled(value, f"headers {name}", host)) for name, value in self._headers()]
        params = {name: self._filled(value, f"params {name}", host) for name, value in config.params.items()}
        body = None if config.body is None else self._secrets.filled(config.body, "driver.rest.body", host).encode()
        return Request(config.method.upper(), with_params(url, params), tuple(headers), body)

    def _filled(self, text: str, what: str, host: str | None) -> str:
        value = self._secrets.filled(text, f"driver.rest.{what}", host)
        if SECRET_NAME.search(what):
            self._secrets.remember(value)
        return value

    def shown(self, ask: Ask) -> dict[str, Any]:
        """The request for people: references stay as they are written, and what is a secret in clear is masked."""
        config = self._config
        params = {name: _shown_value(name, value) for name, value in config.params.items()}
        url = with_params(ask.url or with_params(masked_userinfo(config.url), params), ask.params)
        plan: dict[str, Any] = {"request": f"{config.method.upper()} {redact(url)}"}
        headers = {name: _shown_value(name, value) for name, value in config.headers.items()}
        if headers:
            plan["headers"] = [f"{name}: {value}" for name, value in headers.items()]
        if config.auth is not None:
            plan["auth"] = config.auth.kind
        if config.body is not None:
            body = with_members(config.body, ask.members) if ask.members else config.body.encode()
            plan["body"] = redact(body.decode())
        return plan

    def _headers(self) -> list[tuple[str, str]]:
        given = {name.lower() for name in self._config.headers}
        json_body = (self._config.body or "").lstrip().startswith(("{", "["))
        defaults = {
            "User-Agent": self._agent,
            "Accept": "application/json" if self._config.response_format == "json" else "*/*",
            **({"Content-Type": "application/json"} if json_body else {}),
        }
        kept = [(name, value) for name, value in defaults.items() if name.lower() not in given]
        # Other encodings could not be unpacked in bounded memory.
        own = [(name, value) for name, value in self._config.headers.items() if name.lower() != "accept-encoding"]
        return [*kept, *own]


def absolute(base: str, url: str) -> str:
    """The URL that *url* is, seen from *base*.

    Raises:
        PermanentError: a source has named what is no URL.
    """
    try:
        return urljoin(base, url)
    except ValueError:
        message = f"{shown(base)}: leads to what is no URL; ask who runs the source"
        raise PermanentError(message, code="REST.URL_INVALID") from None


def with_params(url: str, params: Mapping[str, str]) -> str:
    """*url* with query parameters set; those of other names stay to the letter."""
    if not params:
        return url
    parts = urlsplit(url)
    kept = [part for part in parts.query.split("&") if part and unquote_plus(part.partition("=")[0]) not in params]
    added = urlencode(params, quote_via=quote, safe=IN_QUERY)
    return urlunsplit(parts._replace(query="&".join([*kept, added])))


def without_params(url: str, names: set[str]) -> str:
    """*url* without the query parameters of these names."""
    parts = urlsplit(url)
    kept = [part for part in parts.query.split("&") if part and unquote_plus(part.partition("=")[0]) not in names]
    return urlunsplit(parts._replace(query="&".join(kept)))


def with_members(text: str, members: Mapping[str, Any]) -> bytes:
    """The body, with members of its JSON object set.

    Raises:
        ConfigError: the body is no JSON object, or has no place for a member.
    """
    try:
        document = json.loads(text)
        for pointer, value in members.items():
            *parents, last = tokens(pointer)
            here = document
            for step in parents:
                here = here[int(step) if isinstance(here, list) else step]
            here[int(last) if isinstance(here, list) else last] = value
    except (ValueError, LookupError, TypeError):
        message = (
            f"driver.rest.inject: the body has no place at {', '.join(members)}; it must be JSON that holds the parent"
        )
        raise ConfigError(message, code="REST.INJECT") from None
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def masked_userinfo(url: str) -> str:
    """*url* without a password in clear."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at or has_secret_ref(userinfo):
        return url
    return urlunsplit(parts._replace(netloc=f"{userinfo.partition(':')[0]}:{MASK}@{host}"))


def _shown_value(name: str, value: str) -> str:
    return MASK if SECRET_NAME.search(name) and not has_secret_ref(value) else redact(value)
