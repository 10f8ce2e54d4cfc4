"""Where a record came from, and what became of what came from a place: read from the commit logs alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec
import orjson

from rootsys_dagster.core.record import dead_letter_id
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.letters import parse_outcome
from rootsys_dagster.log.manifest import Manifest
from rootsys_dagster.pipeline.export import commit_lines

Fate: TypeAlias = Literal["records", "duplicates", "dead_letters"]


class _Details(msgspec.Struct):
    source_type: str | None = None
    locator: str | None = None
    position: msgspec.Raw = msgspec.Raw(b"null")


class _Metadata(msgspec.Struct):
    source_details: _Details | None = None


class _Name(msgspec.Struct):
    name: str
    version: str


class _Line(msgspec.Struct):
    interface: _Name
    metadata: _Metadata
    record_id: str | None = None
    reason_codes: list[str] = []


_decode = msgspec.json.Decoder(_Line).decode


@dataclass(frozen=True, slots=True)
class Trace:
    """One line of one commit log.

    Attributes:
        line: within its segment, from 1.
        position: where the unit stood at its source, in the words of that source.
        dead_letter_id: of the line itself, or of the letter that a replay made this record from.
    """

    log: CommitLog
    manifest: Manifest
    fate: Fate
    line: int
    interface: str
    record_id: str | None
    source_type: str | None
    locator: str | None
    position: Any
    dead_letter_id: str | None
    reason_codes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain members."""
        manifest = self.manifest
        file = manifest.file(self.fate)
        return {
            "stream": str(self.log.stream),
            "outcome": {"records": "record", "duplicates": "duplicate", "dead_letters": "dead_letter"}[self.fate],
            "commit": manifest.seq,
            "mode": manifest.mode,
            "run_id": manifest.run_id,
            "committed_at": manifest.committed_at,
            "segment": file.name if file else None,
            "line": self.line,
            "interface": self.interface,
            "interface_sha256": manifest.interface_sha256,
            "contract_sha256": manifest.contract_sha256,
            "record_id": self.record_id,
            "source_type": self.source_type,
            "locator": self.locator,
            "position": self.position,
            "asked": manifest.asked,
            "dead_letter_id": self.dead_letter_id,
            "reason_codes": self.reason_codes,
        }


def traces_of_record(log: CommitLog, record_id: str) -> Iterator[Trace]:
    """Every committed line with this record id: records, and in a fabric the duplicates that lost to one."""
    text = orjson.dumps(record_id)
    needle = b'"record_id":' + text
    for manifest in log.manifests():
        replayed: dict[str, str] | None = None
        for fate in ("records", "duplicates"):
            for number, line in enumerate(commit_lines(log, manifest, fate), 1):
                if needle not in line:
                    continue
                found = _decode(line)
                if found.record_id != record_id:
                    # The text may stand in a payload too.
                    continue
                replayed = _replayed(log, manifest) if replayed is None else replayed
                yield _trace(log, manifest, fate, number, found, replayed.get(record_id))


def traces_from(log: CommitLog, locator: str, at: Mapping[str, Any]) -> Iterator[Trace]:
    """Every committed line that came from *locator*, from a place with these members of its position."""
    needle = b'"locator":' + orjson.dumps(locator)
    for manifest in log.manifests():
        replayed: dict[str, str] | None = None
        for fate in ("records", "duplicates", "dead_letters"):
            for number, line in enumerate(commit_lines(log, manifest, fate), 1):
                if needle not in line:
                    continue
                found = _decode(line)
                details = found.metadata.source_details
                if details is None or details.locator != locator or not _is_at(details.position, at):
                    continue
                if fate == "dead_letters":
                    letter = dead_letter_id(line)
                else:
                    replayed = _replayed(log, manifest) if replayed is None else replayed
                    letter = replayed.get(found.record_id or "")
                yield _trace(log, manifest, fate, number, found, letter)


def _trace(log: CommitLog, manifest: Manifest, fate: Fate, number: int, line: _Line, letter: str | None) -> Trace:
    details = line.metadata.source_details or _Details()
    return Trace(
        log,
        manifest,
        fate,
        number,
        f"{line.interface.name}@{line.interface.version}",
        line.record_id,
        details.source_type,
        details.locator,
        msgspec.json.decode(details.position),
        letter,
        line.reason_codes,
    )


def _replayed(log: CommitLog, manifest: Manifest) -> dict[str, str]:
    """The letters that a replay has made records of, by record id; of several with one id the last."""
    outcomes = map(parse_outcome, commit_lines(log, manifest, "outcomes"))
    return {one.record_id: one.dead_letter_id for one in outcomes if one.record_id is not None}


def _is_at(position: msgspec.Raw, at: Mapping[str, Any]) -> bool:
    members: Any = msgspec.json.decode(position)
    return not at or (isinstance(members, dict) and at.items() <= members.items())  # pyright: ignore[reportUnknownMemberType]
