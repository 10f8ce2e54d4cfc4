"""JSON read exactly: every number keeps its lexeme, the canonical bytes are those of the reference implementation.

The hot path never looks here; it decides only for units that the hot path refuses, and for ids and hashes that need a
full parse. Source: spec/1-reference.md 1.6.
"""

import json
import re
from typing import Any, NoReturn, cast

import msgspec
import orjson

from rootsys_dagster.core.errors import DataError

MAX_DEPTH = 512
"""Arrays and objects inside each other. The reference stops at 128, the interpreter's own stack at about 1,000."""
# Possessive, and a string without an end swallows the rest: a hostile line is looked at once, not once per quote.
OPENERS_OR_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
PAIRED = re.compile(r"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])....|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)*+", re.DOTALL)
"""JSON text in which every surrogate escape has its partner, in members too that a later one of the same name hides."""
LARGE_BYTES = 1 << 18
INT_MIN, INT_MAX = -(2**63), 2**64 - 1


class NotJsonError(DataError):
    """The bytes are not one JSON document that this product keeps; the text says why, without quoting the payload."""

    def __init__(self, message: str) -> None:
        super().__init__("PAYLOAD_DECODE_FAILED", "/payload", message)


class Number(str):
    """A JSON number by its lexeme."""

    __slots__ = ()


def _refuse_constant(name: str) -> NoReturn:
    raise NotJsonError(f"{name} is not a JSON number")


_skim = msgspec.json.Decoder(msgspec.Raw).decode
_decode = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=_refuse_constant).decode


def parse(data: bytes) -> Any:
    """One JSON document; numbers come as :class:`Number`, of repeated members the last wins.

    Raises:
        NotJsonError: not UTF-8, not JSON, deeper than 512 levels, or with a surrogate that has no partner.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise NotJsonError(f"not valid UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise NotJsonError("begins with a byte order mark")
    if deeper_than(data, MAX_DEPTH):
        raise NotJsonError(f"nested deeper than {MAX_DEPTH} levels")
    if len(data) > LARGE_BYTES:
        _check_syntax(data)
    try:
        document = _decode(text)
    except json.JSONDecodeError as error:
        raise NotJsonError(f"not valid JSON at character {error.pos}: {error.msg}") from None
    if "\\u" in text and not PAIRED.fullmatch(text):
        raise NotJsonError("has a surrogate escape without its partner")
    return document


def _check_syntax(data: bytes) -> None:
    """Refuse what is no JSON before an object is made of each of its values, which takes 60 times the memory."""
    try:
        _skim(data)
    except RecursionError:
        return
    except msgspec.DecodeError as error:
        raise NotJsonError(f"not valid JSON: {error}") from None


def deeper_than(data: bytes, limit: int) -> bool:
    """Whether arrays and objects stand inside each other on more than *limit* levels."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    depth = 0
    for match in OPENERS_OR_STRINGS.finditer(data):
        token = data[match.start()]
        if token in b"[{":
            depth += 1
            if depth > limit:
                return True
        elif token in b"]}":
            depth -= 1
    return False


def number_text(lexeme: str) -> str:
    """A JSON number as the reference writes it: integers up to 64 bits exactly, all else as the nearest double.

    ``1.0`` stays ``1.0``, ``1.10`` is ``1.1``, 1e16 is ``1e16``, 1e-7 is ``1e-7``, 0.00001 is ``0.00001``, ``-0`` is
    ``-0.0``. A number beyond the doubles, which the reference refuses, keeps its lexeme.
    """
    is_whole = lexeme.lstrip("-").isdigit() and lexeme != "-0"
    # Lexemes above 20 characters are beyond 64 bits for sure, and int() would refuse above 4,300 digits.
    if is_whole and len(lexeme) <= 20 and INT_MIN <= int(lexeme) <= INT_MAX:
        return lexeme
    value = float(lexeme)
    if value in (float("inf"), float("-inf")):
        return lexeme
    sign = "-" if repr(value).startswith("-") else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    scale = int(exponent or 0) - len(fraction)
    stripped = digits.rstrip("0")
    scale += len(digits) - len(stripped)
    return sign + _shortest(stripped, scale)


def _shortest(digits: str, scale: int) -> str:
    """``digits · 10^scale`` in the notation of the ryu printer; *digits* has no zeros at either end."""
    if not digits:
        return "0.0"
    point = len(digits) + scale
    if scale >= 0 and point <= 16:
        return digits + "0" * scale + ".0"
    if 0 < point <= 16:
        return f"{digits[:point]}.{digits[point:]}"
    if -5 < point <= 0:
        return "0." + "0" * -point + digits
    return f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1}"


def canonical(value: Any) -> bytes:
    """Compact UTF-8 with members sorted by key, as the reference hashes and joins it."""
    written: list[bytes] = []
    # A stack of our own: the interpreter's may not have room for 512 levels above its caller. Bytes are punctuation.
    rest: list[Any] = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, bytes):
            written.append(item)
        elif isinstance(item, Number):
            written.append(number_text(item).encode())
        elif isinstance(item, dict):
            rest += reversed(_members(cast(dict[str, Any], item)))
        elif isinstance(item, list):
            rest += reversed(_items(cast(list[Any], item)))
        else:
            written.append(orjson.dumps(item))
    return b"".join(written)


def _members(value: dict[str, Any]) -> list[Any]:
    parts: list[Any] = []
    for key in sorted(value):
        parts += (b"," + orjson.dumps(key) + b":", value[key])
    return [b"{", *([parts[0][1:], *parts[1:]] if parts else ()), b"}"]


def _items(value: list[Any]) -> list[Any]:
    parts: list[Any] = [b"["]
    for item in value:
        parts += (item, b",")
    return [*parts[: max(1, len(parts) - 1)], b"]"]


def id_text(value: Any) -> str:
    """One part of a record id: a string raw, everything else in its canonical JSON text."""
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    return canonical(value).decode()
