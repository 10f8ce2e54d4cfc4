"""Letters of many logs in one PostgreSQL, so that one query sees them all."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import psycopg

from rootsys_dagster.log.commit import StreamId, folder_name
from rootsys_dagster.log.letter_store import COLUMNS, SQLITE, LetterStore, Row
from rootsys_dagster.postgres import connect, execute_many, numbered, parse, place_of, refusal, storable

CREATE: Final = (
    f"CREATE TABLE IF NOT EXISTS {{letters}} (log TEXT NOT NULL, {COLUMNS})",
    "CREATE INDEX IF NOT EXISTS rootsys_letters_order ON {letters} (log, commit_seq, byte)",
    "CREATE INDEX IF NOT EXISTS rootsys_letters_state ON {letters} (log, state)",
    "CREATE TABLE IF NOT EXISTS {progress} (log TEXT PRIMARY KEY, seq {whole_number}, sha256 TEXT)",
)
THERE: Final = "SELECT to_regclass('rootsys_letters_progress') IS NOT NULL"
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext(?1))"


class PostgresLetters(LetterStore):
    """The letters of one log. Raises only our errors; the log has everything, whatever becomes of the database."""

    remember = (
        "INSERT INTO {progress} (log, seq, sha256) VALUES ({log_value}?1, ?2) "
        "ON CONFLICT (log) DO UPDATE SET seq = ?1, sha256 = ?2"
    )

    def __init__(self, url: str, variable: str, stream: StreamId) -> None:
        members = parse(url, variable)
        self._at = place_of(members)
        # Percent-encoded, so that it can stand in a statement.
        self._log = f"{folder_name(stream.name)}/{folder_name(stream.version)}"
        self.dialect = replace(
            SQLITE,
            letters="rootsys_letters",
            progress="rootsys_letters_progress",
            whole_number="BIGINT",
            log_column="log, ",
            log_value=f"'{self._log}', ",
            of_log=f" AND log = '{self._log}'",
            codes="json_array_elements_text(letters.reason_codes::json) AS one(value)",
            # What a text cannot hold is never what a pointer is looked up by.
            errors="json_array_elements(replace(letters.errors, '\\u0000', '\\ufffd')::json) AS one(value)",
            error_path="one.value ->> 'path'",
            day="to_char(to_timestamp(letters.rejected_at_unix_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
        )
        with self._told():
            self._connection = connect(members)
        try:
            self._create()
        except BaseException:
            self.close()
            raise

    def _create(self) -> None:
        if self.rows(THERE) == [(True,)]:
            return
        with self.transaction("rootsys letters"):
            for statement in CREATE:
                self.execute(statement, [()])

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        with self._told():
            return self._connection.execute(self._text(statement), [storable(value) for value in values]).fetchall()

    def execute(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._told():
            execute_many(self._connection, self._text(statement), rows)

    @contextmanager
    def transaction(self, lock: str | None = None) -> Generator[None]:
        with self._told(), self._connection.transaction():
            self._connection.execute(self._text(LOCK), [lock or f"rootsys letters {self._log}"])
            yield

    def close(self) -> None:
        self._connection.close()

    def _text(self, statement: str) -> bytes:
        return numbered(self.dialect.fill(statement)).encode()

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except psycopg.Error as error:
            doing = f"cannot keep the states of dead letters in postgres {self._at}"
            raise refusal(error, doing, "what is committed is safe, try again", "LETTERS") from error
