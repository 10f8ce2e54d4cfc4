"""A table of dead letters in SQLite. One that the reference made is extended in place."""

import sqlite3
from collections.abc import Iterable
from typing import Any

from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.core.ports import DeadLetterSink, SinkPlace
from rootsys_dagster.core.registry import SINKS
from rootsys_dagster.sinks.rows import ADDED, INSERT, OUTCOME, inserted, told

BUSY_S = 10.0
CREATE = """
CREATE TABLE IF NOT EXISTS "{table}" (
  id INTEGER PRIMARY KEY AUTOINCREMENT, created_at_unix_ms INTEGER NOT NULL, source TEXT NOT NULL,
  interface_name TEXT NOT NULL, interface_version TEXT NOT NULL, payload_json TEXT NOT NULL,
  metadata_json TEXT NOT NULL, reason_codes_json TEXT NOT NULL, lineage_json TEXT, errors_json TEXT NOT NULL
)"""


@SINKS.register("sqlite")
class SqliteSink(DeadLetterSink):
    """One transaction per commit; a dead letter that is there already is left as it is."""

    def __init__(self, place: SinkPlace) -> None:
        super().__init__(place)
        self.path = place.path
        self.table = place.table
        self._connection: sqlite3.Connection | None = None

    def resume(self, mark: dict[str, Any]) -> bool:
        """Open the database; False when it or its table is not the one that was written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = self._connection = self._connection or sqlite3.connect(self.path, timeout=BUSY_S)
            with connection:
                there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (self.table,)).fetchone()
                self._create(connection)
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error
        return not mark or (bool(there) and mark == self.mark())

    def write(self, lines: Iterable[bytes], *, run_id: str, commit_seq: int) -> int:
        """Insert the dead letters of one commit."""
        assert self._connection is not None
        before = self._connection.total_changes
        try:
            with self._connection as connection:
                connection.executemany(INSERT.format(table=self.table), inserted(lines, run_id, commit_seq))
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error
        return self._connection.total_changes - before

    def outcomes(self, lines: Iterable[bytes], *, run_id: str, commit_seq: int) -> None:
        """Show state, attempts and the newest errors of the dead letters that a commit tells of."""
        assert self._connection is not None
        try:
            with self._connection as connection:
                connection.executemany(OUTCOME.format(table=self.table), told(lines, commit_seq))
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error

    def mark(self) -> dict[str, Any]:
        """Every write is its own transaction: nothing more is needed."""
        return {"path": str(self.path.absolute()), "table": self.table}

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute(CREATE.format(table=self.table))
        present = {row[1] for row in connection.execute(f'PRAGMA table_info("{self.table}")')}
        for column, kind in ADDED.items():
            if column not in present:
                connection.execute(f'ALTER TABLE "{self.table}" ADD COLUMN {column} {kind}')
        connection.execute(
            f'CREATE UNIQUE INDEX IF NOT EXISTS "{self.table}_dead_letter_id" ON "{self.table}" (dead_letter_id)'
        )

    def _unavailable(self, error: Exception) -> TransientError:
        # The text of a SQLite error may quote values: its name says enough.
        reason = error.strerror if isinstance(error, OSError) else getattr(error, "sqlite_errorname", "it is closed")
        return TransientError(
            f"cannot write dead letters to {self.path}: {reason}; they are safe in the commit log, the next run "
            "writes them",
            code="SINK.UNAVAILABLE",
        )
