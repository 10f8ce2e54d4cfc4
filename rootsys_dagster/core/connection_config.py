"""One entry of ``connections.json``: a system that several interfaces name, described once."""

import re
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Config, Findings, Positive, Text, needs_block
from rootsys_dagster.core.db_config import DbConfig, Pool
from rootsys_dagster.core.policy import RateLimit
from rootsys_dagster.core.rest_auth_config import RestAuth
from rootsys_dagster.core.rest_config import RestConfig
from rootsys_dagster.core.secret_ref import has_secret_ref

ConnectionKind = Literal["postgres", "mysql", "sqlite", "rest", "smtp"]
KINDS: Final[tuple[ConnectionKind, ...]] = get_args(ConnectionKind)
DB_KINDS: Final = ("postgres", "mysql", "sqlite")
CONNECTION_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
SMTP_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}


def only_reference(pointer: str, text: str | None, found: Findings) -> None:
    """Report a secret that stands in the file itself: here, unlike in old interface files, it never may."""
    if text is not None and not has_secret_ref(text):
        message = 'must be a reference such as "env://NAME" or "file://name", never the secret itself'
        found.add("CONNECTION_SECRET_LITERAL", pointer, message)


class Server(Config):
    """What database servers have in common."""

    host: Text
    port: Positive | None = None
    database: Text
    user: Text | None = None
    password_ref: Text | None = Field(default=None, description='A reference: "env://NAME" or "file://name".')
    ca_file: Text | None = Field(default=None, description="Certificates that the server's must descend from.")
    pool: Pool | None = Field(default=None, description="Connections that one read may open.")

    def check(self, at: str, found: Findings) -> None:
        for name in ("host", "database", "user", "ca_file"):
            found.blank("CONNECTION_MEMBER_EMPTY", f"{at}/{name}", getattr(self, name))
        check_port(self.port, at, found)
        only_reference(f"{at}/password_ref", self.password_ref, found)
        if self.pool is not None:
            self.pool.check(f"{at}/pool", found)

    def pairs(self) -> str:
        """The address as ``host='…' user='…'``, with references in the place of secrets."""
        members = {
            "host": self.host,
            "port": None if self.port is None else str(self.port),
            "user": self.user,
            "password": self.password_ref,
            "dbname": self.database,
        }
        return " ".join(f"{name}={quoted(value)}" for name, value in members.items() if value is not None)


class PostgresServer(Server):
    """A database of a PostgreSQL server."""

    tls_mode: Literal["disable", "require", "verify-full"] = Field(
        default="verify-full", description="verify-full without ca_file trusts the system's certificates."
    )

    def check(self, at: str, found: Findings) -> None:
        super().check(at, found)
        if self.ca_file is not None and self.tls_mode != "verify-full":
            message = "is used with tls_mode verify-full only"
            found.add("CONNECTION_CA_FILE_UNUSED", f"{at}/ca_file", message, [f"{at}/tls_mode"])


class MysqlServer(Server):
    """A database of a MySQL or MariaDB server. With ``ca_file`` it is asked over TLS only."""


class SqliteFile(Config):
    """A file with a database."""

    path: Text = Field(description="Relative to the project root.")

    def check(self, at: str, found: Findings) -> None:
        found.blank("CONNECTION_MEMBER_EMPTY", f"{at}/path", self.path)


class RestService(Config):
    """An HTTP service: where it is, how to sign in, and what it may be asked."""

    url: Text = Field(description="Of the service; what interfaces name lies below it.")
    headers: dict[str, str] = Field(default={}, description="Sent with every request; a value may be a reference.")
    auth: RestAuth | None = None
    hosts: tuple[Text, ...] = Field(
        default=(), description="Further hosts that may be asked, and private networks that names may lead to."
    )
    ca_file: Text | None = Field(default=None, description="Certificates to trust instead of the system's.")
    proxy: Text | None = Field(default=None, description="A URL, or environment to use HTTPS_PROXY and its like.")
    rate_limit: RateLimit | None = Field(default=None, description="Shared by everything that asks this host.")

    def check(self, at: str, found: Findings) -> None:
        # The members are those of driver.rest, and so are their rules.
        self.config().check(at, found)
        found.problems += found.warnings
        found.warnings.clear()
        parts = urlsplit(self.url)
        if self.url.strip() and (parts.scheme not in ("http", "https") or not parts.hostname):
            found.add("CONNECTION_URL_INVALID", f"{at}/url", 'must be "http://host/…" or "https://host/…"')
        elif parts.query or parts.fragment or "@" in parts.netloc:
            message = "must hold no query, no fragment and no user; sign in by auth"
            found.add("CONNECTION_URL_INVALID", f"{at}/url", message)

    def config(self) -> RestConfig:
        """As the block of a driver."""
        return RestConfig.model_validate({name: getattr(self, name) for name in self.model_fields_set | {"url"}})


class SmtpServer(Config):
    """A server that takes mail."""

    host: Text
    port: Positive | None = Field(default=None, description="587 for starttls, 465 for tls, 25 for none.")
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: Text | None = None
    password_ref: Text | None = Field(default=None, description='A reference: "env://NAME" or "file://name".')
    sender: Text = Field(description="The address that mail comes from.")
    ca_file: Text | None = Field(default=None, description="Certificates to trust instead of the system's.")

    def check(self, at: str, found: Findings) -> None:
        for name in ("host", "user", "sender", "ca_file"):
            found.blank("CONNECTION_MEMBER_EMPTY", f"{at}/{name}", getattr(self, name))
        check_port(self.port, at, found)
        check_mail_address(self.sender, f"{at}/sender", found)
        only_reference(f"{at}/password_ref", self.password_ref, found)
        if (self.user is None) != (self.password_ref is None):
            missing = "user" if self.user is None else "password_ref"
            found.add("CONNECTION_SIGN_IN_INCOMPLETE", f"{at}/{missing}", "user and password_ref belong together")
        if self.user is not None and self.tls == "none":
            message = "would send the password in clear; use starttls or tls"
            found.add("CONNECTION_SMTP_CLEAR", f"{at}/tls", message, [f"{at}/user"])

    @property
    def used_port(self) -> int:
        """The port that is given, else the usual one."""
        return self.port or SMTP_PORTS[self.tls]


class DefaultDestination(Config):
    """Where the records of a source go unless somebody says otherwise."""

    connection: Text
    schema_name: Text | None = Field(default=None, alias="schema")


class Connection(Config):
    """One named system; only the block of its kind is there."""

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["name", "kind"],
            "allOf": [needs_block(kind) for kind in KINDS],
        }
    )

    name: str = Field(json_schema_extra={"pattern": f"^{CONNECTION_NAME.pattern}$"})
    kind: ConnectionKind
    postgres: PostgresServer | None = None
    mysql: MysqlServer | None = None
    sqlite: SqliteFile | None = None
    rest: RestService | None = None
    smtp: SmtpServer | None = None
    max_runs: Positive | None = Field(
        default=None, description="So many runs use it at once: the limit of its pool in Dagster."
    )
    default_destination: DefaultDestination | None = None
    notes: str | None = None

    def check(self, at: str, found: Findings) -> None:
        if not CONNECTION_NAME.fullmatch(self.name):
            message = "must start with a letter and hold up to 63 letters, digits, '_' and '-'"
            found.add("CONNECTION_NAME_INVALID", f"{at}/name", message)
        found.below_one("CONNECTION_MAX_RUNS_INVALID", f"{at}/max_runs", self.max_runs)
        for kind in KINDS:
            block: Config | None = getattr(self, kind)
            if kind == self.kind and block is None:
                message = f'is needed for kind "{kind}"'
                found.add("CONNECTION_BLOCK_REQUIRED", f"{at}/{kind}", message, [f"{at}/kind"])
            elif kind == self.kind and block is not None:
                block.check(f"{at}/{kind}", found)
            elif block is not None:
                message = f"kind {self.kind} does not use it; remove it"
                found.add("CONNECTION_BLOCK_UNEXPECTED", f"{at}/{kind}", message, [f"{at}/kind"])

    @property
    def place(self) -> str:
        """Where it leads, for people: no user, no password."""
        match self.kind:
            case "sqlite":
                return self.sqlite.path if self.sqlite else ""
            case "rest":
                parts = urlsplit(self.rest.url if self.rest else "")
                return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
            case "smtp":
                return f"{self.smtp.host}:{self.smtp.used_port}" if self.smtp else ""
            case "postgres" | "mysql":
                server = self.postgres or self.mysql
                port = f":{server.port}" if server and server.port else ""
                return f"{server.host}{port}/{server.database}" if server else ""

    @property
    def db(self) -> DbConfig | None:
        """As the block of a driver, without what to read; None where it is no database."""
        match self.kind:
            case "sqlite" if self.sqlite is not None:
                return DbConfig(kind="sqlite", connection=self.sqlite.path)
            case "postgres" if self.postgres is not None:
                members = {"kind": "postgres", "postgres_tls_mode": self.postgres.tls_mode}
                return DbConfig.model_validate(members | shared(self.postgres))
            case "mysql" if self.mysql is not None:
                return DbConfig.model_validate({"kind": "mysql"} | shared(self.mysql))
            case _:
                return None


def shared(server: Server) -> dict[str, object]:
    """The members of a database block that both servers have, as far as they are given."""
    members = {"connection": server.pairs(), "ca_file": server.ca_file, "pool": server.pool}
    return {name: value for name, value in members.items() if value is not None}


def quoted(value: str) -> str:
    """*value* as it stands behind ``=`` in such a list."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def check_port(port: int | None, at: str, found: Findings) -> None:
    """Report a port that is none."""
    if port is not None and not 0 < port < 65536:
        found.add("CONNECTION_PORT_INVALID", f"{at}/port", f"must be from 1 to 65535, not {port}")


def check_mail_address(text: str, pointer: str, found: Findings) -> None:
    """Report what no mail can be sent to; line ends above all, which would begin another header."""
    if text.strip() and not re.fullmatch(r"[^@\s<>,;:\"]+@[^@\s<>,;:\"]+", text):
        found.add("MAIL_ADDRESS_INVALID", pointer, 'must be one address such as "ops@example.com"')
