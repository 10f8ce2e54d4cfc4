"""The commit log of one interface or fabric. A commit is the link of its manifest to ``log/<seq>.json``.

Before the link nothing has happened; after it records, dead letters and position are published together. Recovery
therefore reads names only: the newest manifest says where to resume.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rootsys_dagster.core.errors import FencedError, LogDamagedError
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.record import KEY_BYTES
from rootsys_dagster.log.manifest import (
    FORMAT,
    Counts,
    Manifest,
    Mode,
    SegmentFile,
    SegmentKind,
    manifest_bytes,
    parse_manifest,
)
from rootsys_dagster.log.segments import SegmentWriter
from rootsys_dagster.log.store import (
    exclusive_lock,
    make_folder,
    preflight,
    publish,
    storage_errors,
    sync_folder,
    write_durable,
)
from rootsys_dagster.log.trigger import triggered_by

MANIFEST_NAME = re.compile(r"^(?!0{8})([0-9]{8})\.json$")
NAME_MAX = 200


@dataclass(frozen=True, slots=True)
class StreamId:
    """What one commit log belongs to: an interface or a fabric, by name and version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def folder_name(text: str) -> str:
    """*text* as one safe path component: percent-encoded, never ``.`` or ``..``, shortened by hash above 200 bytes."""
    encoded = quote(text, safe="")
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) > NAME_MAX:
        encoded = f"{encoded[: NAME_MAX - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return encoded


@cache
def tool_version() -> str:
    """The version of this package; read from disk once, not in the middle of every commit."""
    return version("rootsys-dagster")


def utc_now() -> str:
    """The current time as RFC 3339 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class CommitLog:
    """Reads the committed manifests and segments of one stream; :meth:`writer` adds to them."""

    def __init__(self, state_root: Path, stream: StreamId) -> None:
        self.state_root = state_root
        self.stream = stream
        self.folder = state_root / folder_name(stream.name) / folder_name(stream.version)

    def has_commits(self) -> bool:
        """Whether there is a commit, or something that keeps it from being known."""
        try:
            return self.last_seq() > 0
        except LogDamagedError:
            return True

    def last_seq(self) -> int:
        """The newest committed sequence number, 0 when there is none.

        Raises:
            LogDamagedError: a manifest between the first and the newest is missing.
        """
        try:
            names = os.listdir(self.folder / "log")
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise LogDamagedError(f"{self.stream}: cannot list {self.folder / 'log'}: {error.strerror}") from error
        seqs = {int(match[1]) for match in map(MANIFEST_NAME.match, names) if match}
        if seqs and max(seqs) != len(seqs):
            missing = next(n for n in range(1, max(seqs)) if n not in seqs)
            raise LogDamagedError(
                f"{self.stream}: manifest {missing:08d}.json is missing from {self.folder / 'log'}; "
                "restore it from a backup, nothing is read or written until then"
            )
        return len(seqs)

    def manifest(self, seq: int) -> Manifest:
        """The manifest of commit *seq*, its link to the one before checked."""
        data = self._manifest_data(seq)
        manifest = parse_manifest(data, f"{self.stream}: {seq:08d}.json")
        if manifest.seq != seq or (manifest.interface, manifest.version) != (self.stream.name, self.stream.version):
            raise LogDamagedError(f"{self.stream}: {seq:08d}.json belongs to another commit; run rootsys verify")
        expected = hashlib.sha256(self._manifest_data(seq - 1)).hexdigest() if seq > 1 else None
        if manifest.prev_sha256 != expected:
            raise LogDamagedError(
                f"{self.stream}: {seq:08d}.json does not follow from {seq - 1:08d}.json: one of them was changed after "
                "it was written; restore the log folder from a backup"
            )
        return manifest

    def head(self) -> Manifest | None:
        """The newest commit: its ``end`` is where to resume."""
        seq = self.last_seq()
        return self.manifest(seq) if seq else None

    def manifests(self, after: int = 0) -> Iterator[Manifest]:
        """Every commit above sequence number *after*, oldest first."""
        for seq in range(after + 1, self.last_seq() + 1):
            yield self.manifest(seq)

    def manifest_sha256(self, seq: int) -> str:
        """The hash that the next manifest carries, and by which followers name this commit."""
        return hashlib.sha256(self._manifest_data(seq)).hexdigest()

    def path(self, file: SegmentFile) -> Path:
        """Where *file* lies."""
        return self.folder / file.name

    def _manifest_data(self, seq: int) -> bytes:
        try:
            return (self.folder / "log" / f"{seq:08d}.json").read_bytes()
        except OSError as error:
            raise LogDamagedError(f"{self.stream}: cannot read {seq:08d}.json: {error.strerror}") from error

    @contextmanager
    def writer(self, run_id: str) -> Generator["LogWriter"]:
        """The one writer of this log for the length of the block; what it has not committed by then is removed.

        Raises:
            ConfigError: the state root is not usable.
            LockedError: another process is writing.
            LogDamagedError: the log cannot be continued.
        """
        preflight(self.state_root)
        for name in ("records", "dead_letters", "log"):
            with storage_errors(self.folder / name):
                make_folder(self.folder / name, self.state_root)
        with exclusive_lock(self.folder / "lock", f"run {run_id} (process {os.getpid()})".encode()):
            # A run that was killed right after it made a link or a folder left a name that is seen but that a power cut
            # could still take.
            for folder in (self.folder / "log", self.folder, self.folder.parent, self.state_root):
                with storage_errors(folder):
                    sync_folder(folder)
            writer = LogWriter(self, run_id)
            try:
                yield writer
            finally:
                writer.discard()


class LogWriter:
    """Collects what the next commit publishes, then publishes it. Created by :meth:`CommitLog.writer` only."""

    def __init__(self, log: CommitLog, run_id: str) -> None:
        self.log = log
        self.run_id = run_id
        self.head = log.head()
        self._prev_sha256 = log.manifest_sha256(self.head.seq) if self.head else None
        self._check_head_files()
        # The token keeps a retried run, which has the same id, from meeting its own orphans.
        self._suffix = f"{folder_name(run_id)[:64]}-{secrets.token_hex(4)}"
        self._segments: dict[SegmentKind, SegmentWriter] = {}
        self._started_at = utc_now()

    @property
    def position(self) -> Position | None:
        """Where to resume: the end of the newest commit."""
        return self.head.end if self.head else None

    def write(self, kind: SegmentKind, data: bytes, records: int, keys: bytes = b"") -> None:
        """Add whole lines to the segment of *kind*; nothing is visible before :meth:`commit`.

        Args:
            records: the number of lines in *data*.
            keys: 16 bytes per line for the sidecar of a records segment, see ``core.record.record_key``.
        """
        self._segment(kind, kind, "jsonl").write(data, records)
        if keys:
            self._segment("keys", kind, "keys").write(keys, records)

    def remember(self, units: bytes) -> None:
        """Add 16 bytes for each unit that the next commit decides, see ``core.record.unit_fingerprint``."""
        self._segment("units", "records", "units").write(units, len(units) // KEY_BYTES)

    def commit(
        self,
        *,
        end: Position,
        counts: Counts,
        interface_sha256: str,
        mode: Mode = "ingest",
        source_fingerprint: dict[str, Any] | None = None,
        replaces: bool = False,
        asked: dict[str, Any] | None = None,
        contract_sha256: str | None = None,
    ) -> Manifest:
        """Publish everything written since the last commit together with the new position *end*.

        Raises:
            StorageError: the disk refused; nothing was published.
            ConservationError: *counts* do not add up; nothing was published.
            FencedError: another run committed first; nothing was published.
        """
        files = self._finish_segments()
        counts.check_conservation()
        manifest = Manifest(
            format=FORMAT,
            seq=self._next_seq,
            prev_sha256=self._prev_sha256,
            interface=self.log.stream.name,
            version=self.log.stream.version,
            interface_sha256=interface_sha256,
            run_id=self.run_id,
            mode=mode,
            start=self.position,
            end=end,
            counts=counts,
            totals=(self.head.totals if self.head else Counts()).plus(counts),
            files=files,
            source_fingerprint=source_fingerprint,
            contract_sha256=contract_sha256,
            replaced=self._replaced(replaces=replaces),
            asked=asked,
            triggered_by=triggered_by(),
            started_at=self._started_at,
            committed_at=utc_now(),
            tool_version=tool_version(),
        )
        data = manifest_bytes(manifest)
        folder = self.log.folder / "log"
        temporary = folder / f".{manifest.seq:08d}-{self._suffix}.tmp"
        with storage_errors(folder):
            write_durable(temporary, data)
            # From here on an interruption may come when the link is made already: these segments are left to gc.
            self._segments.clear()
            try:
                publish(temporary, folder / f"{manifest.seq:08d}.json")
            except FencedError:
                for path in (temporary, *map(self.log.path, files)):
                    path.unlink(missing_ok=True)
                raise
        with storage_errors(folder, f"commit {manifest.seq} was made, but a power cut could still take it back"):
            sync_folder(folder)
            temporary.unlink()
        self.head, self._prev_sha256 = manifest, hashlib.sha256(data).hexdigest()
        self._started_at = utc_now()
        return manifest

    def _replaced(self, *, replaces: bool) -> int:
        if self.head is None:
            return 0
        return self.head.seq if replaces else self.head.replaced

    def discard(self) -> None:
        """Remove what was written but not committed."""
        for segment in self._segments.values():
            segment.discard()
        self._segments.clear()

    @property
    def _next_seq(self) -> int:
        return self.head.seq + 1 if self.head else 1

    def _segment(self, kind: SegmentKind, folder_name: str, suffix: str) -> SegmentWriter:
        if kind not in self._segments:
            folder = self.log.folder / folder_name
            with storage_errors(folder):
                make_folder(folder, self.log.folder)
            self._segments[kind] = SegmentWriter(kind, folder / f"{self._next_seq:08d}-{self._suffix}.{suffix}")
        return self._segments[kind]

    def _finish_segments(self) -> tuple[SegmentFile, ...]:
        files = tuple(segment.finish() for segment in self._segments.values())
        for folder in {self.log.path(file).parent for file in files}:
            with storage_errors(folder):
                sync_folder(folder)
        return files

    def _check_head_files(self) -> None:
        for file in self.head.files if self.head else ():
            path = self.log.path(file)
            size = path.stat().st_size if path.is_file() else None
            if size != file.bytes:
                found = "missing" if size is None else f"{size} bytes long instead of {file.bytes}"
                raise LogDamagedError(f"{self.log.stream}: {path} is {found}; restore it from a backup")
