"""Rules put to work: which of them a payload breaks, each with code and pointer.

Two answers that agree: :meth:`RuleBook.surely_hold` decodes each unit once and lets what is plain through;
:meth:`RuleBook.violations` looks at the exact document, where every number has all its digits.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, cast

import orjson
from xxhash import xxh3_128_digest

from rootsys_dagster.core.pointer import MISSING, escape, resolve, tokens
from rootsys_dagster.core.record import Message
from rootsys_dagster.core.rules import Rule, RuleCode, RuleOnFail, schema_validator
from rootsys_dagster.pipeline.exact_json import Number, canonical

CODES: dict[str, RuleCode] = {
    "type": "RULE_TYPE",
    "enum": "RULE_ENUM",
    "pattern": "RULE_PATTERN",
    "minimum": "RULE_RANGE",
    "maximum": "RULE_RANGE",
    **{f"{end}{what}": "RULE_LENGTH" for end in ("min", "max") for what in ("Length", "Items", "Properties")},
}
MAX_VIOLATIONS = 100
"""Of one schema in one unit: an array of a million wrong items says no more than its first hundred."""
# Up to 15 digits a decimal and its nearest double order alike; what may have more is left to the exact path.
MANY_DIGITS = re.compile(rb"[0-9.]{16}")
MAX_EXPONENT = 10_000


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule. ``on_fail`` is that of the rule, None when the interface decides."""

    message: Message
    on_fail: RuleOnFail | None


@dataclass(slots=True)
class _Check:
    """One rule, compiled."""

    rule: Rule
    path: tuple[str, ...] = field(init=False)
    simple: Any = field(init=False, default=None)
    schema: Any = field(init=False, default=None)
    seen: set[bytes] = field(init=False, default_factory=set[bytes])
    """What ``unique`` has met since the last commit, 16 bytes each."""

    def __post_init__(self) -> None:
        rule = self.rule
        self.path = tokens(rule.pointer) if rule.pointer else ()
        keywords = rule.keywords()
        self.simple = schema_validator(keywords) if keywords else None
        self.schema = schema_validator(rule.json_schema) if rule.json_schema is not None else None


class RuleBook:
    """The rules of one interface, its contract's among them."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._checks = [_Check(rule) for rule in rules]
        self.has_any = bool(rules)
        self.has_unique = any(rule.unique for rule in rules)

    def surely_hold(self, units: Sequence[bytes]) -> list[bool]:
        """Whether each unit keeps every rule but ``unique``; False when only the exact document can tell."""
        if MANY_DIGITS.search(b"\n".join(units)):
            return [not MANY_DIGITS.search(unit) and self._surely_holds(unit) for unit in units]
        return list(map(self._surely_holds, units))

    def _surely_holds(self, unit: bytes) -> bool:
        try:
            document = orjson.loads(unit)
        except orjson.JSONDecodeError:
            return False
        for check in self._checks:
            value = resolve(document, check.path)
            if value is MISSING or value is None:
                if check.rule.not_null or (value is None and check.schema is not None):
                    return False
            elif not (
                (check.simple is None or check.simple.is_valid(value))
                and (check.schema is None or check.schema.is_valid(value))
            ):
                return False
        return True

    def violations(self, document: Any) -> list[Violation]:
        """Every violation but those of ``unique``, in the order of the rules.

        Args:
            document: as ``exact_json.parse`` gives it.
        """
        if not self._checks:
            return []
        plain = _plain(document)
        return [Violation(message, check.rule.on_fail) for check in self._checks for message in _messages(check, plain)]

    def claim(self, document: Any) -> list[Violation]:
        """Take the unique values of a record that is accepted otherwise; those that are taken are violations."""
        claimed: list[tuple[_Check, bytes]] = []
        broken: list[Violation] = []
        for check in self._checks:
            value = resolve(document, check.path) if check.rule.unique else None
            if value is MISSING or value is None:
                continue
            digest = xxh3_128_digest(canonical(value))
            if digest in check.seen:
                text = "an earlier record of this commit has the same value"
                broken.append(Violation(Message("RULE_UNIQUE", check.rule.pointer, text), check.rule.on_fail))
            else:
                claimed.append((check, digest))
        if all(one.on_fail == "warn" for one in broken):
            for check, digest in claimed:
                check.seen.add(digest)
        return broken

    def committed(self) -> None:
        """Forget what ``unique`` has met: its scope is one commit."""
        for check in self._checks:
            check.seen.clear()


def _messages(check: _Check, document: Any) -> Iterator[Message]:
    pointer = check.rule.pointer
    value = resolve(document, check.path)
    if value is MISSING or value is None:
        if check.rule.not_null:
            yield Message("RULE_NOT_NULL", pointer, "must be there and not null")
        if value is None and check.schema is not None:
            yield from _schema_messages(check.schema, None, pointer)
        return
    if check.simple is not None:
        for error in check.simple.iter_errors(value):
            keyword = str(error.schema_path[0])
            yield Message(CODES[keyword], pointer, _demand(check.rule, keyword))
    if check.schema is not None:
        yield from _schema_messages(check.schema, value, pointer)


def _demand(rule: Rule, keyword: str) -> str:
    """What a rule asks for, in words that never quote the payload."""
    wanted = rule.keywords()[keyword]
    match CODES[keyword]:
        case "RULE_TYPE":
            return f"must be of type {wanted}"
        case "RULE_ENUM":
            return f"must be one of the {len(wanted)} values that the rule lists"
        case "RULE_PATTERN":
            return f"must match {wanted}"
        case "RULE_RANGE":
            return f"must be at {'least' if keyword == 'minimum' else 'most'} {wanted:g}"
        case _:
            return f"must have a length of at {'least' if keyword.startswith('min') else 'most'} {wanted}"


def _schema_messages(schema: Any, value: Any, pointer: str | None) -> Iterator[Message]:
    for count, error in enumerate(schema.iter_errors(value)):
        if count == MAX_VIOLATIONS:
            return
        steps = [str(step) for step in error.instance_path]
        if error.kind.name == "required":
            # The place of what is missing, like that of a required path.
            steps.append(cast(str, error.kind.property))
        where = (pointer or "") + "".join(f"/{escape(step)}" for step in steps)
        broken = "/".join(escape(str(step)) for step in error.schema_path)
        yield Message("RULE_SCHEMA", where or None, f"breaks the schema at /{broken}")


def _plain(value: Any) -> Any:
    """The document with numbers for lexemes: an int, or a Decimal with every digit."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_plain(item) for item in cast(list[Any], value)]
    return _number(value) if isinstance(value, Number) else value


def _number(lexeme: Number) -> int | Decimal:
    if lexeme.lstrip("-").isdigit():
        # int() refuses above 4,300 digits, and takes the square of their number.
        return int(lexeme) if len(lexeme) <= 4000 else Decimal(lexeme)
    try:
        number = Decimal(lexeme)
        exponent = number.adjusted()
    except InvalidOperation:
        exponent = MAX_EXPONENT + 1 if "e-" not in lexeme.lower() else -MAX_EXPONENT - 1
        number = Decimal("-1" if lexeme.startswith("-") else 1)
    if abs(exponent) > MAX_EXPONENT:
        # Beyond every bound that a rule can have; written out it would have as many digits.
        sign = "-" if number < 0 else ""
        return Decimal(f"{sign}1e{MAX_EXPONENT if exponent > 0 else -MAX_EXPONENT}")
    return number
