"""Sorted runs of 16-byte record keys on disk: a fabric finds what it has published without holding it in memory.

A cache: every run can be derived from the committed ``.keys`` sidecars. Its name says which commits it covers and under
which manifest they were committed; each block carries a checksum that is compared when the block is read, so a run is
never synced and never read as a whole to be trusted.
"""

import os
import re
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from rootsys_dagster.core.errors import LogDamagedError
from rootsys_dagster.core.record import KEY_BYTES
from rootsys_dagster.log.store import create, storage_errors, write_all

KeyHalves: TypeAlias = npt.NDArray[np.uint64]
"""The first or the last 8 bytes of some keys; the order of keys is that of these numbers."""

BLOCK_KEYS = 4096
FOOTER_BYTES = 16
"""For each block the first half of its first key, and a checksum."""
RUN_NAME = re.compile(r"^(\d{8})-(\d{8})-([0-9a-f]{32})\.run$")
MAGIC = b"rsrun01\n"
TRAILER = struct.Struct("<QQQ8s")
"""Keys in the run, keys per block, checksum of the footer, magic."""


class KeyRunDamagedError(LogDamagedError):
    """A run is not what was written; nothing is lost, it is rebuilt from the committed keys."""


def index_errors(path: Path) -> AbstractContextManager[None]:
    """Turn an OSError about *path* into a StorageError that says that only a cache is concerned."""
    return storage_errors(path, "what is committed is intact, and the index is rebuilt from it")


class KeyRun:
    """One immutable file of keys in ascending order; only the first key half of each block stays in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._read_footer()
        except (OSError, struct.error, ValueError) as error:
            self.close()
            raise KeyRunDamagedError(f"{path} is not a readable run of keys") from error

    def _read_footer(self) -> None:
        size = os.fstat(self._descriptor).st_size
        trailer = os.pread(self._descriptor, TRAILER.size, max(0, size - TRAILER.size))
        self.count, self._block_keys, checksum, magic = TRAILER.unpack(trailer)
        blocks = -(-self.count // self._block_keys) if self._block_keys else 0
        if magic != MAGIC or size != KEY_BYTES * self.count + FOOTER_BYTES * blocks + TRAILER.size:
            raise ValueError("size and trailer disagree")
        footer = os.pread(self._descriptor, FOOTER_BYTES * blocks, KEY_BYTES * self.count)
        if xxh3_64_intdigest(footer, seed=self.count) != checksum:
            raise ValueError("checksum of the footer")
        numbers = np.frombuffer(footer, "<u8")
        self.fences: KeyHalves = numbers[:blocks]
        self._checksums: list[int] = numbers[blocks:].tolist()

    @property
    def blocks(self) -> int:
        """How many blocks :meth:`block` knows."""
        return len(self._checksums)

    def block(self, number: int) -> tuple[KeyHalves, KeyHalves]:
        """First and last halves of the keys in block *number*.

        Raises:
            KeyRunDamagedError: the bytes are not those that were written.
        """
        keys = min(self._block_keys, self.count - number * self._block_keys)
        data = os.pread(self._descriptor, KEY_BYTES * keys, KEY_BYTES * number * self._block_keys)
        if xxh3_64_intdigest(data) != self._checksums[number]:
            raise KeyRunDamagedError(f"{self.path}: block {number} is damaged")
        numbers = np.frombuffer(data, "<u8")
        return numbers[:keys], numbers[keys:]

    def close(self) -> None:
        """Free the descriptor; calling it twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class KeyRunWriter:
    """Writes one run from sorted pieces."""

    def __init__(self, path: Path, block_keys: int) -> None:
        self._path = path
        self._block_keys = block_keys
        self._count = 0
        self._fences: list[int] = []
        self._checksums: list[int] = []
        self._rest: tuple[KeyHalves, KeyHalves] = (np.empty(0, np.uint64), np.empty(0, np.uint64))
        with index_errors(path):
            self._descriptor = create(path)

    def write(self, first: KeyHalves, last: KeyHalves) -> None:
        """Append keys, which must not be smaller than those before."""
        first, last = np.concatenate((self._rest[0], first)), np.concatenate((self._rest[1], last))
        whole = len(first) - len(first) % self._block_keys
        for begin in range(0, whole, self._block_keys):
            self._write_block(first[begin : begin + self._block_keys], last[begin : begin + self._block_keys])
        self._rest = first[whole:], last[whole:]

    def finish(self) -> KeyRun:
        """Complete the file and open it for reading."""
        if len(self._rest[0]):
            self._write_block(*self._rest)
        footer = np.array(self._fences + self._checksums, "<u8").tobytes()
        checksum = xxh3_64_intdigest(footer, seed=self._count)
        with index_errors(self._path):
            write_all(self._descriptor, footer + TRAILER.pack(self._count, self._block_keys, checksum, MAGIC))
        self.close()
        return KeyRun(self._path)

    def close(self) -> None:
        """Free the descriptor; calling it twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write_block(self, first: KeyHalves, last: KeyHalves) -> None:
        data = first.astype("<u8", copy=False).tobytes() + last.astype("<u8", copy=False).tobytes()
        with index_errors(self._path):
            write_all(self._descriptor, data)
        self._count += len(first)
        self._fences.append(int(first[0]))
        self._checksums.append(xxh3_64_intdigest(data))


class KeyIndex:
    """The folder of runs. Sealed runs are named by the commits they cover; all others are the rest of a killed run.

    Used by whoever holds the writer's lock of the log, or in a temporary folder of the caller's own.
    """

    def __init__(self, folder: Path, block_keys: int = BLOCK_KEYS) -> None:
        self.folder = folder
        self._block_keys = block_keys
        self._created = 0

    def open_sealed(self, stamp_of: Callable[[int], str | None]) -> list[tuple[int, KeyRun]]:
        """The runs that together cover commits 1 to n without a gap, each with the last commit it covers.

        Every other file in the folder is removed: stale, damaged, or replaced by a wider run.

        Args:
            stamp_of: the hash of the manifest of a commit, None when there is no such commit.
        """
        with index_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            names = os.listdir(self.folder)
        chain: list[tuple[int, KeyRun]] = []
        chosen: set[str] = set()
        covered = 0
        matches = list(filter(None, map(RUN_NAME.match, names)))
        for match in sorted(matches, key=lambda match: (int(match[1]), -int(match[2]))):
            last = int(match[2])
            if int(match[1]) != covered + 1 or last <= covered or match[3] != (stamp_of(last) or "")[:32]:
                continue
            try:
                chain.append((last, KeyRun(self.folder / match[0])))
            except KeyRunDamagedError:
                continue
            covered = last
            chosen.add(match[0])
        with index_errors(self.folder):
            for name in set(names) - chosen:
                (self.folder / name).unlink()
        return chain

    def writer(self) -> KeyRunWriter:
        """A new run, not sealed yet."""
        self._created += 1
        return KeyRunWriter(self.folder / f"unsealed-{self._created:06d}.run", self._block_keys)

    def seal(self, run: KeyRun, first: int, last: int, stamp: str) -> None:
        """Let *run* stand for commits *first* to *last*; *stamp* is the hash of the manifest of *last*."""
        final = self.folder / f"{first:08d}-{last:08d}-{stamp[:32]}.run"
        with index_errors(final):
            run.path.rename(final)
        run.path = final

    def remove(self, run: KeyRun) -> None:
        """Close and delete *run*."""
        run.close()
        with index_errors(run.path):
            run.path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete every file of the index."""
        with index_errors(self.folder):
            for name in os.listdir(self.folder) if self.folder.is_dir() else ():
                (self.folder / name).unlink(missing_ok=True)
