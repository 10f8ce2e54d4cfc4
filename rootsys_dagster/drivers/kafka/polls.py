"""One bounded read: polls until every partition is where it ended when the read began, and never longer than that."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Protocol

from kafka import KafkaConsumer
from kafka.errors import (
    LogTruncationError,  # pyright: ignore[reportAttributeAccessIssue]
    OffsetOutOfRangeError,
)

from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.core.stream_config import KafkaConfig
from rootsys_dagster.drivers.kafka.client import where
from rootsys_dagster.drivers.kafka.offsets import Offsets, check_gaps, look
from rootsys_dagster.drivers.kafka.polled import Polled
from rootsys_dagster.kafka.errors import kafka_errors


class Reader(Protocol):
    """What a client library does for a read; raises the errors of kafka-python, whichever library it is."""

    def begin(self, start: Offsets) -> None:
        """Read these partitions from there on."""
        ...

    def poll(self) -> Iterable[Polled]:
        """What has come, of each partition at most once; waits for up to ``poll_timeout_ms`` when there is nothing."""
        ...

    def at(self, partition: int) -> int:
        """The offset behind what was polled, and behind markers and gaps that no message will fill."""
        ...

    def end(self, partition: int) -> None:
        """Read no more of this partition."""
        ...


class Polls:
    """Reads from *start* up to *end*; ``next`` says how far each partition has been handed over."""

    def __init__(
        self, reader: Reader, client: KafkaConsumer, config: KafkaConfig, start: Offsets, end: Offsets
    ) -> None:
        self.reader = reader
        self.client = client
        self.config = config
        self.next = dict(start)
        self._open = {partition: offset for partition, offset in end.items() if start[partition] < offset}
        self._moved_s = time.monotonic()

    def read(self) -> Iterator[Polled]:
        """Messages of one partition at a time, in its order.

        Raises:
            SourceGapError: the broker has dropped what comes next while this read was going on.
            TransientError: nothing came for ``request_timeout_ms``.
        """
        if self._open:
            with kafka_errors(where(self.config)):
                self.reader.begin({partition: self.next[partition] for partition in self._open})
        while self._open:
            moved = False
            for polled in self._poll():
                # What was written since the read began belongs to the next one: a read has to end.
                wanted = bisect_left(polled.offsets, self._open[polled.partition])
                if wanted:
                    moved = True
                    yield polled.part(0, wanted)
            self._move(moved=moved)

    def _poll(self) -> Iterable[Polled]:
        with kafka_errors(where(self.config)):
            try:
                return self.reader.poll()
            except (OffsetOutOfRangeError, LogTruncationError):
                check_gaps(self.next, look(self.client, self.config), self.config)
                raise

    def _move(self, *, moved: bool) -> None:
        """See how far it is: over markers of transactions and what was compacted away, it moves without a message."""
        for partition, end in list(self._open.items()):
            with kafka_errors(where(self.config)):
                at = min(self.reader.at(partition), end)
            moved = moved or at > self.next[partition]
            self.next[partition] = at
            if at == end:
                self.reader.end(partition)
                del self._open[partition]
        if moved:
            # Read after the batches were taken over: what is slow there is not the broker's fault.
            self._moved_s = time.monotonic()
        elif (time.monotonic() - self._moved_s) * 1000 > self.config.request_timeout_ms:
            message = f"{where(self.config)}: nothing came for request_timeout_ms though there is more; try again later"
            raise TransientError(message, code="KAFKA.STALLED")
