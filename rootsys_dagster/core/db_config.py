"""``driver.db``: one query or table of SQLite, PostgreSQL or MySQL, one record per row."""

import re
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Config, Findings, Positive, Text
from rootsys_dagster.core.policy import CircuitBreaker, Retry
from rootsys_dagster.core.secret_ref import passwords_in

# Names are quoted wherever they are used, so this only keeps out what nobody calls a table or a column.
NAME: Final = re.compile(r"(?! )[\w$#@ -]{1,128}(?<! )")
TABLE: Final = re.compile(rf"{NAME.pattern}(\.{NAME.pattern}){{0,2}}")
Names = Annotated[tuple[Text, ...], Field(json_schema_extra={"uniqueItems": True})]


class Pool(Config):
    """How many connections to PostgreSQL or MySQL are kept and at most opened."""

    min_connections: Positive = 1
    max_connections: Positive = 10

    def check(self, at: str, found: Findings) -> None:
        found.below_one("DB_POOL_MIN_CONNECTIONS_INVALID", f"{at}/min_connections", self.min_connections)
        found.below_one("DB_POOL_MAX_CONNECTIONS_INVALID", f"{at}/max_connections", self.max_connections)
        if self.min_connections > self.max_connections:
            message = f"min_connections {self.min_connections} is above max_connections {self.max_connections}"
            found.add("DB_POOL_MIN_GT_MAX", at, message, [f"{at}/min_connections", f"{at}/max_connections"])


class DbConfig(Config):
    """One database source."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["query"]}, {"required": ["table"]}],
        }
    )

    kind: Literal["sqlite", "postgres", "mysql"] = "sqlite"
    connection: Text = Field(
        default="",
        description="A file for sqlite; otherwise a URL, or host=… user=…; a password is a reference such as $NAME.",
    )
    query: Text | None = Field(default=None, description="One SELECT; {name} stands for the watermark of that name.")
    table: Text | None = Field(default=None, description="Instead of a query: all of this table, or schema.table.")
    columns: Names = Field(default=(), description="Only these columns, in this order.")
    partition_key: Text | None = Field(
        default=None, description="A column by which a full read of a large table is split into shards."
    )
    shards: Positive = Field(default=4, description="How many parts are read at once; pool.max_connections caps it.")
    postgres_tls_mode: Literal["disable", "require", "verify-full"] = "disable"
    ca_file: Text | None = Field(
        default=None,
        description="Certificates that the server's must descend from: with verify-full, and for mysql, which then "
        "needs TLS.",
    )
    pool: Pool | None = None
    connect_timeout_ms: Positive = 10_000
    statement_timeout_ms: Positive | None = Field(default=None, description="The server ends a longer statement.")
    idle_timeout_ms: Positive = Field(
        default=300_000, description="A read fails when the server has sent nothing for so long."
    )
    retry: Retry | None = None
    circuit_breaker: CircuitBreaker | None = None

    def check(self, at: str, found: Findings) -> None:
        kind = f"{at}/kind"
        if "connection" in self.model_fields_set:
            found.blank("DB_CONNECTION_EMPTY", f"{at}/connection", self.connection)
        if self.kind != "sqlite":
            for password in passwords_in(self.connection):
                found.literal_secret(f"{at}/connection", password)
        self.check_selection(at, found)
        found.below_one("DB_CONNECT_TIMEOUT_INVALID", f"{at}/connect_timeout_ms", self.connect_timeout_ms)
        found.below_one("DB_STATEMENT_TIMEOUT_INVALID", f"{at}/statement_timeout_ms", self.statement_timeout_ms)
        found.below_one("DB_IDLE_TIMEOUT_INVALID", f"{at}/idle_timeout_ms", self.idle_timeout_ms)
        if self.kind != "postgres" and "postgres_tls_mode" in self.model_fields_set:
            message = f"only postgres has it, and kind is {self.kind}; remove it"
            found.add("DB_TLS_MODE_ONLY_FOR_POSTGRES", f"{at}/postgres_tls_mode", message, [kind])
        self.check_ca_file(at, found)
        if self.pool is not None:
            if self.kind == "sqlite":
                message = "sqlite has no pool; remove it"
                found.add("DB_POOL_UNSUPPORTED_FOR_SQLITE", f"{at}/pool", message, [kind])
            self.pool.check(f"{at}/pool", found)
        if self.retry is not None:
            self.retry.check_as("DB", f"{at}/retry", found)
        if self.circuit_breaker is not None:
            self.circuit_breaker.check_as("DB", f"{at}/circuit_breaker", found)

    def check_selection(self, at: str, found: Findings) -> None:
        """Report what does not name one thing to read."""
        found.blank("DB_QUERY_EMPTY", f"{at}/query", self.query)
        if self.query is None and self.table is None:
            found.add("DB_QUERY_REQUIRED", f"{at}/query", "is needed, or name a table", [f"{at}/table"])
        if self.query is not None and self.table is not None:
            found.add("DB_TABLE_QUERY_CONFLICT", f"{at}/table", "query is given too; keep one of them", [f"{at}/query"])
        if self.table is not None and not TABLE.fullmatch(self.table):
            message = "must be a name or schema.name of letters, digits, spaces and _ $ # @ -"
            found.add("DB_TABLE_INVALID", f"{at}/table", message)
        firsts: dict[str, int] = {}
        for index, column in enumerate(self.columns):
            check_column(column, f"{at}/columns/{index}", found)
            first = firsts.setdefault(column, index)
            if first < index:
                found.add("DUPLICATE_ENTRY", f"{at}/columns/{index}", f"repeats entry {first}; remove it")
        if self.partition_key is not None and self.kind != "postgres":
            message = f"only postgres reads one snapshot by several connections, and kind is {self.kind}; remove it"
            found.add("DB_PARTITION_KEY_ONLY_FOR_POSTGRES", f"{at}/partition_key", message, [f"{at}/kind"])
        if self.partition_key is not None:
            check_column(self.partition_key, f"{at}/partition_key", found)
        found.below_one("DB_SHARDS_INVALID", f"{at}/shards", self.shards)
        if self.partition_key is None and "shards" in self.model_fields_set:
            found.add("DB_SHARDS_WITHOUT_KEY", f"{at}/shards", "needs partition_key, the column to split by")

    def check_ca_file(self, at: str, found: Findings) -> None:
        """Report certificates that nothing would be checked against."""
        found.blank("DB_CA_FILE_EMPTY", f"{at}/ca_file", self.ca_file)
        verified = self.kind == "mysql" or (self.kind == "postgres" and self.postgres_tls_mode == "verify-full")
        if self.ca_file is not None and not verified:
            message = "is used by mysql, and by postgres with postgres_tls_mode verify-full"
            found.add("DB_CA_FILE_UNUSED", f"{at}/ca_file", message, [f"{at}/kind", f"{at}/postgres_tls_mode"])


def check_column(name: str, at: str, found: Findings) -> None:
    """Report a name that no column has."""
    if not NAME.fullmatch(name):
        found.add("DB_COLUMN_INVALID", at, "must be a column name of letters, digits, spaces and _ $ # @ -")
