"""Which keys are new: first occurrences within a chunk by sorting, older ones by search in sorted runs on disk.

Runs double in size, so there are O(log n) of them and each key is rewritten O(log n) times: what a merge costs follows
from what is new, not from what is there. Source: O'Neil et al., "The Log-Structured Merge-Tree", 1996.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rootsys_dagster.log.key_index import KeyHalves, KeyIndex, KeyRun

CHUNK_KEYS = 1 << 19
"""Keys looked at together: 8 MiB, some 40 MiB while they are sorted."""
MERGE_KEYS = 1 << 17
GROWTH = 2
"""A run is merged into the next newer one unless it holds more than this many times its keys."""

Mask: TypeAlias = npt.NDArray[np.bool_]


def key_order(first: KeyHalves, last: KeyHalves) -> npt.NDArray[np.intp]:
    """The positions of keys in ascending order, equal keys in the order given.

    Sorts by the first 8 bytes, then settles those few that tie there by the rest: exact, at the price of one fast sort.
    """
    order = np.argsort(first)
    ranked = first[order]
    tied = ranked[1:] == ranked[:-1]
    if tied.any():
        member = np.zeros(len(order), np.bool_)
        member[1:] = tied
        member[:-1] |= tied
        among = order[member]
        order[member] = among[np.lexsort((among, last[among], first[among]))]
    return order


def contains(run: KeyRun, first: KeyHalves, last: KeyHalves) -> Mask:
    """Which of the given keys, in ascending order, *run* holds. Reads only the blocks in which they could be."""
    found = np.zeros(len(first), np.bool_)
    blocks = np.searchsorted(run.fences, first, side="right") - 1
    starts = [0, *(np.flatnonzero(blocks[1:] != blocks[:-1]) + 1).tolist(), len(blocks)]
    for begin, end in pairwise(starts):
        if begin < end and blocks[begin] >= 0:
            found[begin:end] = _in_block(*run.block(int(blocks[begin])), first[begin:end], last[begin:end])
    # Keys that tie with the first key of a block on 8 bytes may stand at the end of the block before.
    earliest = np.searchsorted(run.fences, first, side="left") - 1
    for at in np.flatnonzero(~found & (earliest < blocks) & (blocks > 0)):
        for number in range(max(0, int(earliest[at])), int(blocks[at])):
            found[at] |= _in_block(*run.block(number), first[at : at + 1], last[at : at + 1])[0]
    return found


def _in_block(block_first: KeyHalves, block_last: KeyHalves, first: KeyHalves, last: KeyHalves) -> Mask:
    at = np.minimum(np.searchsorted(block_first, first), len(block_first) - 1)
    tied = block_first[at] == first
    found = tied & (block_last[at] == last)
    for asked in map(int, np.flatnonzero(tied & ~found)):
        end = np.searchsorted(block_first, first[asked : asked + 1], side="right")[0]
        found[asked] = bool((block_last[at[asked] : end] == last[asked]).any())
    return found


class SeenKeys:
    """The keys published so far, in runs: ``sealed`` ones belong to commits, ``open`` ones to what is being merged."""

    def __init__(self, index: KeyIndex, stamp_of: Callable[[int], str | None] = lambda seq: None) -> None:
        self._index = index
        self._stamp_of = stamp_of
        self._sealed = index.open_sealed(stamp_of)
        self._open: list[KeyRun] = []

    @property
    def covered(self) -> int:
        """The newest commit whose keys are here."""
        return self._sealed[-1][0] if self._sealed else 0

    @property
    def runs(self) -> list[KeyRun]:
        """All runs, oldest first."""
        return [run for _, run in self._sealed] + self._open

    def add(self, keys: bytes) -> Mask:
        """Take in *keys*, 16 bytes each, and say which are neither here already nor earlier among themselves."""
        halves = np.frombuffer(keys, "<u8").reshape(-1, 2)
        first, last = halves[:, 0].copy(), halves[:, 1].copy()
        order = key_order(first, last)
        first, last = first[order], last[order]
        fresh = np.ones(len(first), np.bool_)
        fresh[1:] = (first[1:] != first[:-1]) | (last[1:] != last[:-1])
        for run in self.runs:
            asked = np.flatnonzero(fresh)
            fresh[asked[contains(run, first[asked], last[asked])]] = False
        kept = np.flatnonzero(fresh)
        self._add_run(first[kept], last[kept])
        mask = np.zeros(len(fresh), np.bool_)
        mask[order[kept]] = True
        return mask

    def seal(self, seq: int) -> None:
        """What was added since the last call belongs to the commits up to *seq*."""
        total = sum(run.count for run in self._open)
        kept = len(self._sealed)
        while kept and self._sealed[kept - 1][1].count <= GROWTH * total:
            kept -= 1
            total += self._sealed[kept][1].count
        run = self._merge([run for _, run in self._sealed[kept:]] + (self._open or [self._write_run(iter(()))]))
        first = self._sealed[kept - 1][0] + 1 if kept else 1
        self._index.seal(run, first, seq, self._stamp_of(seq) or "")
        self._sealed[kept:], self._open = [(seq, run)], []

    def close(self) -> None:
        """Forget what was added since the last :meth:`seal`, and free the descriptors."""
        for run in self._open:
            self._index.remove(run)
        for _, run in self._sealed:
            run.close()

    def _add_run(self, first: KeyHalves, last: KeyHalves) -> None:
        if not len(first):
            return
        self._open.append(self._write_run(iter([(first, last)])))
        merged, total = 1, self._open[-1].count
        while merged < len(self._open) and self._open[-merged - 1].count <= GROWTH * total:
            merged += 1
            total += self._open[-merged].count
        self._open[-merged:] = [self._merge(self._open[-merged:])]

    def _merge(self, runs: list[KeyRun]) -> KeyRun:
        if len(runs) == 1:
            return runs[0]
        merged = self._write_run(_merged(runs))
        for run in runs:
            self._index.remove(run)
        return merged

    def _write_run(self, pieces: Iterator[tuple[KeyHalves, KeyHalves]]) -> KeyRun:
        writer = self._index.writer()
        try:
            for first, last in pieces:
                writer.write(first, last)
            return writer.finish()
        finally:
            writer.close()


def _merged(runs: list[KeyRun]) -> Iterator[tuple[KeyHalves, KeyHalves]]:
    """The keys of *runs* in one ascending order, some :data:`MERGE_KEYS` at a time."""
    parts = sum(run.count for run in runs) // MERGE_KEYS + 1
    cursors = [_Cursor(run) for run in runs]
    for part in range(1, parts + 1):
        # Keys are hashes: equal slices of their range hold about equally many.
        pieces = [cursor.below((part << 64) // parts) for cursor in cursors]
        first = np.concatenate([piece[0] for piece in pieces])
        last = np.concatenate([piece[1] for piece in pieces])
        order = key_order(first, last)
        yield first[order], last[order]


class _Cursor:
    """Reads a run once from its smallest key to its largest."""

    def __init__(self, run: KeyRun) -> None:
        self._run = run
        self._next = 0
        self._rest: tuple[KeyHalves, KeyHalves] = (np.empty(0, np.uint64), np.empty(0, np.uint64))

    def below(self, bound: int) -> tuple[KeyHalves, KeyHalves]:
        """The next keys whose first half is below *bound*."""
        pieces = [self._rest]
        while self._next < self._run.blocks and int(self._run.fences[self._next]) < bound:
            pieces.append(self._run.block(self._next))
            self._next += 1
        first = np.concatenate([piece[0] for piece in pieces])
        last = np.concatenate([piece[1] for piece in pieces])
        end = len(first) if bound >> 64 else int(np.searchsorted(first, np.uint64(bound)))
        self._rest = first[end:], last[end:]
        return first[:end], last[:end]
