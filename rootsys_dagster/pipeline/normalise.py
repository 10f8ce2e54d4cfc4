"""The hot path: a batch of raw units becomes record lines and dead-letter lines, mostly without a Python object each.

The pointers of an interface are compiled once into a decoder that reads only what they name and checks the syntax of
the rest. Ids are vetted and joined for the whole batch, and the payload's own bytes are put between constant parts.
Only a unit that this refuses is judged by ``validate``, one at a time.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, compress, repeat
from typing import Any

from rootsys_dagster.core.errors import PermanentError
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.policy import OnFail
from rootsys_dagster.core.ports import Batch
from rootsys_dagster.core.record import key_seed, reason_codes, record_key
from rootsys_dagster.log.manifest import Counts
from rootsys_dagster.pipeline.envelope import Envelope, payload_data
from rootsys_dagster.pipeline.plain_ids import are_plain_strings, canonical_hash, plain_id, plain_texts, vetted
from rootsys_dagster.pipeline.pointer_decoder import REFUSALS, PointerDecoder
from rootsys_dagster.pipeline.validate import Validator, Verdict

Clock = Callable[[], int]


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


class Normaliser:
    """Turns the batches of one interface into lines; holds nothing between batches but what ``unique`` has met.

    Args:
        on_fail: instead of what interface and rules say: a replay must not stop at the letter that is still broken.
    """

    def __init__(
        self, interface: Interface, source: str, clock: Clock = unix_ms, on_fail: OnFail | None = None
    ) -> None:
        self._interface = interface
        self._on_fail = on_fail
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
            # Which of two equal values came first is known only to whoever looks at one unit after the other.
            and not self._validator.rules.has_unique
        )

    def normalise(self, batch: Batch) -> Normalised:
        """Every unit of *batch* accepted, dead-lettered or skipped by name.

        Raises:
            BlockedError: ``on_fail`` is ``block`` and a unit was rejected.
        """
        units = batch.units
        if self._fast and batch.kind == "json" and batch.oversized is None and batch.refused is None:
            ids = self._fast_ids(units)
            if (rules := self._validator.rules).has_any:
                ids = [known if holds else None for known, holds in zip(ids, rules.surely_hold(units), strict=True)]
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

    def committed(self) -> None:
        """What follows belongs to another commit."""
        self._validator.rules.committed()

    def _fast_ids(self, units: list[bytes]) -> list[bytes | None]:
        """The record id of each unit that is plain, None for those that the exact path has to judge."""
        rows, refused = self._decode(units)
        plain = units if not refused else [unit for n, unit in enumerate(units) if n not in refused]
        ids = [canonical_hash(unit) for unit in plain] if self._hash_only else self._joined_ids(rows)
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
        view = iter(vetted(units))
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
        if len(joined) == 1 and are_plain_strings(joined[0], len(rows)):
            return [*joined[0].split(b"\n")]
        texts = [plain_texts(column, len(rows)) for column in joined]
        complete = [text for text in texts if text is not None]
        if len(complete) == len(texts):
            return [b'"%b"' % b"|".join(parts) for parts in zip(*complete, strict=True)]
        return [plain_id(row) for row in zip(*columns, strict=True)]

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
            verdict = self._validator.judge(
                batch.units[n], batch.kind, batch.oversized, batch.refused, keeps_blank=batch.keeps_blank
            )
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
        on_fail = self._on_fail or verdict.on_fail or self._interface.on_fail
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
