"""The record rules of spec 1.4 to 1.7 in the slow and obvious way: what the product has to agree with."""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

LEVELS = 512
ABSENT = object()


class Lexeme(str):
    """A JSON number as it was written."""


class Refused(Exception):
    """Not one JSON document."""


@dataclass
class Outcome:
    """``skipped``, or a record with its id and warnings, or a dead letter with its errors (code, path)."""

    kind: str
    errors: list[tuple[str, str | None]]
    warnings: list[tuple[str, str | None]]
    record_id: str | None = None
    skipped: bool = False


def refuse(text: str) -> NoReturn:
    raise Refused(text)


def flat(members: list[tuple[str, Any]]) -> list[Any]:
    return [part for pair in members for part in pair]


def read(unit: bytes) -> Any:
    """Parsed JSON with lexemes for numbers."""
    try:
        text = unit.decode("utf-8")
        value = json.loads(text, parse_int=Lexeme, parse_float=Lexeme, parse_constant=refuse)
        # Members that a later one of the same name hides count too.
        everything = json.loads(text, object_pairs_hook=flat, parse_int=Lexeme)
    except (ValueError, RecursionError) as error:
        raise Refused(str(error)) from None
    if levels(everything) > LEVELS or any(
        0xD800 <= ord(char) < 0xE000 for found in strings(everything) for char in found
    ):
        raise Refused("deep or with half a surrogate pair")
    return value


def levels(value: Any) -> int:
    """How many arrays and objects stand inside each other."""
    deepest, layer = 0, [value]
    while layer := [here for here in layer if isinstance(here, (dict, list))]:
        deepest += 1
        layer = [below for here in layer for below in (here.values() if isinstance(here, dict) else here)]
    return deepest


def strings(value: Any) -> list[str]:
    """Every string and member name."""
    found: list[str] = []
    rest = [value]
    while rest:
        here = rest.pop()
        if isinstance(here, str):
            found.append(here)
        elif isinstance(here, dict):
            rest += [*here, *here.values()]
        elif isinstance(here, list):
            rest += here
    return found


def follow(document: Any, pointer: str) -> Any:
    """What a pointer leads to, ABSENT when nowhere."""
    for token in pointer[1:].split("/"):
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict) and name in document:
            document = document[name]
        elif (
            isinstance(document, list) and re.fullmatch(r"0|[1-9][0-9]*", name, re.ASCII) and int(name) < len(document)
        ):
            document = document[int(name)]
        else:
            return ABSENT
    return document


def number(lexeme: str) -> str:
    """64-bit integers exactly, other numbers as the shortest double in ryu's notation."""
    if re.fullmatch(r"-?[0-9]+", lexeme) and lexeme != "-0" and -(2**63) <= Decimal(lexeme) < 2**64:
        return lexeme
    double = float(lexeme)
    if double in (float("inf"), float("-inf")):
        return lexeme
    sign, digits, exponent = Decimal(repr(double)).as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    assert isinstance(exponent, int)
    while text.endswith("0"):
        text, exponent = text[:-1], exponent + 1
    minus = "-" if sign else ""
    before_point = len(text) + exponent
    if not text:
        return minus + "0.0"
    if -4 <= before_point - 1 < 16 and before_point > 0:
        padded = text.ljust(before_point, "0")
        return f"{minus}{padded[:before_point]}.{padded[before_point:] or '0'}"
    if -5 < before_point <= 0:
        return f"{minus}0.{'0' * -before_point}{text}"
    return f"{minus}{text[0]}{'.' + text[1:] if len(text) > 1 else ''}e{before_point - 1}"


@contextmanager
def room_for_recursion() -> Iterator[None]:
    """A deeper stack for this module only: the product has to do with the usual one."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 10 * LEVELS)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def canonical(value: Any) -> str:
    """JSON text with sorted members, non-ASCII as it is."""
    with room_for_recursion():
        return compact(value)


def compact(value: Any) -> str:
    if isinstance(value, Lexeme):
        return number(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(name)}:{compact(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    return quoted(value)


def quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def outcome(unit: bytes, kind: str, rules: dict[str, Any]) -> Outcome:
    """What has to become of one unit under the members of an interface file."""
    if kind != "binary" and all(
        char.isspace() and char not in "\x1c\x1d\x1e\x1f" for char in unit.decode(errors="replace")
    ):
        return Outcome(kind, [], [], skipped=True)
    document: Any = None
    try:
        if kind == "json":
            document = read(unit)
        elif kind == "text":
            unit.decode("utf-8")
    except (Refused, UnicodeDecodeError):
        return Outcome(raw_kind(unit), [("PAYLOAD_DECODE_FAILED", "/payload")], [])
    if rules.get("payload_format", "unknown") not in ("unknown", kind):
        return Outcome(kind, [("PAYLOAD_FORMAT_MISMATCH", "/payload")], [])
    strict = rules.get("record_id_policy") == "strict"
    required, id_paths = rules.get("required_paths", []), rules.get("record_id_paths", [])
    if kind != "json":
        if strict:
            return Outcome(kind, [("RECORD_ID_STRICT_NON_JSON", "/record_id_paths")], [])
        warnings: list[tuple[str, str | None]] = [("PATHS_IGNORED_FOR_NON_JSON", None)] if required or id_paths else []
        return Outcome(kind, [], warnings, hashlib.sha256(unit).hexdigest())
    missing = [path for path in required if follow(document, path) in (ABSENT, None)]
    if missing:
        return Outcome(kind, [("MISSING_REQUIRED_PATH", path) for path in missing], [])
    found = {path: value for path in id_paths if (value := follow(document, path)) not in (ABSENT, None)}
    warnings = [("MISSING_RECORD_ID_PATH", path) for path in id_paths if path not in found]
    if found:
        parts = [str(v) if isinstance(v, str) and not isinstance(v, Lexeme) else canonical(v) for v in found.values()]
        return Outcome(kind, [], warnings, "|".join(parts))
    if strict:
        return Outcome(kind, [("RECORD_ID_STRICT_PATHS_UNRESOLVED", "/record_id_paths")], [])
    return Outcome(kind, [], warnings, hashlib.sha256(canonical(document).encode()).hexdigest())


def raw_kind(unit: bytes) -> str:
    """Text when it is UTF-8, else binary."""
    try:
        unit.decode("utf-8")
    except UnicodeDecodeError:
        return "binary"
    return "text"


def payload(unit: bytes, kind: str) -> bytes:
    """The member ``payload``."""
    if kind == "json":
        return b'{"kind":"Json","data":' + unit + b"}"
    if kind == "text":
        return b'{"kind":"Text","data":' + quoted(unit.decode()).encode() + b"}"
    data = base64.b64encode(unit).decode()
    return (
        quoted({"kind": "Binary", "data": {"encoding": "base64", "data": data}})
        .replace(": ", ":")
        .replace(", ", ",")
        .encode()
    )
