"""Reads with kafka-python, which is part of every installation."""

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import TopicPartition

from rootsys_dagster.core.stream_config import KafkaConfig
from rootsys_dagster.drivers.kafka.offsets import Offsets
from rootsys_dagster.drivers.kafka.polled import Polled

COLUMNS: Final[tuple[Callable[[ConsumerRecord], Any], ...]] = tuple(
    # A getter by number is not looked up by name for each record.
    itemgetter(ConsumerRecord._fields.index(name))
    for name in ("offset", "timestamp", "key", "value", "headers")
)


class PythonReader:
    """A reader, see ``polls.Reader``."""

    def __init__(self, client: KafkaConsumer, config: KafkaConfig) -> None:
        self._client = client
        self._config = config

    def begin(self, start: Offsets) -> None:
        """Assign and seek."""
        self._client.assign([self._of(partition) for partition in start])
        for partition, offset in start.items():
            self._client.seek(self._of(partition), offset)

    def poll(self) -> Iterable[Polled]:
        """One poll."""
        return list(self._columns(self._client.poll(timeout_ms=self._config.poll_timeout_ms)))

    def at(self, partition: int) -> int:
        """The client's own position."""
        return self._client.position(self._of(partition)) or 0

    def end(self, partition: int) -> None:
        """Pause it."""
        self._client.pause(self._of(partition))

    def _of(self, partition: int) -> TopicPartition:
        return TopicPartition(self._config.topic, partition)

    @staticmethod
    def _columns(polled: dict[TopicPartition, list[ConsumerRecord]]) -> Iterator[Polled]:
        for topic_partition, records in polled.items():
            yield Polled(topic_partition.partition, *(list(map(column, records)) for column in COLUMNS))
