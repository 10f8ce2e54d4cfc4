"""The manifest: one commit, immutable and chained to the one before by hash."""

import hashlib
from typing import Any, Literal, TypeAlias

import msgspec

from rootsys_dagster.core.errors import LogDamagedError, PermanentError

FORMAT = 1
SegmentKind: TypeAlias = Literal["records", "keys", "dead_letters", "duplicates", "units", "outcomes"]
Mode: TypeAlias = Literal["ingest", "replay", "merge", "decision", "reset"]
"""``decision``: a person has decided about dead letters; ``reset``: about the position. Neither fetches anything."""


class ConservationError(PermanentError):
    """The counts of a commit do not add up; it is a bug of ours or of a driver, and the commit is not made."""


class Counts(msgspec.Struct, kw_only=True):
    """What happened to the units of a commit: fetched = accepted + dead letters + duplicates + skipped."""

    fetched: int = 0
    accepted: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    skipped: dict[str, int] = {}
    """Units left out on purpose, by name: ``blank`` lines, or the reason code under ``on_fail: skip``."""
    reasons: dict[str, int] = {}
    """Dead letters by reason code; one with two codes counts under both."""
    warnings: dict[str, int] = {}
    raw_bytes: int = 0

    def add(self, other: "Counts") -> None:
        """Sum *other* into this one."""
        self.fetched += other.fetched
        self.accepted += other.accepted
        self.dead_letters += other.dead_letters
        self.duplicates += other.duplicates
        self.raw_bytes += other.raw_bytes
        for mine, theirs in (
            (self.skipped, other.skipped),
            (self.reasons, other.reasons),
            (self.warnings, other.warnings),
        ):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count

    def plus(self, other: "Counts") -> "Counts":
        """The sum, as a new object."""
        total = Counts()
        total.add(self)
        total.add(other)
        return total

    def check_conservation(self) -> None:
        """Raise ConservationError unless every fetched unit has exactly one outcome."""
        outcomes = self.accepted + self.dead_letters + self.duplicates + sum(self.skipped.values())
        if self.fetched != outcomes:
            raise ConservationError(
                f"{self.fetched} units were fetched but {outcomes} have an outcome; the commit was not made",
                code="LOG.CONSERVATION",
            )


class SegmentFile(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable file of a commit, by its path below the log's folder."""

    kind: SegmentKind
    name: str
    sha256: str
    bytes: int
    records: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One commit. ``end`` is the checkpoint: a field of the newest manifest, never a write of its own."""

    format: int
    seq: int
    prev_sha256: str | None
    interface: str
    version: str
    interface_sha256: str
    run_id: str
    mode: Mode
    start: dict[str, Any] | None
    end: dict[str, Any]
    counts: Counts
    totals: Counts
    """The counts of all commits up to and including this one."""
    files: tuple[SegmentFile, ...]
    source_fingerprint: dict[str, Any] | None
    contract_sha256: str | None = None
    """Of the record contract that the interface names, None without one."""
    replaced: int = 0
    """Commits up to this number are history: a later read brought everything anew."""
    asked: dict[str, Any] | None = None
    """What the source was asked, without secrets: the request, or the exact SQL and its values."""
    triggered_by: str | None = None
    """Who asked for the run, see ``log.trigger``; None when nobody has said so."""
    started_at: str
    committed_at: str
    tool_version: str
    self_sha256: str = ""
    """Of this manifest's own line with this member empty: the newest manifest has no successor yet to vouch for it."""

    def file(self, kind: SegmentKind) -> SegmentFile | None:
        """The file of *kind*, or None when this commit has none."""
        return next((file for file in self.files if file.kind == kind), None)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Manifest).decode


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as one JSON line: what is hashed and chained."""
    data = _encode(msgspec.structs.replace(manifest, self_sha256=""))
    return _encode(msgspec.structs.replace(manifest, self_sha256=_sha256(data))) + b"\n"


def parse_manifest(data: bytes, name: str) -> Manifest:
    """Read a manifest back.

    Raises:
        LogDamagedError: the bytes are not a manifest of a format this version knows, or not as they were written.
    """
    try:
        manifest = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogDamagedError(f"{name} is not a readable manifest; run rootsys verify") from error
    if manifest.format != FORMAT:
        raise LogDamagedError(f"{name} has format {manifest.format}, this version reads {FORMAT}; update rootsys")
    without = data.rstrip(b"\n").replace(manifest.self_sha256.encode(), b"")
    if _sha256(without) != manifest.self_sha256:
        raise LogDamagedError(f"{name} was changed after it was written; restore it from a backup")
    return manifest


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
