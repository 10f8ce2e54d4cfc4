"""Segments: append-only files of one commit, hashed while they are written and synced before they are named."""

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from rootsys_dagster.log.manifest import SegmentFile, SegmentKind
from rootsys_dagster.log.store import StorageError, create, storage_errors, write_all

CHUNK_BYTES = 1 << 20
"""Data is handed to the writing thread in pieces of about this size."""
WRITEBACK_BYTES = 8 << 20
"""The disk is asked to start after this much, so that the last sync has little left to wait for."""
MAX_QUEUED = 8


class SegmentWriter:
    """Writes one new segment. A thread of its own hashes and writes while the caller prepares the next piece."""

    def __init__(self, kind: SegmentKind, path: Path) -> None:
        self.kind: SegmentKind = kind
        self.path = path
        self.records = 0
        self.bytes = 0
        self._sha256 = hashlib.sha256()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._written = self._advised = 0
        self._queued: list[Future[None]] = []
        with storage_errors(self.path):
            self._descriptor = create(self.path)
        self._thread = ThreadPoolExecutor(1, "segment")

    def write(self, data: bytes, records: int) -> None:
        """Append *data*, which holds *records* whole lines (or keys).

        Raises:
            StorageError: an earlier piece could not be written.
        """
        self.records += records
        self.bytes += len(data)
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= CHUNK_BYTES:
            self._hand_over()

    def finish(self) -> SegmentFile:
        """Sync and close; the file is complete but no manifest names it yet."""
        self._hand_over()
        self._wait(0)
        with storage_errors(self.path):
            os.fsync(self._descriptor)
            self._close()
        return SegmentFile(
            kind=self.kind,
            name=f"{self.path.parent.name}/{self.path.name}",
            sha256=self._sha256.hexdigest(),
            bytes=self.bytes,
            records=self.records,
        )

    def discard(self) -> None:
        """Close and remove: nothing will name this file."""
        # On a disk that has failed these fail too, and must not hide why: gc takes what is left.
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self.path.unlink()

    def _close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _hand_over(self) -> None:
        if not self._pending:
            return
        self._wait(MAX_QUEUED)
        self._queued.append(self._thread.submit(self._store, b"".join(self._pending)))
        self._pending, self._pending_bytes = [], 0

    def _wait(self, at_most: int) -> None:
        while len(self._queued) > at_most:
            future = self._queued.pop(0)
            try:
                future.result()
            except OSError as error:
                raise StorageError(self.path, error) from error

    def _store(self, data: bytes) -> None:
        self._sha256.update(data)
        write_all(self._descriptor, data)
        self._written += len(data)
        if (length := self._written - self._advised) >= WRITEBACK_BYTES:
            # Starts writing to disk without waiting for it; only fsync, at the end, makes anything durable.
            os.posix_fadvise(self._descriptor, self._advised, length, os.POSIX_FADV_DONTNEED)
            self._advised = self._written
