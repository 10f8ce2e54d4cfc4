"""The plain files of a merge: read twice, by several processes at once when they are large."""

import os
import shutil
import signal
import stat
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from rootsys_dagster.core.errors import ConfigError, PermanentError
from rootsys_dagster.pipeline.merge_copy import line_blocks
from rootsys_dagster.pipeline.merge_index import Mask
from rootsys_dagster.pipeline.merge_lines import BadLineError, block_keys

KEY_BLOCK_BYTES = 1 << 16
"""Records are decoded in pieces that fit the processor's cache."""
REGION_BYTES = 8 << 20
"""One process looks at so much of a file at a time."""
ALONE_BYTES = 32 << 20
"""Below this, other processes would take longer to start than they save."""
MAX_PROCESSES = 4


@dataclass(frozen=True, slots=True)
class Source:
    """An open input, with the size it had when it was opened: both readings see the same bytes."""

    name: str
    stream: BinaryIO
    size: int

    def blocks(self, block_bytes: int) -> Iterator[bytes]:
        """All of its bytes."""
        for data in read_blocks(self.stream.fileno(), 0, self.size, block_bytes):
            if not data:
                raise changed(self.name)
            yield data


class RegionKeys(NamedTuple):
    """What stands in a region: the key of each record, which lines are records, and the first line that is bad."""

    keys: bytes
    are_records: Mask
    bad: tuple[int, str] | None


def changed(name: str = "an input") -> ConfigError:
    """The error for an input that is not the same the second time."""
    message = f"{name} was changed while it was read; merge it when nothing writes to it"
    return ConfigError(message, code="MERGE.INPUT_CHANGED")


@contextmanager
def open_source(path: Path, target: Path, folder: Path) -> Generator[Source]:
    """*path* (``-`` is standard input), copied to a file in *folder* first when it cannot be read twice.

    Raises:
        ConfigError: it cannot be read, or it is *target*, the output.
    """
    name = "standard input" if str(path) == "-" else str(path)
    with ExitStack() as stack:
        try:
            stream = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb", buffering=0))
            status = os.fstat(stream.fileno())
            if target.is_file() and os.path.samestat(status, target.stat()):
                message = f"{name} is both an input and the output; name another output"
                raise ConfigError(message, code="OUTPUT.SHARED")
            if str(path) == "-" or not stat.S_ISREG(status.st_mode):
                spooled = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                shutil.copyfileobj(stream, spooled, 1 << 20)
                spooled.flush()
                stream, status = spooled, os.fstat(spooled.fileno())
        except OSError as error:
            raise ConfigError(f"cannot read input {name}: {error.strerror}", code="FILE.UNREADABLE") from error
        yield Source(name, stream, status.st_size)


def read_blocks(descriptor: int, begin: int, end: int, block_bytes: int) -> Iterator[bytes]:
    """The bytes from *begin* to *end*; an empty block when there are fewer."""
    while begin < end:
        data = os.pread(descriptor, min(block_bytes, end - begin), begin)
        yield data
        begin = begin + len(data) if data else end


def keys_in_order(sources: Sequence[Source]) -> Iterator[tuple[Source, RegionKeys]]:
    """The keys of all lines of all *sources*, from several processes when there is enough to do."""
    regions = [
        (source, begin, min(begin + REGION_BYTES, source.size))
        for source in sources
        for begin in range(0, source.size, REGION_BYTES)
    ]
    processes = min(MAX_PROCESSES, os.cpu_count() or 1)
    if processes == 1 or sum(source.size for source in sources) < ALONE_BYTES:
        for source, begin, end in regions:
            yield source, region_keys(source.stream.fileno(), source.size, begin, end)
        return
    # Forked, not spawned: a new interpreter takes half a second to import what this one has, and the files are open.
    with ProcessPoolExecutor(processes, get_context("fork"), _leave_interrupts_to_the_parent) as pool:
        waiting: deque[tuple[Source, Future[RegionKeys]]] = deque()
        try:
            for source, begin, end in regions:
                if len(waiting) > processes:
                    yield _result(*waiting.popleft())
                waiting.append((source, pool.submit(region_keys, source.stream.fileno(), source.size, begin, end)))
            while waiting:
                yield _result(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _result(source: Source, future: Future[RegionKeys]) -> tuple[Source, RegionKeys]:
    try:
        return source, future.result()
    except BrokenProcessPool as error:
        message = f"{source.name}: a process that read it was killed, perhaps for want of memory; merge again"
        raise PermanentError(message, code="MERGE.PROCESS_KILLED") from error


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def region_keys(descriptor: int, size: int, begin: int, end: int) -> RegionKeys:
    """The keys of the lines that begin between *begin* and *end* of a file."""
    begin, end = _line_start(descriptor, size, begin), _line_start(descriptor, size, end)
    keys: list[bytes] = []
    are_records: list[Mask] = [np.empty(0, np.bool_)]
    bad: tuple[int, str] | None = None
    for block in line_blocks(read_blocks(descriptor, begin, end, KEY_BLOCK_BYTES)):
        try:
            found, are = block_keys(block)
        except BadLineError as error:
            bad = sum(map(len, are_records)) + error.line, str(error)
            break
        keys.append(found)
        are_records.append(are)
    return RegionKeys(b"".join(keys), np.concatenate(are_records), bad)


def _line_start(descriptor: int, size: int, at: int) -> int:
    """Where the first line begins that does not begin before *at*."""
    if at in (0, size):
        return at
    searched = at - 1
    for data in read_blocks(descriptor, at - 1, size, KEY_BLOCK_BYTES):
        newline = data.find(b"\n")
        if newline >= 0:
            return searched + newline + 1
        searched += len(data)
    return size
