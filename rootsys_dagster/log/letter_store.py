"""Where the letters of a log are kept: a SQLite file beside the log, or one PostgreSQL for many logs.

The statements are those of both; what differs is a :class:`Dialect`. All of it can be made from the log again.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

VERSION: Final = 1
"""Of the tables in SQLite: a file of another version is made anew."""
BUSY_S: Final = 10.0
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What SQLite and PostgreSQL write differently.

    Attributes:
        log_column, log_value, of_log: where a database holds several logs, the one that is meant.
        codes, errors: of a letter, as rows of a table ``one``. error_path: of such an error.
        day: in UTC.
    """

    letters: str
    progress: str
    whole_number: str
    log_column: str
    log_value: str
    of_log: str
    codes: str
    errors: str
    error_path: str
    day: str

    def fill(self, statement: str) -> str:
        """*statement* in this dialect."""
        return statement.format(**{name: getattr(self, name) for name in self.__slots__})


SQLITE: Final = Dialect(
    letters="letters",
    progress="progress",
    whole_number="INTEGER",
    log_column="",
    log_value="",
    of_log="",
    codes="json_each(letters.reason_codes) AS one",
    errors="json_each(letters.errors) AS one",
    error_path="json_extract(one.value, '$.path')",
    day="date(letters.rejected_at_unix_ms / 1000, 'unixepoch')",
)
COLUMNS: Final = """
  id TEXT PRIMARY KEY, state TEXT NOT NULL, attempts {whole_number} NOT NULL, reason_codes TEXT NOT NULL,
  errors TEXT NOT NULL, locator TEXT, position TEXT NOT NULL, rejected_at_unix_ms {whole_number} NOT NULL,
  interface_sha256 TEXT NOT NULL, run_id TEXT NOT NULL, commit_seq {whole_number} NOT NULL,
  byte {whole_number} NOT NULL, length {whole_number} NOT NULL, last_seq {whole_number} NOT NULL,
  last_run_id TEXT NOT NULL, last_at TEXT NOT NULL, record_id TEXT, decided_by TEXT, note TEXT"""
CREATE_SQLITE: Final = f"""
CREATE TABLE IF NOT EXISTS letters ({COLUMNS});
CREATE INDEX IF NOT EXISTS letters_order ON letters (commit_seq, byte);
CREATE INDEX IF NOT EXISTS letters_state ON letters (state);
CREATE TABLE IF NOT EXISTS progress (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), seq INTEGER, sha256 TEXT);
PRAGMA user_version = {VERSION};
"""
# What a later read brought anew is history; a unit that it rejects again is open again, unless a person has decided.
REJECTED: Final = """
INSERT INTO {letters} AS letters ({log_column}id, state, attempts, reason_codes, errors, locator, position,
  rejected_at_unix_ms, interface_sha256, run_id, commit_seq, byte, length, last_seq, last_run_id, last_at)
VALUES ({log_value}?1, 'open', 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?9, ?8, ?12)
ON CONFLICT (id) DO UPDATE SET attempts = letters.attempts + 1, reason_codes = ?2, errors = ?3,
  state = CASE WHEN letters.state = 'superseded' OR (letters.state = 'replayed' AND letters.last_seq <= ?13)
    THEN 'open' ELSE letters.state END,
  last_seq = ?9, last_run_id = ?8, last_at = ?12"""
SUPERSEDED: Final = """
UPDATE {letters} SET state = 'superseded' WHERE state IN ('open', 'failing') AND last_seq <= ?1{of_log}"""
FAILING: Final = """
UPDATE {letters} SET state = 'failing', attempts = attempts + 1, reason_codes = ?2, errors = ?3,
  last_seq = ?4, last_run_id = ?5, last_at = ?6 WHERE id = ?1 AND state IN ('open', 'failing')"""
REPLAYED: Final = """
UPDATE {letters} SET state = 'replayed', attempts = attempts + 1, record_id = ?2, last_seq = ?3, last_run_id = ?4,
  last_at = ?5 WHERE id = ?1 AND state IN ('open', 'failing')"""
DISCARDED: Final = """
UPDATE {letters} SET state = 'discarded', decided_by = ?2, note = ?3, last_seq = ?4, last_run_id = ?5, last_at = ?6
  WHERE id = ?1 AND state IN ('open', 'failing')"""
FORGET: Final = ("DELETE FROM {letters} WHERE 1 = 1{of_log}", "DELETE FROM {progress} WHERE 1 = 1{of_log}")
PROGRESS: Final = "SELECT seq, sha256 FROM {progress} WHERE 1 = 1{of_log}"


class LetterStore(ABC):
    """A database with the letters of one log."""

    dialect: Dialect
    remember: str
    """The statement that keeps how far the log was followed: number and hash of a commit."""

    @abstractmethod
    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""

    @abstractmethod
    def execute(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of *rows*."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """All of the block or nothing of it, and nobody else meanwhile."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""


class SqliteLetters(LetterStore):
    """A file beside the log, or memory. Raises errors of ``sqlite3``."""

    dialect = SQLITE
    remember = "INSERT OR REPLACE INTO progress VALUES (1, ?1, ?2)"

    def __init__(self, database: str) -> None:
        self._connection = sqlite3.connect(database, timeout=BUSY_S, isolation_level=None)
        try:
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError("tables of another version")
            if version != VERSION:
                self._connection.executescript(SQLITE.fill(CREATE_SQLITE))
        except BaseException:
            self._connection.close()
            raise

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(self.dialect.fill(statement), values).fetchall()

    def execute(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(self.dialect.fill(statement), rows)

    @contextmanager
    def transaction(self) -> Generator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()
