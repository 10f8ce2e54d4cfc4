"""A table of dead letters in SQLite: the columns of the reference, plus id, run, commit, and what became of each.

Source: spec/1-reference.md 1.10. A table that the reference made is extended in place.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.core.ports import DeadLetterSink
from rootsys_dagster.core.record import dead_letter_id
from rootsys_dagster.core.registry import SINKS
from rootsys_dagster.log.letters import parse_outcome

BUSY_S = 10.0
CREATE = """
CREATE TABLE IF NOT EXISTS "{table}" (
  id INTEGER PRIMARY KEY AUTOINCREMENT, created_at_unix_ms INTEGER NOT NULL, source TEXT NOT NULL,
  interface_name TEXT NOT NULL, interface_version TEXT NOT NULL, payload_json TEXT NOT NULL,
  metadata_json TEXT NOT NULL, reason_codes_json TEXT NOT NULL, lineage_json TEXT, errors_json TEXT NOT NULL
)"""
ADDED = {
    "run_id": "TEXT",
    "commit_seq": "INTEGER",
    "dead_letter_id": "TEXT",
    "state": "TEXT",
    "attempts": "INTEGER",
    "last_commit_seq": "INTEGER",
    "record_id": "TEXT",
    "decided_by": "TEXT",
    "note": "TEXT",
}
INSERT = """
INSERT OR IGNORE INTO "{table}" (created_at_unix_ms, source, interface_name, interface_version, payload_json,
  metadata_json, reason_codes_json, lineage_json, errors_json, run_id, commit_seq, dead_letter_id, state, attempts,
  last_commit_seq)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'open', 1, ?11)"""
# A commit that is told of twice counts once.
OUTCOME = """
UPDATE "{table}" SET state = ?2, attempts = coalesce(attempts, 1) + ?3, last_commit_seq = ?4, record_id = ?5,
  decided_by = ?6, note = ?7, errors_json = coalesce(?8, errors_json),
  reason_codes_json = coalesce(?9, reason_codes_json)
WHERE dead_letter_id = ?1 AND coalesce(last_commit_seq, 0) < ?4"""


class _Name(msgspec.Struct):
    name: str
    version: str


class _Lineage(msgspec.Struct):
    rejected_at_unix_ms: int


class _DeadLetter(msgspec.Struct):
    source: str
    interface: _Name
    payload: msgspec.Raw
    metadata: msgspec.Raw
    reason_codes: msgspec.Raw
    lineage: msgspec.Raw
    errors: msgspec.Raw


_decode = msgspec.json.Decoder(_DeadLetter).decode
_lineage = msgspec.json.Decoder(_Lineage).decode


@SINKS.register("sqlite")
class SqliteSink(DeadLetterSink):
    """One transaction per commit; a dead letter that is there already is left as it is."""

    def __init__(self, path: Path, table: str) -> None:
        super().__init__(path, table)
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
                connection.executemany(INSERT.format(table=self.table), self._rows(lines, run_id, commit_seq))
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error
        return self._connection.total_changes - before

    def outcomes(self, lines: Iterable[bytes], *, run_id: str, commit_seq: int) -> None:
        """Show state, attempts and the newest errors of the dead letters that a commit tells of."""
        assert self._connection is not None
        try:
            with self._connection as connection:
                connection.executemany(OUTCOME.format(table=self.table), _outcomes(lines, commit_seq))
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

    @staticmethod
    def _rows(lines: Iterable[bytes], run_id: str, commit_seq: int) -> Iterator[tuple[Any, ...]]:
        for line in lines:
            letter = _decode(line)
            yield (
                _lineage(letter.lineage).rejected_at_unix_ms,
                letter.source,
                letter.interface.name,
                letter.interface.version,
                bytes(letter.payload).decode(),
                bytes(letter.metadata).decode(),
                bytes(letter.reason_codes).decode(),
                bytes(letter.lineage).decode(),
                bytes(letter.errors).decode(),
                run_id,
                commit_seq,
                dead_letter_id(line),
            )

    def _unavailable(self, error: Exception) -> TransientError:
        # The text of a SQLite error may quote values: its class says enough.
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}"
        return TransientError(
            f"cannot write dead letters to {self.path}: {reason}; they are safe in the commit log, the next run "
            "writes them",
            code="SINK.UNAVAILABLE",
        )


def _outcomes(lines: Iterable[bytes], commit_seq: int) -> Iterator[tuple[Any, ...]]:
    for line in lines:
        one = parse_outcome(line)
        failing = one.outcome == "failing"
        yield (
            one.dead_letter_id,
            one.outcome,
            0 if one.outcome == "discarded" else 1,
            commit_seq,
            one.record_id,
            one.by,
            one.note,
            bytes(one.errors).decode() if failing else None,
            msgspec.json.encode(one.reason_codes).decode() if failing else None,
        )
