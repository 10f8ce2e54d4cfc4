"""What the disk says, read without the product: manifests as plain JSON, segments as bytes, against the source."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash.source import Line

BEFORE_PAYLOAD = b',"payload":{"kind":"%b","data":'
AFTER_PAYLOAD = b'},"metadata":{'


class Broken(AssertionError):
    """The promise is broken: something committed is lost, doubled, torn or out of order."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found good: so many commits, which cover so many lines of the source."""

    commits: int = 0
    lines: int = 0
    source_bytes: int = 0
    manifest_sha256: str | None = None


def check(folder: Path, source: Sequence[Line], since: Checked | None = None) -> Checked:
    """Check every commit after *since*: complete, chained, and exactly the next lines of the source, each once.

    Args:
        folder: of one version of one interface below the state root.
    Raises:
        Broken: it is not so.
    """
    checked = since or Checked()
    seqs = sorted(int(path.stem) for path in (folder / "log").glob("[0-9]*.json"))
    if seqs != list(range(1, len(seqs) + 1)):
        raise Broken(f"manifests are not contiguous: {seqs}")
    for seq in seqs[checked.commits :]:
        checked = _check_commit(folder, seq, source, checked)
    return checked


def check_complete(folder: Path, source: Sequence[Line]) -> Checked:
    """Check the whole log from its first byte, and that it covers the whole source."""
    checked = check(folder, source)
    if checked.lines != len(source):
        raise Broken(f"lost: {len(source) - checked.lines} of {len(source)} lines were never committed")
    return checked


def payload(line: bytes) -> bytes:
    """The bytes of the unit in a record or dead letter, found without decoding JSON payloads."""
    try:
        document = json.loads(line)
    except ValueError as error:
        raise Broken(f"torn line: {line[:200]!r}") from error
    kind, data = document["payload"]["kind"], document["payload"]["data"]
    if kind == "Text":
        return data.encode()
    if kind == "Binary":
        return base64.b64decode(data["data"])
    begin = line.index(BEFORE_PAYLOAD % kind.encode()) + len(BEFORE_PAYLOAD) - 2 + len(kind)
    return line[begin : line.rindex(AFTER_PAYLOAD)]


def segment_lines(folder: Path, manifest: dict[str, Any], kind: str) -> list[bytes]:
    """The lines of one kind that a manifest names, its promise about the file kept."""
    lines: list[bytes] = []
    for file in manifest["files"]:
        path = folder / file["name"]
        data = path.read_bytes() if path.is_file() else None
        if data is None or len(data) != file["bytes"] or hashlib.sha256(data).hexdigest() != file["sha256"]:
            found = "missing" if data is None else f"{len(data)} bytes"
            raise Broken(f"torn: commit {manifest['seq']} names {path.name} with {file['bytes']} bytes, it is {found}")
        units = len(data) // 16 if file["kind"] == "keys" else data.count(b"\n")
        if units != file["records"] or (file["kind"] != "keys" and not data.endswith(b"\n")):
            raise Broken(f"torn: {path.name} holds {units} of {file['records']}")
        if file["kind"] == kind:
            lines += data.split(b"\n")[:-1]
    return lines


def read_manifest(folder: Path, seq: int) -> tuple[dict[str, Any], str]:
    """A manifest and the hash of its bytes."""
    data = (folder / "log" / f"{seq:08d}.json").read_bytes()
    try:
        return json.loads(data), hashlib.sha256(data).hexdigest()
    except ValueError as error:
        raise Broken(f"torn: manifest {seq} is {len(data)} bytes that are no JSON") from error


def _check_commit(folder: Path, seq: int, source: Sequence[Line], before: Checked) -> Checked:
    manifest, sha256 = read_manifest(folder, seq)
    if manifest["seq"] != seq or manifest["prev_sha256"] != before.manifest_sha256:
        raise Broken(f"manifest {seq} does not follow from the one before")
    records = [payload(line) for line in segment_lines(folder, manifest, "records")]
    dead_letters = [payload(line) for line in segment_lines(folder, manifest, "dead_letters")]
    # How far the commit reaches is its position; that its lines are exactly those up to there is what is checked.
    (mark,) = manifest["end"]["files"].values()
    lines, size = before.lines, before.source_bytes
    while size < mark["byte"] and lines < len(source):
        size += len(source[lines].raw) + 1
        lines += 1
    if size != mark["byte"] or lines != mark["line"]:
        raise Broken(f"commit {seq} ends at byte {mark['byte']}, line {mark['line']}: not the end of a line")
    if lines == before.lines:
        raise Broken(f"commit {seq} covers nothing")
    span = source[before.lines : lines]
    _check_equal(seq, "records", [line.raw for line in span if line.fate == "record"], records)
    _check_equal(seq, "dead letters", [line.raw for line in span if line.fate == "dead_letter"], dead_letters)
    return Checked(seq, lines, size, sha256)


def _check_equal(seq: int, what: str, expected: list[bytes], found: list[bytes]) -> None:
    if expected == found:
        return
    wanted, got = Counter(expected), Counter(found)
    lost, extra = wanted - got, got - wanted
    firsts = f"first lost {next(iter(lost), None)!r}, first extra {next(iter(extra), None)!r}"
    if not lost and not extra:
        raise Broken(f"commit {seq}, {what}: out of order")
    raise Broken(f"commit {seq}, {what}: {lost.total()} lost, {extra.total()} doubled or changed; {firsts}")
