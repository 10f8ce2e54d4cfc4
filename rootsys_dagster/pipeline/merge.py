"""One run of one fabric: the whole commits of its inputs, in order, become records and duplicates in a log of its own.

Position: ``{"inputs": {"mes@v1": 12}}``, the last commit of each input that is merged. A merge only copies: records are
told apart by their ``.keys`` sidecars and moved as blocks of lines, byte for byte.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from rootsys_dagster.core.errors import LogDamagedError
from rootsys_dagster.core.project import FabricFile, Project
from rootsys_dagster.core.record import KEY_BYTES
from rootsys_dagster.log.commit import CommitLog, LogWriter, StreamId
from rootsys_dagster.log.key_index import KeyIndex, KeyRunDamagedError
from rootsys_dagster.log.manifest import Counts, Manifest, SegmentFile
from rootsys_dagster.pipeline.merge_copy import BLOCK_BYTES, ahead, damaged, line_blocks, split_block, verified_blocks
from rootsys_dagster.pipeline.merge_files import MergeStats, merge_files
from rootsys_dagster.pipeline.merge_index import CHUNK_KEYS, Mask, SeenKeys
from rootsys_dagster.pipeline.run import Progress, RunReport

__all__ = ["MergeReport", "MergeStats", "merge_fabric", "merge_files", "unmerged"]

COMMIT_RECORDS = 2_000_000
COMMIT_BYTES = 1 << 30
"""A commit is made after the input commit with which one of the two is reached: some seconds of work."""

Keys = npt.NDArray[np.uint64]


@dataclass(slots=True)
class MergeReport(RunReport):
    """What one run did, in the words of a merge; no manifests when the inputs had nothing new."""

    @property
    def total(self) -> int:
        """Records read."""
        return self.counts.fetched

    @property
    def written(self) -> int:
        """Records that are in the fabric now."""
        return self.counts.accepted

    @property
    def duplicates(self) -> int:
        """Records whose key was there before."""
        return self.counts.duplicates


def merge_fabric(entry: FabricFile, project: Project, *, run_id: str, progress: Progress | None = None) -> MergeReport:
    """Merge what the inputs of a fabric have committed since its last commit. Of equal keys the first published stays.

    Raises:
        InvalidFileError: the fabric file has problems, or one of its inputs cannot be read at all.
        LogDamagedError: an input is not what was committed, or not the log that was merged before.
    """
    began_s = time.monotonic()
    inputs, log = _logs(entry, project)
    head = log.head()
    position = head.end if head else None
    if not any(seq < last for _, seq, last in _merged_so_far(inputs, head)):
        return MergeReport(run_id, position, position, elapsed_s=time.monotonic() - began_s)
    with log.writer(run_id) as writer:
        report = MergeReport(run_id, writer.position, writer.position)
        merge = _Merge(inputs, writer, entry.sha256, entry.require().dedupe, report, progress)
        try:
            merge.run()
        except KeyRunDamagedError:
            # Only a cache was lost. What was not committed is merged once more, against an index made from the log.
            writer.discard()
            KeyIndex(log.folder / "index").clear()
            merge.run()
        report.elapsed_s = time.monotonic() - began_s
        return report


def unmerged(entry: FabricFile, project: Project) -> dict[str, int]:
    """The newest commit of each input that has committed more than was merged; empty when a merge would do nothing.

    Raises:
        InvalidFileError, LogDamagedError: as :func:`merge_fabric` would.
    """
    inputs, log = _logs(entry, project)
    return {str(source.stream): last for source, seq, last in _merged_so_far(inputs, log.head()) if seq < last}


def _logs(entry: FabricFile, project: Project) -> tuple[list[CommitLog], CommitLog]:
    """The logs of the inputs, in order, and that of the fabric itself."""
    fabric = entry.require()
    inputs: list[CommitLog] = []
    for file in project.inputs(entry):
        # Only its name is needed: what a broken interface committed before it broke is as good as ever.
        if file.model is None:
            file.refuse_if_broken()
        inputs.append(CommitLog(project.state_root, StreamId(file.name, file.version)))
    return inputs, CommitLog(project.state_root, StreamId(fabric.name, fabric.version))


def _merged_so_far(inputs: list[CommitLog], head: Manifest | None) -> Iterator[tuple[CommitLog, int, int]]:
    """Each input with its last merged commit and its newest one.

    Raises:
        LogDamagedError: the merged commit is not in the input's log any more.
    """
    merged = cast(dict[str, int], head.end["inputs"]) if head else {}
    hashes = cast(dict[str, str], (head.source_fingerprint or {}).get("inputs", {})) if head else {}
    for log in inputs:
        name = str(log.stream)
        seq, last = merged.get(name, 0), log.last_seq()
        if seq > last or (seq and log.manifest_sha256(seq) != hashes.get(name)):
            raise LogDamagedError(
                f"{head.interface if head else ''}: commit {seq} of {name} is merged but not in {log.folder} any more; "
                "restore that folder, or start the fabric anew under another version"
            )
        yield log, seq, last


class _Merge:
    def __init__(
        self,
        inputs: list[CommitLog],
        writer: LogWriter,
        fabric_sha256: str,
        dedupe: bool,
        report: MergeReport,
        progress: Progress | None,
    ) -> None:
        self.inputs = inputs
        self.writer = writer
        self.fabric_sha256 = fabric_sha256
        self.dedupe = dedupe
        self.report = report
        self.progress = progress
        self.open = Counts()
        self.seen: SeenKeys | None = None

    def run(self) -> None:
        head = self.writer.head
        self.open = Counts()
        self.seq: dict[str, int] = dict(head.end["inputs"]) if head else {}
        self.hashes: dict[str, str] = dict((head.source_fingerprint or {})["inputs"]) if head else {}
        self.seen = self.open_index() if self.dedupe else None
        try:
            for log, seq, _ in list(_merged_so_far(self.inputs, head)):
                for manifest in log.manifests(after=seq):
                    self.merge_commit(log, manifest)
                    if self.open.fetched >= COMMIT_RECORDS or self.open.raw_bytes >= COMMIT_BYTES:
                        self.commit()
            self.commit()
        finally:
            if self.seen:
                self.seen.close()

    def merge_commit(self, log: CommitLog, manifest: Manifest) -> None:
        records, keys = manifest.file("records"), manifest.file("keys")
        if records:
            if keys is None or keys.records != records.records or keys.bytes != KEY_BYTES * keys.records:
                raise damaged(log.path(records), "without the keys of its records")
            self.merge_segment(log, records, keys)
        self.seq[str(log.stream)] = manifest.seq
        self.hashes[str(log.stream)] = log.manifest_sha256(manifest.seq)

    def merge_segment(self, log: CommitLog, records: SegmentFile, keys: SegmentFile) -> None:
        path = log.path(records)
        stream = _KeyStream(verified_blocks(log.path(keys), keys, KEY_BYTES * CHUNK_KEYS), self.seen)
        lines = 0
        with closing(ahead(verified_blocks(path, records, BLOCK_BYTES))) as blocks:
            for block in line_blocks(blocks):
                lines += len(block.ends)
                if lines > records.records:
                    break
                keep, kept_keys = stream.take(len(block.ends))
                accepted = int(np.count_nonzero(keep))
                kept, lost = split_block(block, keep)
                if accepted:
                    self.writer.write("records", kept, accepted, kept_keys)
                if lost:
                    self.writer.write("duplicates", lost, len(keep) - accepted)
                self.count(
                    Counts(
                        fetched=len(keep), accepted=accepted, duplicates=len(keep) - accepted, raw_bytes=len(block.data)
                    )
                )
        if lines != records.records:
            raise damaged(path, f"made of {lines} lines instead of {records.records}")
        stream.finish()

    def count(self, counts: Counts) -> None:
        self.open.add(counts)
        if self.progress is not None:
            self.progress(self.report.counts.plus(self.open))

    def commit(self) -> None:
        head = self.writer.head
        if self.seq == (head.end["inputs"] if head else {}):
            return
        manifest = self.writer.commit(
            end={"inputs": dict(self.seq)},
            counts=self.open,
            interface_sha256=self.fabric_sha256,
            mode="merge",
            source_fingerprint={"inputs": dict(self.hashes)},
        )
        self.report.manifests.append(manifest)
        self.report.end = manifest.end
        self.report.counts.add(self.open)
        self.open = Counts()
        if self.seen:
            self.seen.seal(manifest.seq)

    def open_index(self) -> SeenKeys:
        """The index of what is published, caught up with commits that a killed run did not get to add."""
        log, head = self.writer.log, self.writer.head

        def stamp_of(seq: int) -> str | None:
            return log.manifest_sha256(seq) if 1 <= seq <= log.last_seq() else None

        seen = SeenKeys(KeyIndex(log.folder / "index"), stamp_of)
        if head and seen.covered < head.seq:
            for manifest in log.manifests(after=seen.covered):
                file = manifest.file("keys")
                for keys in verified_blocks(log.path(file), file, KEY_BYTES * CHUNK_KEYS) if file else ():
                    seen.add(keys)
            seen.seal(head.seq)
        return seen


class _KeyStream:
    """Says for the next lines of a segment which of them stay, from its key sidecar."""

    def __init__(self, chunks: Iterator[bytes], seen: SeenKeys | None) -> None:
        self._chunks = chunks
        self._seen = seen
        self._keep: Mask = np.empty(0, np.bool_)
        self._keys: Keys = np.empty((0, 2), np.uint64)

    def take(self, lines: int) -> tuple[Mask, bytes]:
        """Which of the next *lines* lines stay, and the keys of those."""
        while len(self._keep) < lines:
            chunk = next(self._chunks)
            keep = self._seen.add(chunk) if self._seen else np.ones(len(chunk) // KEY_BYTES, np.bool_)
            self._keep = np.concatenate((self._keep, keep))
            self._keys = np.concatenate((self._keys, np.frombuffer(chunk, np.uint64).reshape(-1, 2)))
        keep, keys = self._keep[:lines], self._keys[:lines]
        self._keep, self._keys = self._keep[lines:], self._keys[lines:]
        return keep, keys[keep].tobytes()

    def finish(self) -> None:
        """Read to the end, which is where a changed sidecar is noticed."""
        for _ in self._chunks:
            pass
