"""``driver.rest``: one URL, what is sent to it and how often, and how to read what comes back."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Config, Findings, PayloadFormat, Pointer, Positive, Text, Whole
from rootsys_dagster.core.policy import CircuitBreaker, RateLimit, Retry
from rootsys_dagster.core.rest_auth_config import RestAuth
from rootsys_dagster.core.rest_paging_config import RestPagination

HOST: Final = re.compile(r"[A-Za-z0-9._-]+")
SECRET_NAME: Final = re.compile(r"authorization|cookie|(?:^|[-_])(?:key|token|secret|password)$|apikey", re.IGNORECASE)


class Inject(Config):
    """Puts a place in the source into the request: as a query parameter, or as a member of a JSON body."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["param"]}, {"required": ["body"]}]})

    param: Text | None = None
    body: Pointer | None = Field(default=None, description="Where in the JSON body; its parent has to be there.")
    source: Literal["watermark", "window_start", "window_end"] = Field(
        alias="from",
        description="watermark: up to where all is committed, less the lateness; window_*: an end of the window.",
    )

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_INJECT_PARAM_EMPTY", f"{at}/param", self.param)
        found.bad_pointer("REST_INJECT_BODY_INVALID", f"{at}/body", self.body)
        if (self.param is None) == (self.body is None):
            found.add("REST_INJECT_TARGET_REQUIRED", at, 'needs "param" or "body", and not both')


class RestConfig(Config):
    """One HTTP source."""

    url: Text
    method: str = "GET"
    headers: dict[str, str] = Field(default={}, description="Sent with every request; a value may be a reference.")
    params: dict[str, str] = Field(default={}, description="Query parameters, added to those of the URL.")
    body: str | None = Field(default=None, description="Sent as it stands, whatever the method.")
    timeout_ms: Positive = Field(
        default=5000, description="For connecting, and for each wait while reading or writing."
    )
    deadline_ms: Positive = Field(
        default=120_000, description="For one page in all: sign-in, redirects, retries and waits between them."
    )
    response_format: PayloadFormat = "unknown"
    items_pointer: Pointer | None = Field(
        default=None, description="Where a response holds its records; each element is one."
    )
    error_pointer: Pointer | None = Field(
        default=None, description="Where a response says that it failed, although its status is 200."
    )
    max_body_bytes: Positive = Field(default=64 << 20, description="Of one response as it is sent.")
    max_decoded_bytes: Positive = Field(default=256 << 20, description="Of one response when it is unpacked.")
    auth: RestAuth | None = None
    pagination: RestPagination | None = None
    inject: tuple[Inject, ...] = Field(default=(), description="What an incremental read asks for.")
    retry: Retry | None = None
    circuit_breaker: CircuitBreaker | None = None
    rate_limit: RateLimit | None = Field(default=None, description="Shared by everything that asks this host.")
    max_retry_after_s: Whole = Field(
        default=60, description="A source may ask for no longer pause.", json_schema_extra={"minimum": 0}
    )
    redirects: Literal["refuse", "same_origin", "declared_hosts"] = Field(
        default="refuse", description="Where a redirect may lead; credentials never go to another origin."
    )
    hosts: tuple[Text, ...] = Field(
        default=(),
        description="Further hosts that may be asked, and private networks (10.0.0.0/8) that names may lead to.",
    )
    ca_file: Text | None = Field(default=None, description="Certificates to trust instead of the system's.")
    proxy: Text | None = Field(default=None, description="A URL, or environment to use HTTPS_PROXY and its like.")
    on_echo: Literal["fail", "mask"] = Field(
        default="fail", description="What to do when a response repeats a credential that was sent."
    )

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_URL_EMPTY", f"{at}/url", self.url)
        found.blank("REST_METHOD_EMPTY", f"{at}/method", self.method)
        found.below_one("REST_TIMEOUT_INVALID", f"{at}/timeout_ms", self.timeout_ms)
        found.below_one("REST_DEADLINE_INVALID", f"{at}/deadline_ms", self.deadline_ms)
        found.below_one("REST_MAX_BODY_INVALID", f"{at}/max_body_bytes", self.max_body_bytes)
        found.below_one("REST_MAX_DECODED_INVALID", f"{at}/max_decoded_bytes", self.max_decoded_bytes)
        found.bad_pointer("REST_ITEMS_POINTER_INVALID", f"{at}/items_pointer", self.items_pointer)
        found.bad_pointer("REST_ERROR_POINTER_INVALID", f"{at}/error_pointer", self.error_pointer)
        if self.retry is not None:
            self.retry.check_as("REST", f"{at}/retry", found)
        if self.circuit_breaker is not None:
            self.circuit_breaker.check_as("REST", f"{at}/circuit_breaker", found)
        if self.rate_limit is not None:
            self.rate_limit.check(f"{at}/rate_limit", found)
        if self.max_retry_after_s < 0:
            message = f"must be at least 0, not {self.max_retry_after_s}"
            found.add("REST_MAX_RETRY_AFTER_INVALID", f"{at}/max_retry_after_s", message)
        for index, inject in enumerate(self.inject):
            inject.check(f"{at}/inject/{index}", found)
        self.check_where(at, found)
        for name, value in self.headers.items():
            if SECRET_NAME.search(name):
                found.literal_secret(f"{at}/headers/{name}", value)
        for name, value in self.params.items():
            if SECRET_NAME.search(name):
                found.literal_secret(f"{at}/params/{name}", value)
        if self.auth is not None:
            self.auth.check(f"{at}/auth", found)
            self.auth.check_headers(self.headers, at, found)
        if self.pagination is not None:
            self.pagination.check(f"{at}/pagination", found)
            if self.response_format in ("text", "binary"):
                message = f'paging reads JSON; set "json" or leave it out, instead of "{self.response_format}"'
                found.add("REST_PAGINATION_REQUIRES_JSON_RESPONSE", f"{at}/response_format", message)

    def check_where(self, at: str, found: Findings) -> None:
        """Report hosts, files and proxies that are none."""
        for index, host in enumerate(self.hosts):
            if not HOST.fullmatch(host) and not is_network(host):
                message = "must be a host name, an address, or a network such as 10.0.0.0/8; no scheme, port or path"
                found.add("REST_HOST_INVALID", f"{at}/hosts/{index}", message)
        found.blank("REST_CA_FILE_EMPTY", f"{at}/ca_file", self.ca_file)
        if self.proxy is not None and self.proxy != "environment" and not urlsplit(self.proxy).hostname:
            found.add(
                "REST_PROXY_INVALID", f"{at}/proxy", 'must be a URL such as "http://proxy:3128", or "environment"'
            )

    def urls(self) -> Iterator[str]:
        """Every URL that a read may begin with."""
        yield self.url
        if self.auth is not None and self.auth.oauth2_client_credentials is not None:
            yield self.auth.oauth2_client_credentials.token_url


def is_network(text: str) -> bool:
    """Whether *text* is an address or a network in CIDR form."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
