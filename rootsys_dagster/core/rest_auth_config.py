"""``driver.rest.auth``: how to sign in. Every secret may be a reference, see core/secret_ref.py."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from rootsys_dagster.core.config import Config, Findings, Text


class ApiKey(Config):
    """A fixed value sent with every request, as a header or as a query parameter."""

    place: Literal["header", "query"] = Field(alias="in")
    name: Text
    value: Text

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_AUTH_API_KEY_NAME_EMPTY", f"{at}/name", self.name)
        found.blank("REST_AUTH_API_KEY_VALUE_EMPTY", f"{at}/value", self.value)
        found.literal_secret(f"{at}/value", self.value)


class OAuth2ClientCredentials(Config):
    """A bearer token fetched with the client credentials grant. Source: RFC 6749 section 4.4."""

    token_url: Text
    client_id: Text
    client_secret: Text
    scope: str | None = None
    client_auth: Literal["body", "basic"] = Field(
        default="body", description="How the client shows its secret: in the form, or as HTTP Basic."
    )

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_AUTH_OAUTH2_TOKEN_URL_EMPTY", f"{at}/token_url", self.token_url)
        found.blank("REST_AUTH_OAUTH2_CLIENT_ID_EMPTY", f"{at}/client_id", self.client_id)
        found.blank("REST_AUTH_OAUTH2_CLIENT_SECRET_EMPTY", f"{at}/client_secret", self.client_secret)
        found.literal_secret(f"{at}/client_secret", self.client_secret)


class Bearer(Config):
    """A fixed bearer token. Source: RFC 6750."""

    token: Text

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_AUTH_BEARER_TOKEN_EMPTY", f"{at}/token", self.token)
        found.literal_secret(f"{at}/token", self.token)


class Basic(Config):
    """A name and a password. Source: RFC 7617."""

    username: Text
    password: str

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_AUTH_BASIC_USERNAME_EMPTY", f"{at}/username", self.username)
        found.literal_secret(f"{at}/password", self.password)


class RestAuth(Config):
    """Which way to sign in; only the block of that kind is read."""

    kind: Literal["api_key", "oauth2_client_credentials", "bearer", "basic"] = "api_key"
    api_key: ApiKey | None = None
    oauth2_client_credentials: OAuth2ClientCredentials | None = None
    bearer: Bearer | None = None
    basic: Basic | None = None

    def check(self, at: str, found: Findings) -> None:
        match self.kind:
            case "api_key":
                self.check_block("REST_AUTH_API_KEY_REQUIRED", at, found)
            case "oauth2_client_credentials":
                self.check_block("REST_AUTH_OAUTH2_REQUIRED", at, found)
            case "bearer":
                self.check_block("REST_AUTH_BEARER_REQUIRED", at, found)
            case "basic":
                self.check_block("REST_AUTH_BASIC_REQUIRED", at, found)

    def check_block(self, code: str, at: str, found: Findings) -> None:
        """Report the problems of the chosen block, or *code* when it is missing."""
        block = self.block()
        if block is None:
            found.add(code, f"{at}/{self.kind}", f'is needed for kind "{self.kind}"', [f"{at}/kind"])
        else:
            block.check(f"{at}/{self.kind}", found)

    def block(self) -> ApiKey | OAuth2ClientCredentials | Bearer | Basic | None:
        """The block of the chosen kind, None when it is missing."""
        return {
            "api_key": self.api_key,
            "oauth2_client_credentials": self.oauth2_client_credentials,
            "bearer": self.bearer,
            "basic": self.basic,
        }[self.kind]

    def check_headers(self, headers: Mapping[str, str], at: str, found: Findings) -> None:
        """Report a static header that would replace what is sent here (the names are compared as they are written)."""
        pointer = f"{at}/headers"
        if self.kind == "api_key":
            key, block = self.api_key, f"{at}/auth/api_key"
            if key is not None and key.place == "header" and key.name in headers:
                message = f"also sets {key.name!r}, which auth.api_key sends; remove it here"
                given = [f"{at}/auth/kind", f"{block}/in", f"{block}/name"]
                found.add("REST_AUTH_API_KEY_HEADER_CONFLICT", pointer, message, given)
        elif "Authorization" in headers:
            message = f"also sets 'Authorization', which {self.kind} sends; remove it here"
            given = [f"{at}/auth/kind"]
            if self.kind == "oauth2_client_credentials":
                found.add("REST_AUTH_OAUTH2_HEADER_CONFLICT", pointer, message, given)
            else:
                found.add("REST_AUTH_HEADER_CONFLICT", pointer, message, given)
