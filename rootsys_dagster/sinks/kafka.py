"""A topic of dead letters. Key: the id of the letter; value: the letter; headers: those of Kafka Connect, and ours.

Mark: where the partitions of the topic ended. After a crash the sink reads from there which letters it has written.
"""

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import msgspec
from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import TopicPartition

from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.core.ports import DeadLetterSink, DriverContext, SinkPlace
from rootsys_dagster.core.record import dead_letter_id
from rootsys_dagster.core.registry import SINKS
from rootsys_dagster.kafka.connection import connection, fetch_wait_ms
from rootsys_dagster.kafka.errors import kafka_errors

AT: Final = "dead_letters.kafka"
MAX_REQUEST_BYTES: Final = 64 << 20
SENT_AT_ONCE: Final = 500


class _Name(msgspec.Struct):
    name: str


class _Error(msgspec.Struct):
    code: str
    message: str


class _Position(msgspec.Struct):
    partition: int | None = None
    offset: int | None = None


class _Details(msgspec.Struct):
    source_type: str | None = None
    locator: str | None = None
    position: msgspec.Raw = msgspec.Raw(b"null")


class _Metadata(msgspec.Struct):
    source_details: _Details


class _DeadLetter(msgspec.Struct):
    interface: _Name
    metadata: _Metadata
    errors: list[_Error]


_decode = msgspec.json.Decoder(_DeadLetter).decode
_position = msgspec.json.Decoder(_Position).decode


@SINKS.register("kafka")
class KafkaSink(DeadLetterSink):
    """Waits until all replicas have what it sends, and sends nothing that came into the topic since the last mark."""

    def __init__(self, place: SinkPlace) -> None:
        super().__init__(place)
        assert place.kafka is not None
        self.server = place.kafka
        self._held = ExitStack()
        self._producer: KafkaProducer | None = None
        self._consumer: KafkaConsumer | None = None
        self._written: set[bytes] = set()

    def resume(self, mark: dict[str, Any]) -> bool:
        """Connect, and see what was written behind *mark*; False when it is another topic, or one made anew."""
        with self._errors():
            if self._consumer is None:
                self._connect()
            ends = self._ends()
            if not mark:
                return True
            begin = {int(partition): offset for partition, offset in mark.get("offsets", {}).items()}
            same = (mark.get("brokers"), mark.get("topic")) == (list(self.server.brokers), self.server.topic)
            if not same or any(ends.get(partition, -1) < offset for partition, offset in begin.items()):
                return False
            self._written = set(self._keys(begin, ends))
        return True

    def write(self, lines: Iterable[bytes], *, run_id: str, commit_seq: int) -> int:
        """Send the dead letters of one commit, and wait until they are kept."""
        assert self._producer is not None
        count, sent = 0, list[Any]()
        with self._errors():
            for line in lines:
                key = dead_letter_id(line).encode()
                if key in self._written:
                    continue
                self._written.add(key)
                headers = list(_headers(line, run_id, commit_seq))
                sent.append(self._producer.send(self.server.topic, line.rstrip(b"\n"), key, headers))
                count += 1
                if len(sent) == SENT_AT_ONCE:
                    self._await(sent)
            self._await(sent)
        return count

    def mark(self) -> dict[str, Any]:
        """Where the partitions end: what is written behind that is looked for after a crash."""
        with self._errors():
            offsets = {str(partition): end for partition, end in self._ends().items()}
        # What stands before the mark is behind the follower and does not come again.
        self._written.clear()
        return {"brokers": list(self.server.brokers), "topic": self.server.topic, "offsets": offsets}

    def close(self) -> None:
        """Close the connections."""
        self._held.close()
        self._producer = self._consumer = None

    def _connect(self) -> None:
        logging.getLogger("kafka").setLevel(logging.CRITICAL + 1)
        place = self.place
        context = DriverContext(place.root, place.data_roots, 0, secrets_root=place.secrets_root)
        arguments = connection(self.server, context, AT)
        consumer = KafkaConsumer(
            **arguments, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            isolation_level="read_uncommitted", fetch_max_wait_ms=fetch_wait_ms(self.server),
        )  # fmt: skip
        self._held.callback(consumer.close, autocommit=False)
        self._consumer = consumer
        producer = KafkaProducer(
            **arguments, acks="all", enable_idempotence=True, max_request_size=MAX_REQUEST_BYTES,
            delivery_timeout_ms=2 * self.server.request_timeout_ms, max_block_ms=self.server.request_timeout_ms,
        )  # fmt: skip
        self._held.callback(producer.close, timeout=self.server.request_timeout_ms / 1000)
        self._producer = producer

    def _await(self, sent: list[Any]) -> None:
        assert self._producer is not None
        for future in sent:
            future.get(timeout=2 * self.server.request_timeout_ms / 1000)
        sent.clear()

    def _ends(self) -> dict[int, int]:
        assert self._consumer is not None
        partitions = self._consumer.partitions_for_topic(self.server.topic)
        if not partitions:
            message = f"{self._where}: there is no such topic; create it: the letters are safe in the commit log"
            raise TransientError(message, code="KAFKA.TOPIC_MISSING")
        all_of_it = [TopicPartition(self.server.topic, partition) for partition in sorted(partitions)]
        return {place.partition: end for place, end in self._consumer.end_offsets(all_of_it).items()}

    def _keys(self, begin: dict[int, int], ends: dict[int, int]) -> Iterator[bytes]:
        """The keys of what stands between *begin* and *ends*; a partition that was added is read as a whole."""
        assert self._consumer is not None
        missing = {
            TopicPartition(self.server.topic, partition): end
            for partition, end in ends.items()
            if begin.get(partition, 0) < end
        }
        self._consumer.assign(list(missing))
        for place in missing:
            self._consumer.seek(place, begin.get(place.partition, 0))
        while missing:
            polled = self._consumer.poll(timeout_ms=self.server.request_timeout_ms)
            for records in polled.values():
                yield from (record.key for record in records if record.key is not None)
            moved = bool(polled)
            for place, end in list(missing.items()):
                if (self._consumer.position(place) or 0) >= end:
                    del missing[place]
                    self._consumer.pause(place)
                    moved = True
            if missing and not moved:
                message = f"{self._where}: nothing came for request_timeout_ms though there is more; try again later"
                raise TransientError(message, code="KAFKA.STALLED")

    @property
    def _where(self) -> str:
        return f"dead letters to kafka topic {self.server.topic} at {', '.join(self.server.brokers)}"

    @contextmanager
    def _errors(self) -> Generator[None]:
        with kafka_errors(self._where, AT):
            yield


def _headers(line: bytes, run_id: str, commit_seq: int) -> Iterator[tuple[str, bytes]]:
    letter = _decode(line)
    details = letter.metadata.source_details
    if details.source_type == "stream/kafka":
        topic = (details.locator or "").removeprefix("kafka://").partition("?")[0]
        place = _position(details.position)
        yield "__connect.errors.topic", topic.encode()
        if place.partition is not None:
            yield "__connect.errors.partition", b"%d" % place.partition
        if place.offset is not None:
            yield "__connect.errors.offset", b"%d" % place.offset
    yield "__connect.errors.connector.name", letter.interface.name.encode()
    yield "__connect.errors.exception.class.name", letter.errors[0].code.encode()
    yield "__connect.errors.exception.message", letter.errors[0].message.encode()
    yield "rootsys.run_id", run_id.encode()
    yield "rootsys.commit_seq", b"%d" % commit_seq
