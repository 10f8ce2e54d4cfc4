"""``driver.db``: one query against SQLite, PostgreSQL or MySQL, one record per row."""

from typing import Literal

from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Config, Findings, Positive, Text
from rootsys_dagster.core.policy import CircuitBreaker, Retry


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

    model_config = ConfigDict(json_schema_extra={"required": ["kind", "connection", "query"]})

    kind: Literal["sqlite", "postgres", "mysql"] = "sqlite"
    connection: Text = Field(description="A file for sqlite, a URL otherwise.")
    query: Text = Field(description="Runs as it stands.")
    postgres_tls_mode: Literal["disable", "require"] = "disable"
    pool: Pool | None = None
    retry: Retry | None = None
    circuit_breaker: CircuitBreaker | None = None

    def check(self, at: str, found: Findings) -> None:
        kind = f"{at}/kind"
        found.blank("DB_CONNECTION_EMPTY", f"{at}/connection", self.connection)
        found.blank("DB_QUERY_EMPTY", f"{at}/query", self.query)
        if self.kind != "postgres" and "postgres_tls_mode" in self.model_fields_set:
            message = f"only postgres has it, and kind is {self.kind}; remove it"
            found.add("DB_TLS_MODE_ONLY_FOR_POSTGRES", f"{at}/postgres_tls_mode", message, [kind])
        if self.pool is not None:
            if self.kind == "sqlite":
                message = "sqlite has no pool; remove it"
                found.add("DB_POOL_UNSUPPORTED_FOR_SQLITE", f"{at}/pool", message, [kind])
            self.pool.check(f"{at}/pool", found)
        if self.retry is not None:
            self.retry.check_as("DB", f"{at}/retry", found)
        if self.circuit_breaker is not None:
            self.circuit_breaker.check_as("DB", f"{at}/circuit_breaker", found)
