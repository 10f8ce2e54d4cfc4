"""A Kafka topic. Position: ``{"offsets": {"<partition>": next}}``; the offsets of the group at the broker only follow.

Source: the decision record in spec/1-reference.md 1.15.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kafka import KafkaConsumer

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.ports import Batch, Driver, DriverContext, Place
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.core.stream_config import KafkaConfig, StartTime
from rootsys_dagster.drivers.kafka.checkpoint_file import CheckpointFile
from rootsys_dagster.drivers.kafka.client import consumer
from rootsys_dagster.drivers.kafka.group import commit_group
from rootsys_dagster.drivers.kafka.messages import Batches, StandIn, locator_of
from rootsys_dagster.drivers.kafka.offsets import (
    Ends,
    Offsets,
    check_gaps,
    first_start,
    look,
    offsets_at,
    offsets_of,
    position_of,
)
from rootsys_dagster.drivers.kafka.polls import Polls, Reader
from rootsys_dagster.drivers.kafka.python_reader import PythonReader

FILE_KINDS: Final = {"json": "jsonl", "text": "text", "binary": "binary"}
CONTENT_TYPES: Final = {"json": "application/json", "text": "text/plain", "binary": "application/octet-stream"}


@DRIVERS.register("stream")
class StreamDriver(Driver[DriverConfig]):
    """Reads a topic from the committed offsets to the ends that its partitions have when the read begins."""

    source_type = "stream/kafka"

    def __init__(self, config: DriverConfig, context: DriverContext) -> None:
        super().__init__(config, context)
        assert config.stream is not None
        assert config.stream.kafka is not None
        self.kafka: KafkaConfig = config.stream.kafka
        self.stand_in = _stand_in(config, self.kafka, context) if self.kafka.mode == "mvp_file" else None

    def check(self) -> None:
        """Raise what keeps the topic from being read: TransientError when no broker answers or has it."""
        if self.stand_in is not None:
            self.stand_in.check()
            return
        with consumer(self.kafka, self.context) as client:
            look(client, self.kafka)

    def files(self) -> Iterable[Path]:
        """The file that stands in for the topic, if any."""
        return self.stand_in.files() if self.stand_in is not None else ()

    def read(self, resume: Position | None) -> Iterator[Batch]:
        """Batches of one partition each; they end where the partitions ended when the read began."""
        if self.stand_in is not None:
            for batch in self.stand_in.read(resume):
                yield replace(batch, locators=StandIn(locator_of(self.kafka), batch.locators.to_json()))
            return
        with consumer(self.kafka, self.context) as client:
            yield from self._read(client, resume)

    def span(self, start: Position | None, end: Position) -> int | None:
        """Only a file knows; offsets say nothing of bytes."""
        return self.stand_in.span(start, end) if self.stand_in is not None else None

    def unread_bytes(self, resume: Position | None) -> int | None:
        """Only a file knows."""
        return self.stand_in.unread_bytes(resume) if self.stand_in is not None else None

    def head(self, resume: Position | None) -> str | None:
        """The ends of the partitions that have something behind *resume*."""
        if self.stand_in is not None:
            return self.stand_in.head(resume)
        with consumer(self.kafka, self.context) as client:
            ends = look(client, self.kafka)
            start = self._start(client, resume, ends)
        if not resume:
            return f"first {position_of(ends.end)}"
        new = {partition: end for partition, end in ends.end.items() if start[partition] < end}
        return ",".join(f"{partition}:{new[partition]}" for partition in sorted(new)) or None

    def unread_units(self, resume: Position | None) -> int | None:
        """How many offsets lie behind *resume*; some of them may hold no message."""
        if self.stand_in is not None:
            return None
        with consumer(self.kafka, self.context) as client:
            ends = look(client, self.kafka)
            start = self._start(client, resume, ends)
        return sum(end - start[partition] for partition, end in ends.end.items())

    def plan(self, resume: Position | None) -> dict[str, Any]:
        """Topic, brokers and where a read begins."""
        if self.stand_in is not None:
            return self.stand_in.plan(resume)
        begin = position_of(offsets_of(resume))["offsets"] if resume else self.kafka.start_offset
        shown = {"timestamp": begin.timestamp} if isinstance(begin, StartTime) else begin
        return {"topic": self.kafka.topic, "brokers": list(self.kafka.brokers), "from": shown}

    def position_at(self, place: Place, resume: Position | None) -> Position:
        """Where a reset leads: the first or next message of every partition, or one offset of one partition.

        Raises:
            ConfigError: the topic has no such partition or offset.
        """
        if self.stand_in is not None:
            return self.stand_in.position_at(place, resume)
        with consumer(self.kafka, self.context) as client:
            return position_of(offsets_at(place, look(client, self.kafka), offsets_of(resume) if resume else {}))

    def acknowledgements(self) -> dict[str, Callable[[Position], None]]:
        """The group offsets at the broker, and the checkpoint file where there is one."""
        found: dict[str, Callable[[Position], None]] = {}
        if self.stand_in is not None:
            return found
        if self.kafka.commit_group_offsets:
            found["kafka_group_offsets"] = lambda end: commit_group(self.kafka, self.context, offsets_of(end))
        if self.kafka.checkpoint_file is not None:
            file = CheckpointFile(self.kafka, self.context)
            found["kafka_checkpoint_file"] = lambda end: file.write(offsets_of(end))
        return found

    def _start(self, client: KafkaConsumer, resume: Position | None, ends: Ends) -> Offsets:
        # A replay that came before the first read leaves an empty position.
        if resume:
            known = offsets_of(resume)
        else:
            # Where the two disagree the file is right: it says what was done.
            file = CheckpointFile(self.kafka, self.context) if self.kafka.checkpoint_file is not None else None
            known = first_start(client, self.kafka, ends) | (file.read() if file is not None else {})
        check_gaps(known, ends, self.kafka)
        # A partition that was added since has nothing that was read: it begins with its first message.
        return {partition: known.get(partition, first) for partition, first in ends.first.items()}

    def _read(self, client: KafkaConsumer, resume: Position | None) -> Iterator[Batch]:
        ends = look(client, self.kafka)
        content_type = self.config.content_type or CONTENT_TYPES[self.kafka.format]
        batches = Batches(self.kafka, content_type, self.config.filename, self.context.max_record_bytes)
        position = resume
        start = self._start(client, resume, ends)
        with self._reader(client) as reader:
            polls = Polls(reader, client, self.kafka, start, ends.end)
            for polled in polls.read():
                for batch in batches.of(polled, polls.next):
                    position = batch.position
                    yield batch
        end = position_of(polls.next)
        if end != position:
            # Markers of transactions and what was compacted away are no units, and "latest" is a place to keep as well.
            yield batches.nothing(end)

    def _reader(self, client: KafkaConsumer) -> AbstractContextManager[Reader]:
        if self.kafka.client == "kafka-python":
            return nullcontext(PythonReader(client, self.kafka))
        try:
            from rootsys_dagster.drivers.kafka.confluent_reader import confluent_reader
        except ImportError as error:
            message = (
                'driver.stream.kafka.client: "confluent" needs a library of its own: '
                "pip install 'rootsys-dagster[confluent]'"
            )
            raise ConfigError(message, code="KAFKA.CLIENT_MISSING") from error
        return confluent_reader(self.kafka, self.context)


def _stand_in(config: DriverConfig, kafka: KafkaConfig, context: DriverContext) -> Driver[DriverConfig]:
    kind = FILE_KINDS[kafka.format]
    members = {
        "eof": "accept",
        "kind": kind,
        "input": kafka.mvp_input,
        "content_type": config.content_type,
        "filename": config.filename,
    }
    return DRIVERS.get(kind)(DriverConfig.model_validate(members), context)
