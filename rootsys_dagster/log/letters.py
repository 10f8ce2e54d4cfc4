"""What became of each dead letter: open, failing, replayed, discarded or superseded.

A follower of the commit log with a database of its own: a SQLite file, or the PostgreSQL that an environment variable
names. The log is the authority: the database may be deleted, and what is rebuilt is what was kept. A letter goes by
what it is about (``core.record.dead_letter_id``), so a unit that is rejected again is another attempt of one letter and
never a second letter.
"""

import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from rootsys_dagster.core.errors import LogDamagedError, TransientError
from rootsys_dagster.core.record import dead_letter_id
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.followers import follower_lock
from rootsys_dagster.log.letter_store import (
    DISCARDED,
    FAILING,
    FORGET,
    PROGRESS,
    REJECTED,
    REPLAYED,
    SUPERSEDED,
    LetterStore,
    SqliteLetters,
)
from rootsys_dagster.log.manifest import Manifest, SegmentKind
from rootsys_dagster.log.store import StorageError, make_folder, storage_errors

FOLLOWER = "letters"
COMMITS_PER_TRANSACTION = 64
PAGE = 500
POSTGRES_URL = "ROOTSYS_LETTERS_POSTGRES_URL"

State: TypeAlias = Literal["open", "failing", "replayed", "discarded", "superseded"]
"""``failing``: replayed and rejected again. ``superseded``: a later read brought everything anew, and not this."""
OPEN_STATES: tuple[State, ...] = ("open", "failing")


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


COLUMNS = ", ".join(f"letters.{field.name}" for field in fields(Letter))


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
        """SQL for both dialects, and its values."""
        conditions: list[str] = ["1 = 1{of_log}"]
        values: list[Any] = []

        def add(condition: str, *parameters: Any) -> None:
            conditions.append(condition)
            values.extend(parameters)

        if self.states:
            add(f"state IN ({', '.join('?' * len(self.states))})", *self.states)
        if self.ids:
            add(f"({' OR '.join(['substr(letters.id, 1, ?) = ?'] * len(self.ids))})", *_prefixes(self.ids))
        if self.reason is not None:
            add("EXISTS (SELECT 1 FROM {codes} WHERE one.value = ?)", self.reason)
        if self.pointer is not None:
            add("EXISTS (SELECT 1 FROM {errors} WHERE {error_path} = ?)", self.pointer)
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

    def __init__(self, log: CommitLog, store: LetterStore) -> None:
        self.log = log
        self._store = store
        self.seq = 0

    def close(self) -> None:
        """Let go of the database."""
        self._store.close()

    def select(self, wanted: LetterFilter, limit: int | None = None) -> Iterator[Letter]:
        """The letters that are meant, in the order in which they were rejected."""
        where, values = wanted.where()
        query = (
            f"SELECT {COLUMNS} FROM {{letters}} AS letters WHERE {where} AND (commit_seq, byte) > (?, ?) "
            "ORDER BY commit_seq, byte"
        )
        last = (0, -1)
        while limit is None or limit > 0:
            # Page by page: a cursor left open would keep whoever follows the log from writing.
            page = PAGE if limit is None else min(PAGE, limit)
            rows = self._store.rows(f"{query} LIMIT ?", [*values, *last, page])
            yield from (Letter(*row) for row in rows)
            if len(rows) < page:
                return
            last = (Letter(*rows[-1]).commit_seq, Letter(*rows[-1]).byte)
            limit = None if limit is None else limit - page

    def counts(self, wanted: LetterFilter | None = None) -> dict[State, int]:
        """How many letters there are by state."""
        where, values = (wanted or LetterFilter()).where()
        query = f"SELECT state, count(*) FROM {{letters}} AS letters WHERE {where} GROUP BY state"
        return dict(self._store.rows(query, values))

    def open_count(self) -> int:
        """How many letters wait for somebody."""
        counts = self.counts()
        return sum(counts.get(state, 0) for state in OPEN_STATES)

    def by(self, what: Literal["reason", "pointer", "day", "state"], wanted: LetterFilter) -> list[tuple[str, int]]:
        """How many of the letters that are meant, by reason code, by pointer of an error, by day (UTC) or by state."""
        where, values = wanted.where()
        more, key = {
            "reason": (", {codes}", "one.value"),
            "pointer": (", {errors}", "coalesce({error_path}, '')"),
            "day": ("", "{day}"),
            "state": ("", "letters.state"),
        }[what]
        query = f"SELECT {key}, count(DISTINCT letters.id) FROM {{letters}} AS letters{more} WHERE {where} GROUP BY 1"
        found = [(str(name), count) for name, count in self._store.rows(query, values)]
        return sorted(found, key=lambda row: row if what == "day" else (-row[1], row[0]))

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
        while self._take_some():
            pass

    def _take_some(self) -> bool:
        """Take over some commits in one transaction; whether there are more."""
        with self._store.transaction():
            (seq, sha256), *_ = [*self._store.rows(PROGRESS), (0, None)]
            newest = self.log.last_seq()
            if seq > newest or (seq and self.log.manifest_sha256(seq) != sha256):
                # Another history than the one that was followed: a log that was restored from a backup.
                for statement in FORGET:
                    self._store.execute(statement, [()])
                seq = 0
            replaced = self.log.manifest(seq).replaced if seq else 0
            for manifest in islice(self.log.manifests(seq), COMMITS_PER_TRANSACTION):
                if manifest.replaced > replaced:
                    replaced = manifest.replaced
                    self._store.execute(SUPERSEDED, [(replaced,)])
                self._take(manifest)
                seq = manifest.seq
            if seq:
                self._store.execute(self._store.remember, [(seq, self.log.manifest_sha256(seq))])
        self.seq = seq
        return seq < newest

    def _take(self, manifest: Manifest) -> None:
        when = (manifest.seq, manifest.run_id, manifest.committed_at)
        self._store.execute(REJECTED, _rejections(self.log, manifest))
        for statement, decisions in groupby(_decisions(self.log, manifest), itemgetter(0)):
            self._store.execute(statement, ((*values, *when) for _, values in decisions))


def _decisions(log: CommitLog, manifest: Manifest) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for _, line in _lines(log, manifest, "outcomes"):
        one = parse_outcome(line)
        match one.outcome:
            case "replayed":
                yield REPLAYED, (one.dead_letter_id, one.record_id)
            case "failing":
                codes = msgspec.json.encode(one.reason_codes).decode()
                yield FAILING, (one.dead_letter_id, codes, bytes(one.errors).decode())
            case "discarded":
                yield DISCARDED, (one.dead_letter_id, one.by, one.note)


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
        RootsysError: the database is not there, or is not one that can be used.
    """
    letters = _on_server(log) or _beside(log)
    with closing(letters):
        yield letters


def _on_server(log: CommitLog) -> Letters | None:
    url = os.environ.get(POSTGRES_URL)
    if not url:
        return None
    # Whoever keeps them in SQLite does not pay for the client of a server.
    from rootsys_dagster.log.letters_postgres import PostgresLetters

    return _caught_up(log, PostgresLetters(url, POSTGRES_URL, log.stream))


def _beside(log: CommitLog) -> Letters:
    path = letters_path(log)
    try:
        with follower_lock(log, FOLLOWER):
            return _in_file(log, path)
    except StorageError:
        return _in_memory(log)


def _in_file(log: CommitLog, path: Path) -> Letters:
    with storage_errors(path.parent):
        make_folder(path.parent, log.state_root)
    try:
        return _caught_up(log, SqliteLetters(str(path)))
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
        return _caught_up(log, SqliteLetters(str(path)))


def _in_memory(log: CommitLog) -> Letters:
    return _caught_up(log, SqliteLetters(":memory:"))


def _caught_up(log: CommitLog, store: LetterStore) -> Letters:
    letters = Letters(log, store)
    try:
        letters.catch_up()
    except BaseException:
        letters.close()
        raise
    return letters
