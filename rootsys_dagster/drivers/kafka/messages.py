"""Messages of one partition as a batch, and where each of them stood."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import msgspec

from rootsys_dagster.core.one_line import one_line
from rootsys_dagster.core.ports import Batch, Oversized, PayloadKind
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.registry import LOCATORS
from rootsys_dagster.core.stream_config import KafkaConfig
from rootsys_dagster.drivers.kafka.offsets import Offsets, position_of
from rootsys_dagster.drivers.kafka.polled import Headers, Polled
from rootsys_dagster.drivers.whole_lines import KEPT_BYTES

Text: TypeAlias = str | dict[str, str]
"""A key or the value of a header: its text, or ``{"base64": …}`` when it is not UTF-8."""
Header: TypeAlias = list[Text | None]
"""Name and value. A list of pairs and no object: names may repeat, and their order is the producer's."""


class Place(msgspec.Struct, omit_defaults=True, gc=False):
    """Where a message stands; what it does not have is left out."""

    partition: int
    offset: int
    timestamp: int | None = None
    key: Text | None = None
    headers: list[Header] | None = None
    tombstone: bool = False
    length: int | None = None
    sha256: str | None = None


_encode_lines = msgspec.json.Encoder().encode_lines
_check_json = msgspec.json.Decoder(msgspec.Raw).decode


@LOCATORS.register("kafka")
@dataclass(frozen=True, slots=True)
class Messages:
    """Messages of one partition, in its order.

    Attributes:
        offsets: of each unit; they may have gaps.
        timestamps: milliseconds since 1970 of each unit, None where the producer gave none.
        keys: of each unit; None when none has one.
        headers: of each unit; None when none has any.
        tombstones: numbers of the units that stand for a message without a value.
        length: of a message above ``limits.max_record_bytes``, with its ``sha256``.
    """

    locator: str
    content_type: str | None
    filename: str | None
    partition: int
    offsets: list[int]
    timestamps: list[int | None]
    keys: list[Text | None] | None = None
    headers: list[list[Header] | None] | None = None
    tombstones: list[int] | None = None
    length: int | None = None
    sha256: str | None = None

    source_type: ClassVar[str] = "stream/kafka"

    def positions(self, units: Sequence[bytes]) -> Iterable[bytes]:
        """``{"partition": 0, "offset": 42, "timestamp": …, "key": …, "headers": [["name", "value"]]}`` of each unit."""
        if (self.keys, self.headers, self.tombstones, self.sha256) == (None,) * 4 and None not in self.timestamps:
            plain = b'{"partition":%d,"offset":%%d,"timestamp":%%d}' % self.partition
            return [plain % place for place in zip(self.offsets, self.timestamps, strict=True)]
        nothing: list[None] = [None] * len(units)
        places = [
            Place(self.partition, offset, timestamp, key, headers)
            for offset, timestamp, key, headers in zip(
                self.offsets, self.timestamps, self.keys or nothing, self.headers or nothing, strict=True
            )
        ]
        for number in self.tombstones or ():
            places[number].tombstone = True
        for place in places if self.sha256 is not None else ():
            place.length, place.sha256 = self.length, self.sha256
        return _encode_lines(places).split(b"\n")[:-1]

    def to_json(self) -> dict[str, Any]:
        """JSON members for the spool."""
        return {"kind": "kafka"} | {name: getattr(self, name) for name in self.__slots__}


@LOCATORS.register("kafka_file")
class StandIn:
    """Lines of a file that stands in for the topic: where they stood is told in the words of the file."""

    source_type = "stream/kafka"

    def __init__(self, locator: str, file: dict[str, Any]) -> None:
        self.locator: str | None = locator
        self._json = dict(file)
        members = dict(file)
        self._file = LOCATORS.get(members.pop("kind"))(**members)
        self.content_type = self._file.content_type
        self.filename = self._file.filename

    def positions(self, units: Sequence[bytes]) -> Iterable[bytes]:
        """As the file driver tells them."""
        return self._file.positions(units)

    def to_json(self) -> dict[str, Any]:
        """JSON members for the spool."""
        return {"kind": "kafka_file", "locator": self.locator, "file": self._json}


def locator_of(config: KafkaConfig) -> str:
    """The topic as people know it. Source: spec/1-reference.md 1.8."""
    return f"kafka://{config.topic}?group_id={config.group_id}"


class Batches:
    """Makes batches out of the messages that one poll brought from one partition."""

    def __init__(
        self, config: KafkaConfig, content_type: str | None, filename: str | None, max_record_bytes: int
    ) -> None:
        self.config = config
        self.kind: PayloadKind = "json" if config.format == "unknown" else config.format
        self.locator = locator_of(config)
        self.content_type = content_type
        self.filename = filename
        self.max_record_bytes = max_record_bytes

    def nothing(self, position: Position) -> Batch:
        """A batch that only moves the position."""
        return Batch([], self.kind, Messages(self.locator, self.content_type, self.filename, 0, [], []), position, 0)

    def of(self, polled: Polled, offsets: Offsets) -> Iterator[Batch]:
        """The batches of *polled*; *offsets* is where all partitions are, and moves with each batch."""
        for begin, end in self._cuts(polled.values):
            yield self._batch(polled.part(begin, end), offsets)

    def _cuts(self, values: Sequence[bytes | None]) -> Iterator[tuple[int, int]]:
        """From where to where each batch goes; a message above the limit is a batch of its own."""
        sizes = [len(value) if value is not None else 0 for value in values]
        begin = size = 0
        if sum(sizes) > self.config.max_batch_bytes or max(sizes) > self.max_record_bytes:
            for number, length in enumerate(sizes):
                alone = length > self.max_record_bytes
                if number > begin and (alone or size + length > self.config.max_batch_bytes):
                    yield begin, number
                    begin, size = number, 0
                size += length
                if alone:
                    yield begin, number + 1
                    begin, size = number + 1, 0
        if begin < len(sizes):
            yield begin, len(sizes)

    def _batch(self, polled: Polled, offsets: Offsets) -> Batch:
        offsets[polled.partition] = polled.offsets[-1] + 1
        position = position_of(offsets)
        skipped: dict[str, int] = {}
        tombstones = [number for number, value in enumerate(polled.values) if value is None]
        if tombstones and self.config.tombstones == "skip":
            skipped = {"tombstone": len(tombstones)}
            polled, tombstones = polled.where([value is not None for value in polled.values]), []
        units = self._units(polled.values)
        raw_bytes = sum(len(value) for value in polled.values if value is not None)
        oversized = None
        if len(units) == 1 and len(units[0]) > self.max_record_bytes:
            oversized = Oversized(len(units[0]), hashlib.sha256(units[0]).hexdigest())
            units = [units[0][:KEPT_BYTES]]
        has_times = not polled.timestamps or min(polled.timestamps) >= 0
        locators = Messages(
            locator=self.locator,
            content_type=self.content_type,
            filename=self.filename,
            partition=polled.partition,
            offsets=list(polled.offsets),
            timestamps=list(polled.timestamps) if has_times else [at if at >= 0 else None for at in polled.timestamps],
            keys=None if _all_none(polled.keys) else [text_of(key) for key in polled.keys],
            headers=[_headers(one) for one in polled.headers] if any(polled.headers) else None,
            tombstones=tombstones or None,
            length=oversized.length if oversized else None,
            sha256=oversized.sha256 if oversized else None,
        )
        return Batch(units, self.kind, locators, position, raw_bytes, oversized, keeps_blank=True, skipped=skipped)

    def _units(self, values: Sequence[bytes | None]) -> list[bytes]:
        nothing = b"null" if self.kind == "json" else b""
        units = [nothing if value is None else value for value in values]
        # Looked for in all at once, because most messages have none.
        if self.kind == "json" and b"\n" in b"".join(units):
            return [on_one_line(unit) if b"\n" in unit else unit for unit in units]
        return units


def on_one_line(value: bytes) -> bytes:
    """A JSON message without line feeds; one that is no JSON stays as it came, because it will be a dead letter."""
    try:
        _check_json(value)
    except RecursionError:
        # Too deep to be skipped, which does not say that it is no JSON: a record must be a line in any case.
        return one_line(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return value
    return one_line(value)


def text_of(value: bytes | None) -> Text | None:
    """Bytes as people read them, where they can."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _headers(headers: Headers | None) -> list[Header] | None:
    return [[name, text_of(value)] for name, value in headers] if headers else None


def _all_none(values: Sequence[Any]) -> bool:
    return values.count(None) == len(values)
