"""What became of each dead letter: open, failing, replayed, discarded or superseded.

A follower of the commit log in a SQLite file of its own. The log is the authority: the file may be deleted, and what is
rebuilt from the log is what was kept. A letter goes by what it is about (``core.record.dead_letter_id``), so a unit
that is rejected again is another attempt of one letter and never a second letter.
"""

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from rootsys_dagster.core.errors import LogDamagedError, TransientError
from rootsys_dagster.core.record import dead_letter_id
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.followers import follower_lock
from rootsys_dagster.log.manifest import Manifest, SegmentKind
from rootsys_dagster.log.store import StorageError, make_folder, storage_errors

FOLLOWER = "letters"
COMMITS_PER_TRANSACTION = 64
PAGE = 500
BUSY_S = 10.0

State: TypeAlias = Literal["open", "failing", "replayed", "discarded", "superseded"]
"""``failing``: replayed and rejected again. ``superseded``: a later read brought everything anew, and not this."""
OPEN_STATES: tuple[State, ...] = ("open", "failing")

CREATE = """
CREATE TABLE IF NOT EXISTS letters (
  id TEXT PRIMARY KEY, state TEXT NOT NULL, attempts INTEGER NOT NULL, reason_codes TEXT NOT NULL, errors TEXT NOT NULL,
  locator TEXT, position TEXT NOT NULL, rejected_at_unix_ms INTEGER NOT NULL, interface_sha256 TEXT NOT NULL,
  run_id TEXT NOT NULL, commit_seq INTEGER NOT NULL, byte INTEGER NOT NULL, length INTEGER NOT NULL,
  last_seq INTEGER NOT NULL, last_run_id TEXT NOT NULL, last_at TEXT NOT NULL,
  record_id TEXT, decided_by TEXT, note TEXT
);
CREATE INDEX IF NOT EXISTS letters_order ON letters (commit_seq, byte);
CREATE INDEX IF NOT EXISTS letters_state ON letters (state);
CREATE TABLE IF NOT EXISTS progress (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), seq INTEGER, sha256 TEXT);
"""
# What a later read brought anew is history; a unit that it rejects again is open again, unless a person has decided.
REJECTED = """
INSERT INTO letters (id, state, attempts, reason_codes, errors, locator, position, rejected_at_unix_ms,
  interface_sha256, run_id, commit_seq, byte, length, last_seq, last_run_id, last_at)
VALUES (?1, 'open', 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?9, ?8, ?12)
ON CONFLICT (id) DO UPDATE SET attempts = attempts + 1, reason_codes = ?2, errors = ?3,
  state = CASE WHEN state = 'superseded' OR (state = 'replayed' AND last_seq <= ?13) THEN 'open' ELSE state END,
  last_seq = ?9, last_run_id = ?8, last_at = ?12
"""
SUPERSEDED = "UPDATE letters SET state = 'superseded' WHERE state IN ('open', 'failing') AND last_seq <= ?"
FAILING = """
UPDATE letters SET state = 'failing', attempts = attempts + 1, reason_codes = ?2, errors = ?3,
  last_seq = ?4, last_run_id = ?5, last_at = ?6 WHERE id = ?1 AND state IN ('open', 'failing')
"""
REPLAYED = """
UPDATE letters SET state = 'replayed', attempts = attempts + 1, record_id = ?2, last_seq = ?3, last_run_id = ?4,
  last_at = ?5 WHERE id = ?1 AND state IN ('open', 'failing')
"""
DISCARDED = """
UPDATE letters SET state = 'discarded', decided_by = ?2, note = ?3, last_seq = ?4, last_run_id = ?5, last_at = ?6
  WHERE id = ?1 AND state IN ('open', 'failing')
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter and what became of it.

    Attributes:
        reason_codes: a JSON array, of the newest attempt as ``errors`` is.
        position: where the unit stood at its source, a JSON object.
        commit_seq: the commit in which it was rejected first; ``byte`` and ``length`` are its line in that segment.
        last_seq: the commit that says what it is now: the one that resolved it, when it is resolved.
    """

    id: str
    state: State
    attempts: int
    reason_codes: str
    errors: str
    locator: str | None
    position: str
    rejected_at_unix_ms: int
    interface_sha256: str
    run_id: str
    commit_seq: int
    byte: int
    length: int
    last_seq: int
    last_run_id: str
    last_at: str
    record_id: str | None
    decided_by: str | None
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain members, JSON texts as what they say."""
        members: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return members | {name: msgspec.json.decode(members[name]) for name in ("reason_codes", "errors", "position")}


COLUMNS = ", ".join(field.name for field in fields(Letter))


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters are meant; every condition that is given must hold.

    Args:
        reason: a reason code. pointer: of an error. ids: whole, or their first characters.
        since_unix_ms: rejected first at or after; until_unix_ms: before.
    """

    states: Sequence[State] = ()
    reason: str | None = None
    pointer: str | None = None
    ids: Sequence[str] = ()
    since_unix_ms: int | None = None
    until_unix_ms: int | None = None
    interface_sha256: str | None = None

    def where(self) -> tuple[str, list[Any]]:
        """SQL and its values."""
        conditions: list[str] = ["1"]
        values: list[Any] = []

        def add(condition: str, *parameters: Any) -> None:
            conditions.append(condition)
            values.extend(parameters)

        if self.states:
            add(f"state IN ({', '.join('?' * len(self.states))})", *self.states)
        if self.ids:
            add(f"({' OR '.join(['substr(letters.id, 1, ?) = ?'] * len(self.ids))})", *_prefixes(self.ids))
        if self.reason is not None:
            add("EXISTS (SELECT 1 FROM json_each(reason_codes) WHERE value = ?)", self.reason)
        if self.pointer is not None:
            add("EXISTS (SELECT 1 FROM json_each(errors) WHERE json_extract(value, '$.path') = ?)", self.pointer)
        if self.since_unix_ms is not None:
            add("rejected_at_unix_ms >= ?", self.since_unix_ms)
        if self.until_unix_ms is not None:
            add("rejected_at_unix_ms < ?", self.until_unix_ms)
        if self.interface_sha256 is not None:
            add("interface_sha256 = ?", self.interface_sha256)
        return " AND ".join(conditions), values


def _prefixes(ids: Sequence[str]) -> Iterator[Any]:
    for one in ids:
        yield from (len(one), one)


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of an ``outcomes`` segment: what a replay or a person has done with one letter."""

    dead_letter_id: str
    outcome: Literal["replayed", "failing", "discarded"]
    record_id: str | None = None
    reason_codes: list[str] = []
    errors: msgspec.Raw = msgspec.Raw(b"[]")
    by: str | None = None
    note: str | None = None


class _Details(msgspec.Struct):
    locator: str | None = None
    position: msgspec.Raw = msgspec.Raw(b"null")


class _Metadata(msgspec.Struct):
    source_details: _Details | None = None


class _Lineage(msgspec.Struct):
    rejected_at_unix_ms: int = 0


class _Line(msgspec.Struct):
    reason_codes: msgspec.Raw
    errors: msgspec.Raw
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    lineage: _Lineage | None = None


_line = msgspec.json.Decoder(_Line).decode
parse_outcome = msgspec.json.Decoder(Outcome).decode
outcome_line = msgspec.json.Encoder().encode


class Letters:
    """The letters of one log as they stand at commit :attr:`seq`."""

    def __init__(self, log: CommitLog, connection: sqlite3.Connection) -> None:
        self.log = log
        self._connection = connection
        self.seq = 0

    def select(self, wanted: LetterFilter, limit: int | None = None) -> Iterator[Letter]:
        """The letters that are meant, in the order in which they were rejected."""
        where, values = wanted.where()
        query = f"SELECT {COLUMNS} FROM letters WHERE {where} AND (commit_seq, byte) > (?, ?) ORDER BY commit_seq, byte"
        last = (0, -1)
        while limit is None or limit > 0:
            # Page by page: a cursor left open would keep whoever follows the log from writing.
            page = PAGE if limit is None else min(PAGE, limit)
            rows = self._connection.execute(f"{query} LIMIT ?", [*values, *last, page]).fetchall()
            yield from (Letter(*row) for row in rows)
            if len(rows) < page:
                return
            last = (Letter(*rows[-1]).commit_seq, Letter(*rows[-1]).byte)
            limit = None if limit is None else limit - page

    def counts(self, wanted: LetterFilter | None = None) -> dict[State, int]:
        """How many letters there are by state."""
        where, values = (wanted or LetterFilter()).where()
        return dict(
            self._connection.execute(f"SELECT state, count(*) FROM letters WHERE {where} GROUP BY state", values)
        )

    def open_count(self) -> int:
        """How many letters wait for somebody."""
        counts = self.counts()
        return sum(counts.get(state, 0) for state in OPEN_STATES)

    def by(self, what: Literal["reason", "pointer", "day", "state"], wanted: LetterFilter) -> list[tuple[str, int]]:
        """How many of the letters that are meant, by reason code, by pointer of an error, by day (UTC) or by state."""
        where, values = wanted.where()
        source, key = {
            "reason": ("letters, json_each(reason_codes) AS one", "one.value"),
            "pointer": ("letters, json_each(errors) AS one", "coalesce(json_extract(one.value, '$.path'), '')"),
            "day": ("letters", "date(rejected_at_unix_ms / 1000, 'unixepoch')"),
            "state": ("letters", "state"),
        }[what]
        order = "1" if what == "day" else "2 DESC, 1"
        query = f"SELECT {key}, count(DISTINCT letters.id) FROM {source} WHERE {where} GROUP BY 1 ORDER BY {order}"
        return [(str(name), count) for name, count in self._connection.execute(query, values)]

    def lines(self, letters: Iterable[Letter]) -> Iterator[tuple[Letter, bytes]]:
        """Each letter with its line, as it was committed.

        Raises:
            LogDamagedError: the segment cannot be read.
        """
        seq, stream = 0, None
        try:
            for letter in letters:
                if stream is None or letter.commit_seq != seq:
                    if stream is not None:
                        stream.close()
                    seq, stream = letter.commit_seq, None
                    file = self.log.manifest(seq).file("dead_letters")
                    assert file is not None
                    with _readable(self.log):
                        stream = self.log.path(file).open("rb")
                with _readable(self.log):
                    stream.seek(letter.byte)
                    yield letter, stream.read(letter.length)
        finally:
            if stream is not None:
                stream.close()

    def catch_up(self) -> None:
        """Take over every commit that was made since."""
        with closing(self._connection.cursor()) as cursor:
            row = cursor.execute("SELECT seq, sha256 FROM progress").fetchone()
            self.seq, sha256 = row or (0, None)
            newest = self.log.last_seq()
            if self.seq > newest or (self.seq and self.log.manifest_sha256(self.seq) != sha256):
                # Another history than the one that was followed: a log that was restored from a backup.
                cursor.executescript("DELETE FROM letters; DELETE FROM progress;")
                self.seq = 0
            replaced = self.log.manifest(self.seq).replaced if self.seq else 0
            for manifest in self.log.manifests(self.seq):
                if manifest.replaced > replaced:
                    replaced = manifest.replaced
                    cursor.execute(SUPERSEDED, (replaced,))
                self._take(cursor, manifest)
                self.seq = manifest.seq
                if self.seq % COMMITS_PER_TRANSACTION == 0:
                    self._remember(cursor)
            self._remember(cursor)

    def _remember(self, cursor: sqlite3.Cursor) -> None:
        if self.seq:
            values = (self.seq, self.log.manifest_sha256(self.seq))
            cursor.execute("INSERT OR REPLACE INTO progress VALUES (1, ?, ?)", values)
        self._connection.commit()

    def _take(self, cursor: sqlite3.Cursor, manifest: Manifest) -> None:
        when = (manifest.seq, manifest.run_id, manifest.committed_at)
        cursor.executemany(REJECTED, _rejections(self.log, manifest))
        for _, line in _lines(self.log, manifest, "outcomes"):
            one = parse_outcome(line)
            match one.outcome:
                case "replayed":
                    cursor.execute(REPLAYED, (one.dead_letter_id, one.record_id, *when))
                case "failing":
                    codes = msgspec.json.encode(one.reason_codes).decode()
                    cursor.execute(FAILING, (one.dead_letter_id, codes, bytes(one.errors).decode(), *when))
                case "discarded":
                    cursor.execute(DISCARDED, (one.dead_letter_id, one.by, one.note, *when))


def _rejections(log: CommitLog, manifest: Manifest) -> Iterator[tuple[Any, ...]]:
    for byte, line in _lines(log, manifest, "dead_letters"):
        letter = _line(line)
        details = letter.metadata.source_details or _Details()
        yield (
            dead_letter_id(line),
            bytes(letter.reason_codes).decode(),
            bytes(letter.errors).decode(),
            details.locator,
            bytes(details.position).decode(),
            letter.lineage.rejected_at_unix_ms if letter.lineage else 0,
            manifest.interface_sha256,
            manifest.run_id,
            manifest.seq,
            byte,
            len(line),
            manifest.committed_at,
            manifest.replaced,
        )


def _lines(log: CommitLog, manifest: Manifest, kind: SegmentKind) -> Iterator[tuple[int, bytes]]:
    """The lines of a segment, each with the byte at which it begins."""
    file = manifest.file(kind)
    if file is None:
        return
    byte = 0
    with _readable(log), log.path(file).open("rb") as stream:
        for line in stream:
            yield byte, line
            byte += len(line)


@contextmanager
def _readable(log: CommitLog) -> Generator[None]:
    try:
        yield
    except OSError as error:
        message = f"{log.stream}: cannot read {error.filename}: {error.strerror}; restore it from a backup"
        raise LogDamagedError(message) from error


def letters_path(log: CommitLog) -> Path:
    """Where the letters of *log* are kept; deleting it costs the time to read the log again."""
    return log.folder / "index" / "letters.db"


@contextmanager
def open_letters(log: CommitLog) -> Generator[Letters]:
    """The letters of *log* up to its newest commit. On a state root that cannot be written, they are made in memory.

    Raises:
        LockedError: another process is catching up and does not get done.
        LogDamagedError: the log cannot be read.
    """
    path = letters_path(log)
    try:
        with follower_lock(log, FOLLOWER):
            letters = _caught_up(log, path)
    except StorageError:
        letters = _in_memory(log)
    with closing(letters._connection):  # pyright: ignore[reportPrivateUsage]
        yield letters


def _caught_up(log: CommitLog, path: Path) -> Letters:
    with storage_errors(path.parent):
        make_folder(path.parent, log.state_root)
    try:
        return _opened(log, str(path))
    except sqlite3.OperationalError as error:
        if "readonly" in str(error) or "unable to open" in str(error):
            return _in_memory(log)
        # The text of a SQLite error may quote values: its class says enough.
        message = f"{log.stream}: cannot write {path}: {type(error).__name__}; what is committed is safe, try again"
        raise TransientError(message, code="LETTERS.UNAVAILABLE") from error
    except sqlite3.DatabaseError:
        # Damaged, or of another version: the log has it all.
        for leftover in (path, path.with_name(f"{path.name}-journal")):
            with suppress(FileNotFoundError):
                leftover.unlink()
        return _opened(log, str(path))


def _in_memory(log: CommitLog) -> Letters:
    return _opened(log, ":memory:")


def _opened(log: CommitLog, database: str) -> Letters:
    connection = sqlite3.connect(database, timeout=BUSY_S)
    try:
        connection.executescript(CREATE)
        letters = Letters(log, connection)
        letters.catch_up()
    except BaseException:
        connection.close()
        raise
    return letters
