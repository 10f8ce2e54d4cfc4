"""``driver.rest``: one URL, how to sign in to it, how to page through it, and how to read what comes back."""

from typing import Literal

from pydantic import Field

from rootsys_dagster.core.config import Config, Findings, PayloadFormat, Pointer, Positive, Text
from rootsys_dagster.core.policy import CircuitBreaker, RateLimit, Retry


class ApiKey(Config):
    """A fixed value sent with every request, as a header or as a query parameter."""

    place: Literal["header", "query"] = Field(alias="in")
    name: Text
    value: Text

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_AUTH_API_KEY_NAME_EMPTY", f"{at}/name", self.name)
        found.blank("REST_AUTH_API_KEY_VALUE_EMPTY", f"{at}/value", self.value)


class OAuth2ClientCredentials(Config):
    """A bearer token fetched with the client credentials grant."""

    token_url: Text
    client_id: Text
    client_secret: Text
    scope: str | None = None

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_AUTH_OAUTH2_TOKEN_URL_EMPTY", f"{at}/token_url", self.token_url)
        found.blank("REST_AUTH_OAUTH2_CLIENT_ID_EMPTY", f"{at}/client_id", self.client_id)
        found.blank("REST_AUTH_OAUTH2_CLIENT_SECRET_EMPTY", f"{at}/client_secret", self.client_secret)


class RestAuth(Config):
    """Which way to sign in; only the block of that kind is read."""

    kind: Literal["api_key", "oauth2_client_credentials"] = "api_key"
    api_key: ApiKey | None = None
    oauth2_client_credentials: OAuth2ClientCredentials | None = None

    def check(self, at: str, found: Findings) -> None:
        kind = f"{at}/kind"
        if self.kind == "api_key":
            if self.api_key is None:
                found.add("REST_AUTH_API_KEY_REQUIRED", f"{at}/api_key", 'is needed for kind "api_key"', [kind])
            else:
                self.api_key.check(f"{at}/api_key", found)
        elif self.oauth2_client_credentials is None:
            message = 'is needed for kind "oauth2_client_credentials"'
            found.add("REST_AUTH_OAUTH2_REQUIRED", f"{at}/oauth2_client_credentials", message, [kind])
        else:
            self.oauth2_client_credentials.check(f"{at}/oauth2_client_credentials", found)


class CursorPagination(Config):
    """Each page names the next one."""

    cursor_param: Text
    cursor_path: Pointer = Field(description="Where a page holds the next cursor; null or nothing there is the end.")
    initial_cursor: str | None = None
    max_pages: Positive = 100

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_PAGINATION_CURSOR_PARAM_EMPTY", f"{at}/cursor_param", self.cursor_param)
        found.bad_pointer("REST_PAGINATION_CURSOR_PATH_INVALID", f"{at}/cursor_path", self.cursor_path)
        found.below_one("REST_PAGINATION_MAX_PAGES_INVALID", f"{at}/max_pages", self.max_pages)


class PagePagination(Config):
    """Pages are numbered; a page without records is the end."""

    page_param: Text
    page_size_param: Text
    page_size: Positive
    initial_page: Positive = 1
    max_pages: Positive = 100

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_PAGINATION_PAGE_PARAM_EMPTY", f"{at}/page_param", self.page_param)
        found.blank("REST_PAGINATION_PAGE_SIZE_PARAM_EMPTY", f"{at}/page_size_param", self.page_size_param)
        found.below_one("REST_PAGINATION_PAGE_SIZE_INVALID", f"{at}/page_size", self.page_size)
        found.below_one("REST_PAGINATION_INITIAL_PAGE_INVALID", f"{at}/initial_page", self.initial_page)
        found.below_one("REST_PAGINATION_PAGE_MAX_PAGES_INVALID", f"{at}/max_pages", self.max_pages)


class RestPagination(Config):
    """Which way to page; only the block of that kind is read."""

    kind: Literal["cursor", "page"] = "page"
    cursor: CursorPagination | None = None
    page: PagePagination | None = None

    def check(self, at: str, found: Findings) -> None:
        kind = f"{at}/kind"
        if self.kind == "cursor":
            if self.cursor is None:
                found.add("REST_PAGINATION_CURSOR_REQUIRED", f"{at}/cursor", 'is needed for kind "cursor"', [kind])
            else:
                self.cursor.check(f"{at}/cursor", found)
        elif self.page is None:
            found.add("REST_PAGINATION_PAGE_REQUIRED", f"{at}/page", 'is needed for kind "page"', [kind])
        else:
            self.page.check(f"{at}/page", found)


class RestConfig(Config):
    """One HTTP source."""

    url: Text
    method: str = "GET"
    headers: dict[str, str] = Field(default={}, description="Sent with every request.")
    body: str | None = Field(default=None, description="Sent as it stands, whatever the method.")
    timeout_ms: Positive = 5000
    response_format: PayloadFormat = "unknown"
    items_pointer: Pointer | None = Field(
        default=None, description="Where a response holds its records; each element is one."
    )
    auth: RestAuth | None = None
    pagination: RestPagination | None = None
    retry: Retry | None = None
    circuit_breaker: CircuitBreaker | None = None
    rate_limit: RateLimit | None = Field(default=None, description="Shared by everything that asks this host.")

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_URL_EMPTY", f"{at}/url", self.url)
        found.blank("REST_METHOD_EMPTY", f"{at}/method", self.method)
        found.below_one("REST_TIMEOUT_INVALID", f"{at}/timeout_ms", self.timeout_ms)
        found.bad_pointer("REST_ITEMS_POINTER_INVALID", f"{at}/items_pointer", self.items_pointer)
        if self.retry is not None:
            self.retry.check_as("REST", f"{at}/retry", found)
        if self.circuit_breaker is not None:
            self.circuit_breaker.check_as("REST", f"{at}/circuit_breaker", found)
        if self.rate_limit is not None:
            self.rate_limit.check(f"{at}/rate_limit", found)
        if self.auth is not None:
            self.auth.check(f"{at}/auth", found)
            self.check_headers(self.auth, at, found)
        if self.pagination is not None:
            self.pagination.check(f"{at}/pagination", found)
            if self.response_format in ("text", "binary"):
                message = f'paging reads JSON; set "json" or leave it out, instead of "{self.response_format}"'
                found.add("REST_PAGINATION_REQUIRES_JSON_RESPONSE", f"{at}/response_format", message)

    def check_headers(self, auth: RestAuth, at: str, found: Findings) -> None:
        """Report a static header that would replace what *auth* sends (the names are compared as they are written)."""
        pointer = f"{at}/headers"
        if auth.kind == "api_key":
            key, block = auth.api_key, f"{at}/auth/api_key"
            if key is not None and key.place == "header" and key.name in self.headers:
                message = f"also sets {key.name!r}, which auth.api_key sends; remove it here"
                given = [f"{at}/auth/kind", f"{block}/in", f"{block}/name"]
                found.add("REST_AUTH_API_KEY_HEADER_CONFLICT", pointer, message, given)
        elif "Authorization" in self.headers:
            message = "also sets 'Authorization', which oauth2_client_credentials sends; remove it here"
            found.add("REST_AUTH_OAUTH2_HEADER_CONFLICT", pointer, message, [f"{at}/auth/kind"])
