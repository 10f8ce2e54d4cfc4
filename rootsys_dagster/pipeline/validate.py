"""The exact verdict on one unit: every error and warning with code and pointer, and the record id.

The hot path in ``normalise`` accepts what is plain; whatever it refuses is judged here. Source: spec/1-reference.md 1.5
and 1.6.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import orjson

from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.pointer import MISSING, resolve, tokens
from rootsys_dagster.core.policy import OnFail
from rootsys_dagster.core.ports import Oversized, PayloadKind
from rootsys_dagster.core.record import Message
from rootsys_dagster.core.rules import RuleOnFail
from rootsys_dagster.pipeline.exact_json import NotJsonError, canonical, id_text, parse
from rootsys_dagster.pipeline.rules import RuleBook, Violation

# Unicode's White_Space in UTF-8; str.strip would take U+001C to U+001F too.
BLANK = re.compile(
    rb"(?:[\t-\r ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)*+"
)

STRICTNESS: tuple[OnFail, ...] = ("block", "quarantine", "skip")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one unit: accepted with a record id, or rejected with errors."""

    record_id: bytes | None
    """The id as a canonical JSON string, quotes included; None when the unit is rejected."""
    errors: list[Message]
    warnings: list[Message]
    payload_kind: PayloadKind
    """How the payload is told: a unit that should be JSON and is not is kept as text, or as base64."""
    on_fail: OnFail | None = None
    """What the rules that are broken ask for; None when the interface decides."""


class Validator:
    """The rules of one interface."""

    def __init__(self, interface: Interface) -> None:
        self._format = interface.payload_format
        self._strict = interface.record_id_policy == "strict"
        self._required = [(pointer, tokens(pointer)) for pointer in interface.required_paths]
        self._id_paths = [(pointer, tokens(pointer)) for pointer in interface.record_id_paths]
        self._on_fail: OnFail = interface.on_fail
        self.rules = RuleBook(interface.rules)

    def judge(
        self,
        unit: bytes,
        kind: PayloadKind,
        oversized: Oversized | None = None,
        refused: Message | None = None,
        *,
        keeps_blank: bool = False,
    ) -> Verdict | None:
        """The verdict on *unit*, None when it is a blank line.

        Args:
            kind: what the driver says the unit is.
            oversized: set when *unit* is only the beginning of what the source holds.
            refused: set when the source itself shows that *unit* cannot be a record.
            keeps_blank: judge a blank unit like any other.
        """
        if refused is not None:
            return _rejected(refused, kind)
        if oversized is not None:
            text = f"{oversized.length} bytes are more than limits.max_record_bytes; the first {len(unit)} are kept"
            return _rejected(Message("RECORD_TOO_LARGE", "/payload", text), _raw_kind(unit))
        if kind == "binary":
            return self._opaque(unit, kind)
        if not keeps_blank and BLANK.fullmatch(unit):
            return None
        if kind == "text":
            return self._text(unit)
        try:
            document = parse(unit)
        except NotJsonError as error:
            return _rejected(Message("PAYLOAD_DECODE_FAILED", error.pointer, error.message), _raw_kind(unit))
        return self._json(document)

    def _json(self, document: Any) -> Verdict:
        if self._format not in ("json", "unknown"):
            return self._mismatch("json")
        errors = [
            Message("MISSING_REQUIRED_PATH", pointer, f"required path {pointer} is absent or null")
            for pointer, path in self._required
            if not _exists(document, path)
        ]
        broken = self.rules.violations(document)
        if errors or any(one.on_fail != "warn" for one in broken):
            return self._broken(errors, broken)
        parts: list[str] = []
        warnings: list[Message] = []
        for pointer, path in self._id_paths:
            if _exists(document, path):
                parts.append(id_text(resolve(document, path)))
            else:
                text = f"record id path {pointer} is absent or null"
                warnings.append(Message("MISSING_RECORD_ID_PATH", pointer, text))
        if not parts and self._strict:
            listed = ", ".join(pointer for pointer, _ in self._id_paths)
            text = f"no record id path resolves: {listed}"
            return _rejected(Message("RECORD_ID_STRICT_PATHS_UNRESOLVED", "/record_id_paths", text), "json")
        if self.rules.has_unique:
            broken += self.rules.claim(document)
            if any(one.on_fail != "warn" for one in broken):
                return self._broken([], broken)
        warnings += [one.message for one in broken]
        record_id = "|".join(parts) if parts else hashlib.sha256(canonical(document)).hexdigest()
        return Verdict(orjson.dumps(record_id), [], warnings, "json")

    def _broken(self, errors: list[Message], broken: list[Violation]) -> Verdict:
        """All that is wrong with one payload; the strictest of the policies concerned decides what becomes of it."""
        asked: set[RuleOnFail] = {one.on_fail or self._on_fail for one in broken}
        if errors:
            asked.add(self._on_fail)
        strictest: OnFail = next(policy for policy in STRICTNESS if policy in asked)
        return Verdict(None, errors + [one.message for one in broken], [], "json", strictest)

    def _text(self, unit: bytes) -> Verdict:
        try:
            unit.decode()
        except UnicodeDecodeError as error:
            text = f"not valid UTF-8 at byte {error.start}"
            return _rejected(Message("PAYLOAD_DECODE_FAILED", "/payload", text), "binary")
        return self._opaque(unit, "text")

    def _opaque(self, unit: bytes, kind: PayloadKind) -> Verdict:
        if self._format not in (kind, "unknown"):
            return self._mismatch(kind)
        if self._strict:
            text = f"a {kind} payload has no record id under the strict policy"
            return _rejected(Message("RECORD_ID_STRICT_NON_JSON", "/record_id_paths", text), kind)
        warnings: list[Message] = []
        if self._required or self._id_paths or self.rules.has_any:
            text = f"required and record id paths do not apply to a {kind} payload"
            warnings.append(Message("PATHS_IGNORED_FOR_NON_JSON", None, text))
        return Verdict(b'"%b"' % hashlib.sha256(unit).hexdigest().encode(), [], warnings, kind)

    def _mismatch(self, kind: PayloadKind) -> Verdict:
        text = f"payload is {kind}, the interface expects {self._format}"
        return _rejected(Message("PAYLOAD_FORMAT_MISMATCH", "/payload", text), kind)


def _rejected(error: Message, kind: PayloadKind) -> Verdict:
    return Verdict(None, [error], [], kind)


def _exists(document: Any, path: tuple[str, ...]) -> bool:
    value = resolve(document, path)
    return value is not MISSING and value is not None


def _raw_kind(unit: bytes) -> PayloadKind:
    try:
        unit.decode()
    except UnicodeDecodeError:
        return "binary"
    return "text"
