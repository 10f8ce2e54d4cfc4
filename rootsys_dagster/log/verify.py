"""Prove from disk what a commit log promises: chain, hashes, counts, conservation, keys, positions."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.record import KEY_BYTES
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.followers import follower_states
from rootsys_dagster.log.manifest import Counts, Manifest, SegmentFile, SegmentKind

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise that the files on disk do not keep."""

    code: str
    path: str
    message: str


def verify_log(log: CommitLog) -> list[Finding]:
    """Everything that is wrong with one log; empty when all of it is as committed. Reads every byte."""
    try:
        last_seq = log.last_seq()
    except RootsysError as error:
        return [Finding("CHAIN", str(log.folder / "log"), error.message)]
    findings: list[Finding] = []
    previous: Manifest | None = None
    for seq in range(1, last_seq + 1):
        path = str(log.folder / "log" / f"{seq:08d}.json")
        try:
            manifest = log.manifest(seq)
        except RootsysError as error:
            findings.append(Finding("CHAIN", path, error.message))
            previous = None
            continue
        if previous is not None and manifest.start != previous.end:
            findings.append(Finding("POSITION", path, "does not begin where the commit before it ended"))
        before = previous.totals if previous else Counts() if seq == 1 else None
        if before is not None and manifest.totals != before.plus(manifest.counts):
            findings.append(Finding("COUNTS", path, "its totals are not those before it plus its own counts"))
        findings.extend(verify_commit(log, manifest))
        previous = manifest
    findings.extend(_inputs(log, previous))
    findings.extend(_followers(log, last_seq))
    return findings


def _inputs(log: CommitLog, head: Manifest | None) -> Iterator[Finding]:
    """What is merged here and is not in its own log: the only trace of a newest commit that was taken away."""
    if head is None or head.mode != "merge" or head.source_fingerprint is None:
        return
    for stream, sha256 in head.source_fingerprint["inputs"].items():
        name, _, version = stream.rpartition("@")
        source, seq = CommitLog(log.state_root, StreamId(name, version)), head.end["inputs"][stream]
        try:
            found = source.manifest_sha256(seq)
        except RootsysError:
            found = None
        if found != sha256:
            message = f"commit {seq} of {stream} is merged by {log.stream}, and is gone or another one"
            yield Finding("INPUT", str(source.folder / "log" / f"{seq:08d}.json"), message)


def _followers(log: CommitLog, last_seq: int) -> Iterator[Finding]:
    folder = log.folder / "followers"
    try:
        states = follower_states(log)
    except RootsysError as error:
        yield Finding("FOLLOWER", str(folder), error.message)
        return
    for name, state in states.items():
        if state.seq > last_seq:
            yield Finding("FOLLOWER", str(folder / name), f"is at commit {state.seq}, the log ends at {last_seq}")


def verify_commit(log: CommitLog, manifest: Manifest) -> Iterator[Finding]:
    """What is wrong with one commit by itself: its counts, and the files that it names."""
    yield from _counts(manifest, str(log.folder / "log" / f"{manifest.seq:08d}.json"))
    for file in manifest.files:
        yield from _segment(file, log.path(file))


def _counts(manifest: Manifest, path: str) -> Iterator[Finding]:
    try:
        manifest.counts.check_conservation()
    except RootsysError as error:
        yield Finding("CONSERVATION", path, error.message)
    counts = manifest.counts
    outcomes: dict[SegmentKind, int] = {
        "records": counts.accepted,
        "dead_letters": counts.dead_letters,
        "duplicates": counts.duplicates,
    }
    for kind, count in outcomes.items():
        file = manifest.file(kind)
        if (file.records if file else 0) != count:
            yield Finding("COUNTS", path, f"counts {count} {kind}, its segment has {file.records if file else 0}")
    decided = manifest.file("outcomes")
    if decided and manifest.mode == "replay" and decided.records != counts.fetched:
        yield Finding("COUNTS", path, f"replays {counts.fetched} dead letters and tells of {decided.records}")
    keys, records = manifest.file("keys"), manifest.file("records")
    if keys and records and keys.records != records.records:
        yield Finding("COUNTS", path, f"has {keys.records} keys for {records.records} records")


def _segment(file: SegmentFile, path: Path) -> Iterator[Finding]:
    digest, size, lines, last = hashlib.sha256(), 0, 0, b"\n"
    try:
        with path.open("rb") as stream:
            while data := stream.read(READ_BYTES):
                digest.update(data)
                size += len(data)
                lines += data.count(b"\n")
                last = data[-1:]
    except OSError as error:
        yield Finding("MISSING", str(path), error.strerror or "cannot be read")
        return
    if size != file.bytes or digest.hexdigest() != file.sha256:
        yield Finding("CHANGED", str(path), "is not what was committed (size or SHA-256 differs)")
    elif file.kind in ("keys", "units"):
        if size != file.records * KEY_BYTES:
            yield Finding("COUNTS", str(path), f"has {size} bytes for {file.records} {file.kind}")
    elif lines != file.records or last != b"\n":
        yield Finding("COUNTS", str(path), f"has {lines} lines, its manifest says {file.records}")
