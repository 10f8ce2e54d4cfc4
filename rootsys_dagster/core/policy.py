"""How much, how often and what then: limits, commit points, dead letters and their budget, retries, circuit breaker."""

import re
from typing import Literal

from pydantic import Field

from rootsys_dagster.core.config import Config, Findings, Positive, Text, Whole
from rootsys_dagster.core.secret_ref import passwords_in
from rootsys_dagster.core.stream_config import KafkaServer

OnFail = Literal["quarantine", "block", "skip"]
TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
POSTGRES_NAME_MAX = 63


class Limits(Config):
    """Where a run stops by name; what it has committed by then stays, and the next run goes on from there."""

    max_record_bytes: Positive = Field(
        default=16 << 20, description="A longer unit is a dead letter with its hash and start."
    )
    max_run_records: Positive | None = None
    max_run_bytes: Positive | None = Field(default=None, description="Raw input bytes of one run.")
    max_run_s: Positive | None = None

    def check(self, at: str, found: Findings) -> None:
        found.below_one("LIMITS_MAX_RECORD_BYTES_INVALID", f"{at}/max_record_bytes", self.max_record_bytes)
        found.below_one("LIMITS_MAX_RUN_RECORDS_INVALID", f"{at}/max_run_records", self.max_run_records)
        found.below_one("LIMITS_MAX_RUN_BYTES_INVALID", f"{at}/max_run_bytes", self.max_run_bytes)
        found.below_one("LIMITS_MAX_RUN_S_INVALID", f"{at}/max_run_s", self.max_run_s)


class CommitEvery(Config):
    """A run commits when it has this many records, raw input bytes or seconds, whichever comes first."""

    records: Positive = 1_000_000
    bytes: Positive = 256 << 20
    seconds: Positive = 60

    def check(self, at: str, found: Findings) -> None:
        found.below_one("COMMIT_EVERY_RECORDS_INVALID", f"{at}/records", self.records)
        found.below_one("COMMIT_EVERY_BYTES_INVALID", f"{at}/bytes", self.bytes)
        found.below_one("COMMIT_EVERY_SECONDS_INVALID", f"{at}/seconds", self.seconds)


class Budget(Config):
    """How many dead letters are still fine; beyond it the check of the asset fails, the data stays committed."""

    # 0 is a real budget here (none may be open), unlike everywhere else.
    max_open: Whole | None = Field(default=None, json_schema_extra={"minimum": 0})
    max_reject_ratio: float | None = Field(
        default=None,
        description="Dead letters divided by all units of a run, 0 to 1.",
        json_schema_extra={"minimum": 0, "maximum": 1},
    )

    def check(self, at: str, found: Findings) -> None:
        if self.max_open is not None and self.max_open < 0:
            found.add("DEAD_LETTERS_BUDGET_MAX_OPEN_INVALID", f"{at}/max_open", "must be at least 0")
        if self.max_reject_ratio is not None and not 0 <= self.max_reject_ratio <= 1:
            message = f"must be between 0 and 1, not {self.max_reject_ratio}"
            found.add("DEAD_LETTERS_BUDGET_MAX_REJECT_RATIO_INVALID", f"{at}/max_reject_ratio", message)


class DeadLetterPolicy(Config):
    """Where dead letters are published besides the commit log, which always keeps them."""

    kind: Literal["file", "sqlite", "postgres", "kafka"] = "file"
    path: Text | None = Field(default=None, description="Of file and sqlite; relative to the project root.")
    connection: Text | None = Field(
        default=None, description="Of postgres: a URL, or host=… user=…; a password is a reference such as $NAME."
    )
    kafka: KafkaServer | None = Field(default=None, description="Of kafka: the brokers, and a topic that is there.")
    table: str = Field(default="dead_letters", json_schema_extra={"pattern": f"^{TABLE_NAME.pattern}$"})
    budget: Budget | None = None

    def file_for(self, interface_name: str) -> str | None:
        """The file of the sink, relative to the project root: as named, else below ``dead_letters/``; None: no file."""
        if self.kind not in ("file", "sqlite"):
            return None
        ending = {"file": "jsonl", "sqlite": "db"}[self.kind]
        return self.path or f"dead_letters/{interface_name.replace('/', '_')}.{ending}"

    def check(self, at: str, found: Findings) -> None:
        found.blank("DEAD_LETTERS_PATH_EMPTY", f"{at}/path", self.path)
        if not TABLE_NAME.fullmatch(self.table):
            message = "must start with a letter or '_' and hold only letters, digits and '_'"
            found.add("DEAD_LETTERS_TABLE_INVALID", f"{at}/table", message)
        elif self.table.lower().startswith("sqlite_"):
            found.add("DEAD_LETTERS_TABLE_INVALID", f"{at}/table", "must not start with 'sqlite_', which SQLite keeps")
        elif self.kind == "postgres" and len(self.table) > POSTGRES_NAME_MAX:
            message = f"must be at most {POSTGRES_NAME_MAX} characters long: PostgreSQL cuts longer names off"
            found.add("DEAD_LETTERS_TABLE_INVALID", f"{at}/table", message, [f"{at}/kind"])
        self.check_connection(at, found)
        if self.budget is not None:
            self.budget.check(f"{at}/budget", found)

    def check_connection(self, at: str, found: Findings) -> None:
        """A server has a connection, a file has a path."""
        kind = [f"{at}/kind"]
        if self.kafka is not None:
            self.kafka.check(f"{at}/kafka", found)
        if (self.kafka is not None) != (self.kind == "kafka"):
            message = "belongs to kind kafka: give both or neither"
            found.add("DEAD_LETTERS_KAFKA_MISMATCH", f"{at}/kafka", message, kind)
        if self.kind == "kafka" and self.path is not None:
            message = "kafka writes no file; remove it, and name the topic in kafka"
            found.add("DEAD_LETTERS_PATH_UNEXPECTED", f"{at}/path", message, kind)
        found.blank("DEAD_LETTERS_CONNECTION_EMPTY", f"{at}/connection", self.connection)
        if self.kind == "postgres":
            if self.connection is None:
                message = 'is needed; put the URL of the database into the environment and write "env://NAME" here'
                found.add("DEAD_LETTERS_CONNECTION_REQUIRED", f"{at}/connection", message, kind)
            if self.path is not None:
                message = "postgres writes no file; remove it, and name the table in table"
                found.add("DEAD_LETTERS_PATH_UNEXPECTED", f"{at}/path", message, kind)
            for password in passwords_in(self.connection or ""):
                found.literal_secret(f"{at}/connection", password)
        elif self.connection is not None:
            message = f"{self.kind} writes to a path; remove it, or set kind to postgres"
            found.add("DEAD_LETTERS_CONNECTION_UNEXPECTED", f"{at}/connection", message, kind)


class Retry(Config):
    """Delays grow from base to max, each moved by up to the jitter; max_attempts counts the first try."""

    max_attempts: Positive = 3
    base_delay_ms: Positive = 100
    max_delay_ms: Positive = 2000
    jitter_percent: Whole = Field(default=20, json_schema_extra={"minimum": 0, "maximum": 100})

    def check_as(self, area: Literal["REST", "DB"], at: str, found: Findings) -> None:
        """Report under the codes of *area*."""
        found.below_one(f"{area}_RETRY_MAX_ATTEMPTS_INVALID", f"{at}/max_attempts", self.max_attempts)
        found.below_one(f"{area}_RETRY_BASE_DELAY_INVALID", f"{at}/base_delay_ms", self.base_delay_ms)
        found.below_one(f"{area}_RETRY_MAX_DELAY_INVALID", f"{at}/max_delay_ms", self.max_delay_ms)
        # A default is never below what the file gives: it is raised while running, so only two given values can clash.
        both_given = {"base_delay_ms", "max_delay_ms"} <= self.model_fields_set
        if both_given and self.max_delay_ms < self.base_delay_ms:
            message = f"must not be below base_delay_ms ({self.base_delay_ms}), and is {self.max_delay_ms}"
            found.add(f"{area}_RETRY_DELAY_RANGE_INVALID", f"{at}/max_delay_ms", message, [f"{at}/base_delay_ms"])
        if not 0 <= self.jitter_percent <= 100:
            message = f"must be between 0 and 100, not {self.jitter_percent}"
            found.add(f"{area}_RETRY_JITTER_PERCENT_INVALID", f"{at}/jitter_percent", message)


class CircuitBreaker(Config):
    """After so many failures in a row nothing is tried for a while; absent means no breaker."""

    failure_threshold: Positive = 5
    open_timeout_ms: Positive = 30_000

    def check_as(self, area: Literal["REST", "DB"], at: str, found: Findings) -> None:
        """Report under the codes of *area*."""
        threshold, timeout = self.failure_threshold, self.open_timeout_ms
        found.below_one(f"{area}_CIRCUIT_BREAKER_FAILURE_THRESHOLD_INVALID", f"{at}/failure_threshold", threshold)
        found.below_one(f"{area}_CIRCUIT_BREAKER_OPEN_TIMEOUT_INVALID", f"{at}/open_timeout_ms", timeout)


class RateLimit(Config):
    """How fast one host is asked, by all processes together."""

    requests_per_s: float = Field(json_schema_extra={"exclusiveMinimum": 0})
    burst: Positive = Field(default=1, description="So many may follow each other without a pause.")

    def check(self, at: str, found: Findings) -> None:
        if self.requests_per_s <= 0:
            message = f"must be above 0, not {self.requests_per_s:g}"
            found.add("RATE_LIMIT_REQUESTS_PER_S_INVALID", f"{at}/requests_per_s", message)
        found.below_one("RATE_LIMIT_BURST_INVALID", f"{at}/burst", self.burst)
