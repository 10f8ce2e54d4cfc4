"""Copies the lines of a file block by block, some to one side and some to the other; no line is looked into."""

import hashlib
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rootsys_dagster.core.errors import LogDamagedError
from rootsys_dagster.log.manifest import SegmentFile
from rootsys_dagster.pipeline.merge_index import Mask

BLOCK_BYTES = 1 << 20
"""Lines are read and split in pieces of this size."""
AHEAD = 3
"""Blocks that are read and hashed before they are asked for."""
NEWLINE = 10


class LineBlock(NamedTuple):
    """Whole lines, and the position after each newline in them."""

    data: bytes
    ends: npt.NDArray[np.intp]


def verified_blocks(path: Path, file: SegmentFile, block_bytes: int) -> Iterator[bytes]:
    """The bytes of a committed segment, which must be those that the manifest names.

    Raises:
        LogDamagedError: missing, unreadable, longer or shorter than committed, or (after the last block) changed.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as stream:
            found = os.fstat(stream.fileno()).st_size
            while found == file.bytes and (data := stream.read(block_bytes)):
                digest.update(data)
                size += len(data)
                yield data
    except OSError as error:
        raise damaged(path, error.strerror or "unreadable") from error
    if size != file.bytes:
        raise damaged(path, f"{found} bytes long instead of {file.bytes}")
    if digest.hexdigest() != file.sha256:
        raise damaged(path, "not what was committed: its SHA-256 differs from the manifest's")


def damaged(path: Path, what: str) -> LogDamagedError:
    """The error for a committed file that cannot be trusted."""
    return LogDamagedError(f"{path} is {what}; nothing was merged from this commit, restore the file from a backup")


def line_blocks(blocks: Iterable[bytes]) -> Iterator[LineBlock]:
    """*blocks* cut after their last newlines; a last line without one gets it."""
    begun: list[bytes | memoryview] = []
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if not end:
            begun.append(block)
            continue
        begun.append(memoryview(block)[:end])
        yield _line_block(b"".join(begun))
        begun = [block[end:]] if end < len(block) else []
    if begun:
        yield _line_block(b"".join([*begun, b"\n"]))


def _line_block(data: bytes) -> LineBlock:
    return LineBlock(data, np.flatnonzero(np.frombuffer(data, np.uint8) == NEWLINE) + 1)


def ahead(blocks: Iterator[bytes], depth: int = AHEAD) -> Generator[bytes, None, None]:
    """*blocks*, read by a thread of their own up to *depth* blocks before they are asked for."""
    with ThreadPoolExecutor(1, "read") as thread:
        queued: deque[Future[bytes | None]] = deque(thread.submit(next, blocks, None) for _ in range(depth))
        try:
            while (block := queued.popleft().result()) is not None:
                queued.append(thread.submit(next, blocks, None))
                yield block
        finally:
            for future in queued:
                future.cancel()


def split_block(block: LineBlock, keep: Mask) -> tuple[bytes, bytes]:
    """The lines of *block* that *keep* names and the others, unchanged and in order.

    Args:
        keep: one truth per line.
    """
    turns = np.flatnonzero(keep[1:] != keep[:-1])
    cuts = [0, *block.ends[turns].tolist(), len(block.data)]
    data = memoryview(block.data)
    pieces = [data[begin:end] for begin, end in pairwise(cuts)]
    even, odd = b"".join(pieces[::2]), b"".join(pieces[1::2])
    return (even, odd) if keep[0] else (odd, even)
