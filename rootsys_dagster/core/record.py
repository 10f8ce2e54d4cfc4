"""IntegrationRecord and DeadLetter as JSON lines: codes, envelopes, keys. Source: spec/1-reference.md 1.4 to 1.6."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec
import orjson
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from rootsys_dagster.core.rules import RuleCode

ErrorCode: TypeAlias = Literal[
    "PAYLOAD_FORMAT_MISMATCH",
    "MISSING_REQUIRED_PATH",
    "RECORD_ID_STRICT_PATHS_UNRESOLVED",
    "RECORD_ID_STRICT_NON_JSON",
    "PAYLOAD_DECODE_FAILED",
    "RECORD_TOO_LARGE",
    "WATERMARK_NULL",
    "WATERMARK_FUTURE",
    RuleCode,
]
"""Why a unit became a dead letter. Those after the first four are this product's own."""

WarningCode: TypeAlias = Literal["MISSING_RECORD_ID_PATH", "PATHS_IGNORED_FOR_NON_JSON", RuleCode]


@dataclass(frozen=True, slots=True)
class Message:
    """One error or warning of a unit: ``path`` is a JSON Pointer or None."""

    code: ErrorCode | WarningCode
    path: str | None
    message: str


def messages_json(messages: Sequence[Message]) -> bytes:
    """The JSON array that stands in ``errors`` or ``warnings``."""
    return orjson.dumps(messages)


def reason_codes(errors: Sequence[Message]) -> list[str]:
    """Codes of *errors*, each once, in the order first seen."""
    return list(dict.fromkeys(error.code for error in errors))


def key_seed(source: str, name: str, version: str) -> int:
    """What three of the four key members contribute to a record key; constant within one run."""
    return xxh3_64_intdigest(orjson.dumps([source, name, version]))


KEY_BYTES = 16
record_key = xxh3_128_digest
"""``record_key(record_id_json, seed)``: 16 bytes that stand for (source, interface name, version, record id).

``record_id_json`` is the id as a canonical JSON string, quotes included, as ``orjson.dumps`` writes it; ``seed`` comes
from :func:`key_seed`. An alias, because a Python frame per record would cost more than the hash.
"""

ALREADY_COMMITTED: Final = "already_committed"
"""The name under which units are counted as skipped that a read brings again."""
unit_fingerprint = xxh3_128_digest
"""``unit_fingerprint(unit)``: 16 bytes by which a unit that is read again is known, key and content at once."""


def member(name: str, value: Any) -> bytes:
    """``"name":value`` as compact JSON, for envelopes that are joined from bytes."""
    return orjson.dumps(name) + b":" + orjson.dumps(value)


class _Name(msgspec.Struct):
    name: str
    version: str


class _Metadata(msgspec.Struct):
    source_details: msgspec.Raw = msgspec.Raw(b"null")


class _Identity(msgspec.Struct):
    interface: _Name
    payload: msgspec.Raw
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


_identity = msgspec.json.Decoder(_Identity).decode


class _Rejected(msgspec.Struct):
    interface: _Name
    reason_codes: list[str]


_rejected = msgspec.json.Decoder(_Rejected).decode


def rejected_by(line: bytes) -> tuple[str, str] | None:
    """Name and version of the interface that made the dead letter in *line*; None when it is no dead letter."""
    try:
        interface = _rejected(line).interface
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return interface.name, interface.version


def dead_letter_id(line: bytes) -> str:
    """32 hexadecimal digits from what the dead letter is about: interface, version, place of the unit, payload.

    The same unit rejected again has the same id, whenever and by whichever run; two equal units at two places do not.
    """
    letter = _identity(line)
    details = letter.metadata.source_details
    parts = [orjson.dumps([letter.interface.name, letter.interface.version]), bytes(details), bytes(letter.payload)]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:32]
