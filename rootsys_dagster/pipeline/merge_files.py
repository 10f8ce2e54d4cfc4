"""Merges plain JSONL files of records into one file: ``rootsys merge``. Source: spec/1-reference.md 1.12.

Each input is read twice: once for the keys, which decide which lines stay, and once to copy those lines. The second
reading follows the first in a thread of its own; in memory are never more than some chunks of keys and blocks of lines.
"""

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rootsys_dagster.core.errors import ConfigError, PermanentError
from rootsys_dagster.core.record import KEY_BYTES
from rootsys_dagster.log.key_index import KeyIndex
from rootsys_dagster.log.manifest import Counts
from rootsys_dagster.log.store import sync_folder, write_all
from rootsys_dagster.pipeline.merge_copy import BLOCK_BYTES, LineBlock, line_blocks, split_block
from rootsys_dagster.pipeline.merge_index import CHUNK_KEYS, Mask, SeenKeys
from rootsys_dagster.pipeline.merge_source import RegionKeys, Source, changed, keys_in_order, open_source
from rootsys_dagster.pipeline.run import Progress

MAX_QUEUED = 2
"""Chunks whose lines are not copied yet."""


@dataclass(frozen=True, slots=True)
class MergeStats:
    """Records read, written, and left out because their key was there before."""

    total: int
    written: int
    duplicates: int


def merge_files(
    inputs: Sequence[Path], output: Path, dedupe: bool = True, *, progress: Progress | None = None
) -> MergeStats:
    """Copy the records of *inputs*, in the order given, to *output*; of those with one key only the first.

    Lines are copied byte for byte, blank ones left out. *output* is replaced in one step at the end; when it is no
    regular file (a pipe, a device), lines are written to it as they come.

    Args:
        inputs: ``-`` is standard input.
    Raises:
        ConfigError: an input cannot be read or is the output, or a line is not a record; *output* is as it was before.
        PermanentError: *output* cannot be written.
    """
    # A link is followed, so that what it leads to is replaced; one to an open pipe (/dev/stdout) leads to no name.
    target = output.resolve() if _is_replaceable(output) else output
    with ExitStack() as stack:
        folder = stack.enter_context(_temporary_folder(target))
        sources = [stack.enter_context(open_source(path, target, folder)) for path in inputs]
        descriptor = stack.enter_context(_open_output(target, folder))
        seen = SeenKeys(KeyIndex(folder / "index")) if dedupe else None
        if seen:
            stack.callback(seen.close)
        counts = Counts()
        with _Copier(sources, descriptor, target) as copier:
            for keep, chunk in _chunks(sources, seen):
                copier.copy(keep)
                counts.add(chunk)
                if progress is not None:
                    progress(counts)
    return MergeStats(total=counts.fetched, written=counts.accepted, duplicates=counts.duplicates)


def _chunks(sources: Sequence[Source], seen: SeenKeys | None) -> Iterator[tuple[Mask, Counts]]:
    """Which of the next lines stay, some :data:`CHUNK_KEYS` lines at a time."""
    open_: list[RegionKeys] = []
    lines = lines_before = 0
    previous: Source | None = None
    for source, region in keys_in_order(sources):
        if source is not previous:
            previous, lines_before = source, 0
        if region.bad:
            raise ConfigError(
                f"{source.name}: line {lines_before + region.bad[0]} {region.bad[1]}; "
                "correct or remove the line and merge again",
                code="MERGE.BAD_LINE",
            )
        open_.append(region)
        lines_before += len(region.are_records)
        lines += len(region.are_records)
        if lines >= CHUNK_KEYS:
            yield _decide(open_, seen)
            open_, lines = [], 0
    if open_:
        yield _decide(open_, seen)


def _decide(regions: Sequence[RegionKeys], seen: SeenKeys | None) -> tuple[Mask, Counts]:
    keep = np.concatenate([region.are_records for region in regions])
    keys = b"".join(region.keys for region in regions)
    if seen:
        keep[keep] = seen.add(keys)
    records, written = len(keys) // KEY_BYTES, int(np.count_nonzero(keep))
    return keep, Counts(fetched=records, accepted=written, duplicates=records - written)


class _Copier:
    """Copies lines to the output in a thread of its own, behind the thread that decides which of them."""

    def __init__(self, sources: Sequence[Source], descriptor: int, target: Path) -> None:
        self._blocks = (block for source in sources for block in line_blocks(source.blocks(BLOCK_BYTES)))
        self._rest: LineBlock | None = None
        self._descriptor = descriptor
        self._target = target
        self._thread = ThreadPoolExecutor(1, "copy")
        self._queued: deque[Future[None]] = deque()

    def __enter__(self) -> "_Copier":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._wait(0)
                if self._rest or next(self._blocks, None):
                    raise changed()
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def copy(self, keep: Mask) -> None:
        """Copy those of the next lines that *keep* names, soon."""
        self._wait(MAX_QUEUED)
        self._queued.append(self._thread.submit(self._copy, keep))

    def _wait(self, at_most: int) -> None:
        while len(self._queued) > at_most:
            self._queued.popleft().result()

    def _copy(self, keep: Mask) -> None:
        while len(keep):
            block = self._rest or next(self._blocks, None)
            if block is None:
                raise changed()
            lines = min(len(keep), len(block.ends))
            cut = int(block.ends[lines - 1])
            kept, _ = split_block(LineBlock(block.data[:cut], block.ends[:lines]), keep[:lines])
            self._rest = LineBlock(block.data[cut:], block.ends[lines:] - cut) if lines < len(block.ends) else None
            keep = keep[lines:]
            with _write_errors(self._target):
                write_all(self._descriptor, kept)


@contextmanager
def _write_errors(target: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise PermanentError(f"cannot write {target}: {error.strerror}", code="MERGE.WRITE_FAILED") from error


def _is_replaceable(target: Path) -> bool:
    return target.is_file() or not target.exists()


@contextmanager
def _temporary_folder(target: Path) -> Generator[Path]:
    """A folder beside the output, or where temporary files usually are when the output is no regular file."""
    if target.is_dir() or not target.parent.is_dir():
        problem = "is a folder" if target.is_dir() else f"cannot be written: there is no folder {target.parent}"
        raise ConfigError(f"output {target} {problem}; name a file in a folder that exists", code="OUTPUT.NOT_A_FILE")
    with ExitStack() as stack:
        beside = target.parent if _is_replaceable(target) else None
        with _write_errors(target):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".rootsys-merge-", dir=beside))
        yield Path(folder)


@contextmanager
def _open_output(target: Path, folder: Path) -> Generator[int]:
    """A new file that takes the place of *target* when all went well, or *target* itself when it is no regular file."""
    replaceable = _is_replaceable(target)
    path = folder / "output" if replaceable else target
    with _write_errors(target):
        descriptor = os.open(path, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if replaceable else 0) | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
        if replaceable:
            with _write_errors(target):
                if target.exists():
                    shutil.copymode(target, path)
                # Before the new name: after a power cut it stands for all of the content.
                os.fsync(descriptor)
                path.replace(target)
                sync_folder(target.parent)
    finally:
        os.close(descriptor)
