"""A dead letter as a row of a table: the columns of the reference, plus id, run, commit, and what became of it.

The statements are those of SQLite and, with ``$1`` for ``?1``, of PostgreSQL. Source: spec/1-reference.md 1.10.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from rootsys_dagster.core.record import dead_letter_id
from rootsys_dagster.log.letters import parse_outcome

ADDED: Final = {
    "run_id": "text",
    "commit_seq": "integer",
    "dead_letter_id": "text",
    "state": "text",
    "attempts": "integer",
    "last_commit_seq": "integer",
    "record_id": "text",
    "decided_by": "text",
    "note": "text",
}
"""The columns that the reference does not have, and the type of each."""
INSERT: Final = """
INSERT INTO "{table}" (created_at_unix_ms, source, interface_name, interface_version, payload_json,
  metadata_json, reason_codes_json, lineage_json, errors_json, run_id, commit_seq, dead_letter_id, state, attempts,
  last_commit_seq)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'open', 1, ?11)
ON CONFLICT (dead_letter_id) DO NOTHING"""
# A commit that is told of twice counts once.
OUTCOME: Final = """
UPDATE "{table}" SET state = ?2, attempts = coalesce(attempts, 1) + ?3, last_commit_seq = ?4, record_id = ?5,
  decided_by = ?6, note = ?7, errors_json = coalesce(?8, errors_json),
  reason_codes_json = coalesce(?9, reason_codes_json)
WHERE dead_letter_id = ?1 AND coalesce(last_commit_seq, 0) < ?4"""


class _Name(msgspec.Struct):
    name: str
    version: str


class _Lineage(msgspec.Struct):
    rejected_at_unix_ms: int


class _DeadLetter(msgspec.Struct):
    source: str
    interface: _Name
    payload: msgspec.Raw
    metadata: msgspec.Raw
    reason_codes: msgspec.Raw
    lineage: msgspec.Raw
    errors: msgspec.Raw


_decode = msgspec.json.Decoder(_DeadLetter).decode
_lineage = msgspec.json.Decoder(_Lineage).decode


def inserted(lines: Iterable[bytes], run_id: str, commit_seq: int) -> Iterator[tuple[Any, ...]]:
    """The values of ``INSERT`` for each dead letter of a commit."""
    for line in lines:
        letter = _decode(line)
        yield (
            _lineage(letter.lineage).rejected_at_unix_ms,
            letter.source,
            letter.interface.name,
            letter.interface.version,
            bytes(letter.payload).decode(),
            bytes(letter.metadata).decode(),
            bytes(letter.reason_codes).decode(),
            bytes(letter.lineage).decode(),
            bytes(letter.errors).decode(),
            run_id,
            commit_seq,
            dead_letter_id(line),
        )


def told(lines: Iterable[bytes], commit_seq: int) -> Iterator[tuple[Any, ...]]:
    """The values of ``OUTCOME`` for each line of an outcomes segment."""
    for line in lines:
        one = parse_outcome(line)
        failing = one.outcome == "failing"
        yield (
            one.dead_letter_id,
            one.outcome,
            0 if one.outcome == "discarded" else 1,
            commit_seq,
            one.record_id,
            one.by,
            one.note,
            bytes(one.errors).decode() if failing else None,
            msgspec.json.encode(one.reason_codes).decode() if failing else None,
        )
