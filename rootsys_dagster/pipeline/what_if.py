"""What if the rules were others: committed records and open dead letters judged again, and nothing committed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from rootsys_dagster.core.interface import Interface
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.letters import OPEN_STATES, LetterFilter, open_letters
from rootsys_dagster.pipeline.export import export_lines
from rootsys_dagster.pipeline.normalise import Normalised, Normaliser
from rootsys_dagster.pipeline.replay import replayed_batch

Flip = Literal["rejected", "renamed", "resolved"]
"""A record that would be a dead letter; one that would have another id; a dead letter that would be a record."""
EXAMPLES = 5


class _Line(msgspec.Struct):
    metadata: msgspec.Raw
    record_id: str | None = None
    reason_codes: list[str] = []
    errors: list[dict[str, Any]] = []


class _Metadata(msgspec.Struct):
    source_details: dict[str, Any] | None = None


_line = msgspec.json.Decoder(_Line).decode
_metadata = msgspec.json.Decoder(_Metadata).decode


@dataclass(slots=True)
class WhatIf:
    """What would change for one log.

    Attributes:
        examples: the first few of each kind: where the unit came from, its id or letter, and what would be said of it.
    """

    stream: str
    records: int = 0
    letters: int = 0
    flips: dict[Flip, int] = field(default_factory=lambda: {"rejected": 0, "renamed": 0, "resolved": 0})
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    examples: dict[Flip, list[dict[str, Any]]] = field(
        default_factory=lambda: {"rejected": [], "renamed": [], "resolved": []}
    )

    def note(self, flip: Flip, example: dict[str, Any]) -> None:
        """One unit that would flip."""
        self.flips[flip] += 1
        if len(self.examples[flip]) < EXAMPLES:
            self.examples[flip].append(example)


def what_if(interface: Interface, log: CommitLog, limit: int | None = None) -> WhatIf:
    """Judge the committed records of *log*, at most *limit* of them, and its open dead letters under *interface*."""
    found = WhatIf(str(log.stream))
    normaliser = Normaliser(interface, interface.name, on_fail="quarantine")
    for line in export_lines(log, "records", limit=limit):
        found.records += 1
        out = normaliser.normalise(replayed_batch(line))
        before = _line(line)
        about = {"record_id": before.record_id, **_place(before)}
        if not out.counts.accepted:
            errors = list(_errors(out))
            for code in out.counts.reasons:
                found.reasons[code] = found.reasons.get(code, 0) + 1
            found.note("rejected", about | {"errors": errors})
        elif (now := _line(out.records).record_id) != before.record_id:
            found.note("renamed", about | {"new_record_id": now})
    with open_letters(log) as letters:
        for letter, line in letters.lines(letters.select(LetterFilter(states=OPEN_STATES))):
            found.letters += 1
            out = normaliser.normalise(replayed_batch(line))
            if out.counts.accepted:
                about = {"dead_letter_id": letter.id, **_place(_line(line))}
                found.note("resolved", about | {"new_record_id": _line(out.records).record_id})
    return found


def _place(line: _Line) -> dict[str, Any]:
    details = _metadata(line.metadata).source_details or {}
    return {"locator": details.get("locator"), "position": details.get("position")}


def _errors(out: Normalised) -> Iterator[dict[str, Any]]:
    if out.dead_letters:
        yield from _line(out.dead_letters).errors
