"""Reads with confluent-kafka, which is librdkafka: an extra that takes less CPU time."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.cimpl import KafkaError, Message
from kafka import errors as kafka

from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.stream_config import KafkaConfig
from rootsys_dagster.drivers.kafka.client import AT
from rootsys_dagster.drivers.kafka.offsets import Offsets
from rootsys_dagster.drivers.kafka.polled import Polled
from rootsys_dagster.kafka.connection import (
    client_id,
    fetch_wait_ms,
    sasl_values,
    security_protocol,
    tls_password,
    tls_paths,
)

WAIT_S: Final = 0.1
"""The library waits until it has as many messages as were asked for: so long a read may lie idle at its end."""

# What the library says of itself, as errors that have a meaning already; what is not here it mends by trying again.
LOCAL: Final[dict[int, type[Exception]]] = {
    KafkaError._AUTHENTICATION: kafka.SaslAuthenticationFailedError,
    KafkaError._SSL: kafka.KafkaConnectionError,
    KafkaError._AUTO_OFFSET_RESET: kafka.OffsetOutOfRangeError,
    KafkaError._LOG_TRUNCATION: kafka.OffsetOutOfRangeError,
    KafkaError._BAD_MSG: kafka.CorruptRecordError,
    KafkaError._BAD_COMPRESSION: kafka.CorruptRecordError,
    KafkaError._UNKNOWN_TOPIC: kafka.UnknownTopicOrPartitionError,
    KafkaError._UNKNOWN_PARTITION: kafka.UnknownTopicOrPartitionError,
    KafkaError._INVALID_ARG: kafka.KafkaConfigurationError,
    KafkaError._FATAL: kafka.KafkaError,
}
# The library asks after a group that this read is no member of.
IGNORED: Final = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError._NOOP})


class ConfluentReader:
    """A reader, see ``polls.Reader``."""

    def __init__(self, client: Consumer, config: KafkaConfig, failure: Callable[[], KafkaError | None]) -> None:
        self._client = client
        self._config = config
        self._failure = failure
        self._at: Offsets = {}

    def begin(self, start: Offsets) -> None:
        """Assign with offsets."""
        self._at = dict(start)
        self._client.assign([TopicPartition(self._config.topic, *place) for place in start.items()])

    def poll(self) -> Iterable[Polled]:
        """One batch of the library's queue, by partition."""
        wait_s = min(WAIT_S, self._config.poll_timeout_ms / 1000)
        with _translated():
            messages = self._client.consume(self._config.max_batch_records, wait_s)
        if (failure := self._failure()) is not None:
            raise translated(failure)
        if any(error is not None for error in map(Message.error, messages)):
            messages = list(self._messages(messages))
        return list(self._columns(messages))

    def at(self, partition: int) -> int:
        """Behind the last message, or where the library said that the partition ends."""
        return self._at[partition]

    def end(self, partition: int) -> None:
        """Pause it; what the library holds of it is dropped."""
        with _translated():
            self._client.pause([TopicPartition(self._config.topic, partition)])

    def _messages(self, messages: list[Message]) -> Iterator[Message]:
        for message in messages:
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                self._at[partition] = max(self._at[partition], offset)
            elif is_final(error):
                raise translated(error)

    def _columns(self, messages: list[Message]) -> Iterator[Polled]:
        by_partition: dict[Any, list[Message]] = {}
        for message, partition in zip(messages, map(Message.partition, messages), strict=True):
            by_partition.setdefault(partition, []).append(message)
        for partition, those in by_partition.items():
            offsets: list[Any] = list(map(Message.offset, those))
            # The first member is 0 where there is no time.
            times = [time if kind else -1 for kind, time in map(Message.timestamp, those)]
            keys: list[Any] = list(map(Message.key, those))
            values: list[Any] = list(map(Message.value, those))
            headers: list[Any] = list(map(Message.headers, those))
            self._at[partition] = max(self._at[partition], offsets[-1] + 1)
            yield Polled(partition, offsets, times, keys, values, headers)


def is_final(error: KafkaError) -> bool:
    """Whether the library does not mend it by itself."""
    return error.code() in LOCAL or (error.code() > 0 and error.code() not in IGNORED and not error.retriable())


def translated(error: KafkaError) -> Exception:
    """The error of kafka-python that says the same."""
    kind: Any = LOCAL.get(error.code()) or kafka.for_code(max(error.code(), -1))
    return kind()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise translated(error.args[0]) from None


@contextmanager
def confluent_reader(config: KafkaConfig, context: DriverContext) -> Iterator[ConfluentReader]:
    """A reader with connections and threads of its own, which end with the block."""
    failures: list[KafkaError] = []

    def fail(error: KafkaError) -> None:
        if is_final(error):
            failures.append(error)

    # What the library logs may name users and hosts, and an error that matters comes as an exception as well.
    silent = logging.getLogger("rootsys_dagster.librdkafka")
    silent.setLevel(logging.CRITICAL + 1)
    with _translated():
        client = Consumer({**settings(config, context), "error_cb": fail}, logger=silent)
    try:
        yield ConfluentReader(client, config, lambda: failures[0] if failures else None)
    finally:
        client.close()


def settings(config: KafkaConfig, context: DriverContext) -> dict[str, Any]:
    """What an interface file says, as properties of librdkafka."""
    answer_bytes = max(config.max_batch_bytes, 1000)
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(config.brokers),
        "client.id": client_id(context),
        "group.id": config.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        # A position that the broker no longer has is an error for a person, never a jump.
        "auto.offset.reset": "error",
        "isolation.level": config.isolation_level,
        "check.crcs": True,
        "allow.auto.create.topics": False,
        "fetch.wait.max.ms": fetch_wait_ms(config),
        "message.max.bytes": answer_bytes,
        "fetch.max.bytes": answer_bytes,
        "fetch.message.max.bytes": min(config.max_batch_bytes, 1 << 20),
        "receive.message.max.bytes": answer_bytes + (1 << 20),
        "queued.max.messages.kbytes": max(2 * answer_bytes >> 10, 1),
        "fetch.queue.backoff.ms": 10,
        "socket.timeout.ms": max(config.request_timeout_ms, 1000),
        "reconnect.backoff.max.ms": 1000,
        "security.protocol": security_protocol(config),
    }
    if config.broker_version is not None:
        found |= {"api.version.request": False, "broker.version.fallback": config.broker_version}
    if config.tls is not None:
        paths = tls_paths(config.tls, context, AT)
        named = {
            "ssl.ca.location": paths.ca,
            "ssl.certificate.location": paths.cert,
            "ssl.key.location": paths.key or paths.cert,
            "ssl.key.password": tls_password(config.tls, context, AT),
        }
        found |= {name: value for name, value in named.items() if value is not None}
        found["ssl.endpoint.identification.algorithm"] = "https" if config.tls.check_hostname else "none"
    if config.sasl is not None:
        username, password = sasl_values(config, context, AT)
        found |= {"sasl.mechanisms": config.sasl.mechanism, "sasl.username": username, "sasl.password": password}
    return found
