"""One bounded read: polls until every partition is where it ended when the read began, and never longer than that."""

import time
from collections.abc import Iterator, Sequence

from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import (
    LogTruncationError,  # pyright: ignore[reportAttributeAccessIssue]
    OffsetOutOfRangeError,
)
from kafka.structs import TopicPartition

from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.core.stream_config import KafkaConfig
from rootsys_dagster.drivers.kafka.client import where
from rootsys_dagster.drivers.kafka.errors import kafka_errors
from rootsys_dagster.drivers.kafka.offsets import Offsets, check_gaps, look


class Polls:
    """Reads from *start* up to *end*; ``next`` says how far each partition has been handed over."""

    def __init__(self, client: KafkaConsumer, config: KafkaConfig, start: Offsets, end: Offsets) -> None:
        self.client = client
        self.config = config
        self.next = dict(start)
        self._open = {
            TopicPartition(config.topic, partition): offset
            for partition, offset in end.items()
            if start[partition] < offset
        }
        self._moved_s = time.monotonic()

    def read(self) -> Iterator[Sequence[ConsumerRecord]]:
        """Messages of one partition at a time, in its order.

        Raises:
            SourceGapError: the broker has dropped what comes next while this read was going on.
            TransientError: nothing came for ``request_timeout_ms``.
        """
        with kafka_errors(where(self.config)):
            self.client.assign(list(self._open))
            for topic_partition in self._open:
                self.client.seek(topic_partition, self.next[topic_partition.partition])
        while self._open:
            polled = self._poll()
            for topic_partition, records in polled.items():
                # What was written since the read began belongs to the next one: a read has to end.
                wanted = [record for record in records if record.offset < self._open[topic_partition]]
                if wanted:
                    yield wanted
            self._move(moved=bool(polled))

    def _poll(self) -> dict[TopicPartition, list[ConsumerRecord]]:
        with kafka_errors(where(self.config)):
            try:
                return self.client.poll(timeout_ms=self.config.poll_timeout_ms)
            except (OffsetOutOfRangeError, LogTruncationError):
                check_gaps(self.next, look(self.client, self.config), self.config)
                raise

    def _move(self, *, moved: bool) -> None:
        """See how far it is: over markers of transactions and what was compacted away, it moves without a message."""
        for topic_partition, end in list(self._open.items()):
            with kafka_errors(where(self.config)):
                at = min(self.client.position(topic_partition) or 0, end)
            moved = moved or at > self.next[topic_partition.partition]
            self.next[topic_partition.partition] = at
            if at == end:
                self.client.pause(topic_partition)
                del self._open[topic_partition]
        if moved:
            # Read after the batches were taken over: what is slow there is not the broker's fault.
            self._moved_s = time.monotonic()
        elif (time.monotonic() - self._moved_s) * 1000 > self.config.request_timeout_ms:
            message = f"{where(self.config)}: nothing came for request_timeout_ms though there is more; try again later"
            raise TransientError(message, code="KAFKA.STALLED")
