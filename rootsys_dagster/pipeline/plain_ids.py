"""Record ids of plain units, vetted and joined in bulk; for what is not plain there is none: the exact path decides."""

import hashlib
from typing import Any

import orjson

from rootsys_dagster.pipeline.exact_json import MAX_DEPTH, NotJsonError, canonical, deeper_than, parse

SAFE_INTEGER_DIGITS = 18


def vetted(units: list[bytes]) -> list[bytes]:
    """The units, with those emptied (so that decoding refuses them) that the decoder would not look into far enough."""
    block = b"\n".join(units)
    suspicious: list[bytes] = units
    if not block.isascii() and not _is_utf8(block):
        # The decoder does not check the UTF-8 of what it skips.
        suspicious = [unit if _is_utf8(unit) else b"" for unit in suspicious]
    if len(block) > 2 * MAX_DEPTH and max(map(len, units)) > 2 * MAX_DEPTH:
        # How deep the decoder goes depends on who calls it: only what is shallow for sure is left to it.
        suspicious = [
            b"" if len(unit) > 2 * MAX_DEPTH and deeper_than(unit, MAX_DEPTH) else unit for unit in suspicious
        ]
    return suspicious


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def are_plain_strings(joined: bytes, count: int) -> bool:
    """Whether *count* raw JSON values, joined by line feeds, are all strings without escapes."""
    quoted = joined[:1] == b'"' and joined[-1:] == b'"' and joined.count(b'"\n"') == count - 1
    return quoted and b"\\" not in joined


def plain_texts(joined: bytes, count: int) -> list[bytes] | None:
    """The texts of joined raw JSON values that are all plain strings, or all short integers; else None."""
    if are_plain_strings(joined, count):
        return joined[1:-1].split(b'"\n"')
    texts = joined.split(b"\n")
    if joined.replace(b"\n", b"").isdigit() and b"" not in texts and max(map(len, texts)) <= SAFE_INTEGER_DIGITS:
        return texts
    return None


def plain_id(row: tuple[Any, ...]) -> bytes | None:
    """The id of one row when every part of it is a plain string or integer, else None."""
    parts: list[bytes] = []
    for value in row:
        raw = bytes(value)
        if raw[:1] == b'"' and b"\\" not in raw:
            parts.append(raw[1:-1])
        elif (raw.isdigit() and len(raw) <= SAFE_INTEGER_DIGITS) or raw in (b"true", b"false"):
            parts.append(raw)
        else:
            return None
    return b'"%b"' % b"|".join(parts)


def canonical_hash(unit: bytes) -> bytes | None:
    """The hash id of a unit, None when only the exact path can tell."""
    try:
        data = orjson.dumps(orjson.loads(unit), option=orjson.OPT_SORT_KEYS)
        # The reference writes these two differently: exponents without a plus, and minus zero as -0.0.
        if (
            b"e+" in data
            or unit[:2] == b"-0"
            or b":-0" in unit
            or b",-0" in unit
            or b" -0" in unit
            or b"[-0" in unit
            or b"\t-0" in unit
            or b"\r-0" in unit
        ):
            data = canonical(parse(unit))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, NotJsonError):
        # It reads 1,024 levels and writes 254; a lone surrogate or 1e400 it does not read at all.
        return None
    return b'"%b"' % hashlib.sha256(data).hexdigest().encode()
