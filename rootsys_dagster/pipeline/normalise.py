"""The hot path: a batch of raw units becomes record lines and dead-letter lines, mostly without a Python object each.

The pointers of an interface are compiled once into a decoder that reads only what they name and checks the syntax of
the rest. Ids are vetted and joined for the whole batch, and the payload's own bytes are put between constant parts.
Only a unit that this refuses is judged by ``validate``, one at a time.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress, repeat
from operator import attrgetter
from typing import Any

import msgspec
import orjson

from rootsys_dagster.core.errors import PermanentError
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.pointer import tokens
from rootsys_dagster.core.ports import Batch
from rootsys_dagster.core.record import key_seed, reason_codes, record_key
from rootsys_dagster.log.manifest import Counts
from rootsys_dagster.pipeline.envelope import Envelope, payload_data
from rootsys_dagster.pipeline.exact_json import MAX_DEPTH, NotJsonError, canonical, deeper_than, parse
from rootsys_dagster.pipeline.validate import Validator, Verdict

Tree = dict[str, "Tree"]
Clock = Callable[[], int]
ABSENT = msgspec.Raw(b"")
REFUSALS = (msgspec.DecodeError, msgspec.ValidationError, RecursionError)
SAFE_INTEGER_DIGITS = 18
DECODER_DEPTH = 64
UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')


class BlockedError(PermanentError):
    """A unit was rejected and ``on_fail`` is ``block``: nothing of the open commit was published."""


def unix_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Normalised:
    """What one batch became: whole lines, 16 bytes of key per record, and the counts."""

    records: bytes = b""
    keys: bytes = b""
    dead_letters: bytes = b""
    counts: Counts = field(default_factory=Counts)


class PointerDecoder:
    """Decodes only the required and record id pointers of JSON objects.

    Attributes:
        decode: raises one of REFUSALS for whatever is not plain; None when the pointers cannot be compiled.
    """

    def __init__(self, required: Sequence[str], id_paths: Sequence[str]) -> None:
        self.decode: Callable[[bytes], Any] | None = None
        self.id_getters: list[Callable[[Any], Any]] = []
        self.required_getters: list[Callable[[Any], Any]] = []
        paths = [tokens(pointer) for pointer in dict.fromkeys((*required, *id_paths))]
        # The decoder cannot be told of other names, or be built as deep as a pointer may be long.
        if any(len(path) > DECODER_DEPTH or UNNAMEABLE.search("".join(path)) for path in paths):
            return
        # Nor can it decode twice what is asked for whole and in part: the exact path does that.
        whole = set(paths)
        if any(path[:length] in whole for path in paths for length in range(1, len(path))):
            return
        tree: Tree = {}
        for path in paths:
            node = tree
            for token in path:
                node = node.setdefault(token, {})
        needed = {path[:length] for path in map(tokens, required) for length in range(1, len(path) + 1)}
        self.decode = (
            msgspec.json.Decoder(_struct(tree, (), needed)).decode
            if paths
            else msgspec.json.Decoder(msgspec.Raw).decode
        )
        self.id_getters = [attrgetter(_attribute(tree, tokens(pointer))) for pointer in id_paths]
        self.required_getters = [
            attrgetter(_attribute(tree, tokens(pointer))) for pointer in required if pointer not in id_paths
        ]


def _struct(tree: Tree, path: tuple[str, ...], needed: set[tuple[str, ...]]) -> type[msgspec.Struct]:
    required: list[tuple[str, Any]] = []
    optional: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    for number, (token, below) in enumerate(tree.items()):
        here = (*path, token)
        name = f"f{number}"
        rename[name] = token
        kind: Any = _struct(below, here, needed) if below else msgspec.Raw
        if here in needed:
            required.append((name, kind))
        else:
            optional.append((name, kind | None, None) if below else (name, kind, ABSENT))
    return msgspec.defstruct(f"Pointers{len(path)}", [*required, *optional], rename=rename, gc=False)


def _attribute(tree: Tree, path: Sequence[str]) -> str:
    names: list[str] = []
    for token in path:
        names.append(f"f{list(tree).index(token)}")
        tree = tree[token]
    return ".".join(names)


class Normaliser:
    """Turns the batches of one interface into lines; holds nothing between batches."""

    def __init__(self, interface: Interface, source: str, clock: Clock = unix_ms) -> None:
        self._interface = interface
        self._clock = clock
        self._validator = Validator(interface)
        self._envelope = Envelope(interface, source)
        self._seed = key_seed(source, interface.name, interface.version)
        self._pointers = PointerDecoder(interface.required_paths, interface.record_id_paths)
        self._hash_only = not interface.record_id_paths
        self._fast = (
            self._pointers.decode is not None
            and interface.payload_format in ("json", "unknown")
            and not (self._hash_only and interface.record_id_policy == "strict")
        )

    def normalise(self, batch: Batch) -> Normalised:
        """Every unit of *batch* accepted, dead-lettered or skipped by name.

        Raises:
            BlockedError: ``on_fail`` is ``block`` and a unit was rejected.
        """
        units = batch.units
        if self._fast and batch.kind == "json" and batch.oversized is None:
            ids = self._fast_ids(units)
        else:
            ids: list[bytes | None] = [None] * len(units)
        out = Normalised(counts=Counts(fetched=len(units), raw_bytes=batch.raw_bytes))
        now = self._clock()
        if None in ids:
            self._render_judged(batch, ids, now, out)
        else:
            out.records = self._render_plain(batch, ids, units, batch.locators.positions(units), now)
            out.keys = self._keys(ids)
            out.counts.accepted = len(units)
        return out

    def _fast_ids(self, units: list[bytes]) -> list[bytes | None]:
        """The record id of each unit that is plain, None for those that the exact path has to judge."""
        rows, refused = self._decode(units)
        plain = units if not refused else [unit for n, unit in enumerate(units) if n not in refused]
        ids = [_canonical_hash(unit) for unit in plain] if self._hash_only else self._joined_ids(rows)
        for getter in self._pointers.required_getters:
            values = list(map(getter, rows))
            if b"\nnull\n" in b"\n%b\n" % b"\n".join(values):
                ids = [None if bytes(value) == b"null" else known for value, known in zip(values, ids, strict=True)]
        for position in sorted(refused):
            ids.insert(position, None)
        return ids

    def _decode(self, units: list[bytes]) -> tuple[list[Any], set[int]]:
        """Decoded rows of the units that are plain, and the positions of those that are not."""
        decode = self._pointers.decode
        assert decode is not None
        rows: list[Any] = []
        refused: set[int] = set()
        view = iter(_vetted(units))
        while True:
            try:
                rows.extend(map(decode, view))
                return rows, refused
            except REFUSALS:
                refused.add(len(rows) + len(refused))

    def _joined_ids(self, rows: list[Any]) -> list[bytes | None]:
        try:
            columns = [list(map(getter, rows)) for getter in self._pointers.id_getters]
        except AttributeError:
            # An object on the way to an optional id is absent or null in some row.
            return [None] * len(rows)
        if not rows:
            return []
        joined = [b"\n".join(column) for column in columns]
        if len(joined) == 1 and _are_plain_strings(joined[0], len(rows)):
            return [*joined[0].split(b"\n")]
        texts = [_plain_texts(column, len(rows)) for column in joined]
        complete = [text for text in texts if text is not None]
        if len(complete) == len(texts):
            return [b'"%b"' % b"|".join(parts) for parts in zip(*complete, strict=True)]
        return [_plain_id(row) for row in zip(*columns, strict=True)]

    def _keys(self, ids: Iterable[Any]) -> bytes:
        return b"".join(map(record_key, ids, repeat(self._seed)))

    def _render_plain(
        self, batch: Batch, ids: Iterable[Any], units: Iterable[bytes], positions: Iterable[bytes], now: int
    ) -> bytes:
        envelope = self._envelope
        end = envelope.after_position()
        parts = list(
            chain.from_iterable(
                zip(
                    ids,
                    repeat(envelope.before_payload(now, "json")),
                    units,
                    repeat(envelope.before_position(batch.locators)),
                    positions,
                    repeat(end + envelope.record_begin),
                )
            )
        )
        if not parts:
            return b""
        parts[0] = envelope.record_begin + parts[0]
        parts[-1] = end
        return b"".join(parts)

    def _render_judged(self, batch: Batch, ids: list[bytes | None], now: int, out: Normalised) -> None:
        positions = list(batch.locators.positions(batch.units))
        verdicts: dict[int, Verdict] = {}
        dead_letters: list[bytes] = []
        counts = out.counts
        for n, known in enumerate(ids):
            if known is not None:
                continue
            verdict = self._validator.judge(batch.units[n], batch.kind, batch.oversized)
            if verdict is None:
                _count(counts.skipped, ["blank"])
            elif verdict.record_id is not None:
                verdicts[n] = verdict
                ids[n] = verdict.record_id
                _count(counts.warnings, [warning.code for warning in verdict.warnings])
            else:
                self._reject(batch, n, verdict, positions[n], now, dead_letters, counts)
        kept = [known is not None for known in ids]
        accepted = [known for known in ids if known is not None]
        counts.accepted = len(accepted)
        out.keys = self._keys(accepted)
        out.dead_letters = b"".join(dead_letters)
        if verdicts:
            rendered = (
                self._render_one(batch, n, known, verdicts.get(n), positions[n], now)
                for n, known in enumerate(ids)
                if known is not None
            )
            out.records = b"".join(rendered)
        else:
            out.records = self._render_plain(
                batch, accepted, compress(batch.units, kept), compress(positions, kept), now
            )

    def _render_one(
        self, batch: Batch, n: int, record_id: bytes, verdict: Verdict | None, position: bytes, now: int
    ) -> bytes:
        kind = verdict.payload_kind if verdict else "json"
        envelope = self._envelope
        return b"".join(
            (
                envelope.record_begin,
                record_id,
                envelope.before_payload(now, kind),
                payload_data(batch.units[n], kind),
                envelope.before_position(batch.locators),
                position,
                envelope.after_position(verdict.warnings if verdict else ()),
            )
        )

    def _reject(
        self, batch: Batch, n: int, verdict: Verdict, position: bytes, now: int, letters: list[bytes], counts: Counts
    ) -> None:
        codes = reason_codes(verdict.errors)
        on_fail = self._interface.on_fail
        if on_fail == "block":
            first = verdict.errors[0]
            raise BlockedError(
                f"{self._interface.name}: {batch.locators.locator} at {position.decode()}: {first.code}"
                f"{' at ' + first.path if first.path else ''}: {first.message}; on_fail is block, so nothing of the "
                'open commit was published: mend the source, or set on_fail to "quarantine"',
                code="LINE.BLOCKED",
            )
        if on_fail == "skip":
            _count(counts.skipped, codes[:1])
            return
        counts.dead_letters += 1
        _count(counts.reasons, codes)
        letters.append(
            self._envelope.dead_letter(
                batch.units[n], verdict.payload_kind, position, batch.locators, verdict.errors, now
            )
        )


def _count(into: dict[str, int], names: Iterable[str]) -> None:
    for name in names:
        into[name] = into.get(name, 0) + 1


def _vetted(units: list[bytes]) -> list[bytes]:
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


def _are_plain_strings(joined: bytes, count: int) -> bool:
    """Whether *count* raw JSON values, joined by line feeds, are all strings without escapes."""
    quoted = joined[:1] == b'"' and joined[-1:] == b'"' and joined.count(b'"\n"') == count - 1
    return quoted and b"\\" not in joined


def _plain_texts(joined: bytes, count: int) -> list[bytes] | None:
    """The texts of joined raw JSON values that are all plain strings, or all short integers; else None."""
    if _are_plain_strings(joined, count):
        return joined[1:-1].split(b'"\n"')
    texts = joined.split(b"\n")
    if joined.replace(b"\n", b"").isdigit() and b"" not in texts and max(map(len, texts)) <= SAFE_INTEGER_DIGITS:
        return texts
    return None


def _plain_id(row: tuple[Any, ...]) -> bytes | None:
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


def _canonical_hash(unit: bytes) -> bytes | None:
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
