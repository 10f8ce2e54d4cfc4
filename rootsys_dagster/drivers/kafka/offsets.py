"""Where each partition is read from and up to: our own position against what the broker still has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from rootsys_dagster.core.errors import ConfigError, SourceGapError, TransientError
from rootsys_dagster.core.ports import Place
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.stream_config import KafkaConfig, StartTime
from rootsys_dagster.drivers.kafka.client import where
from rootsys_dagster.kafka.errors import kafka_errors

Offsets = dict[int, int]
"""By partition, always the offset of the next message."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What a topic holds now: from *first* up to, and without, *end* of each partition."""

    first: Offsets
    end: Offsets


def offsets_of(position: Position) -> Offsets:
    """The offsets of a position of ours.

    Raises:
        ConfigError: it was made by something else, such as mode mvp_file.
    """
    offsets = position.get("offsets")
    if not isinstance(offsets, dict):
        message = (
            "what is committed was not read from Kafka (mode mvp_file reads a file); "
            "give the interface another version to begin anew"
        )
        raise ConfigError(message, code="KAFKA.POSITION_FOREIGN")
    return {int(partition): int(offset) for partition, offset in offsets.items()}


def position_of(offsets: Offsets) -> Position:
    """The position that says *offsets*."""
    return {"offsets": {str(partition): offsets[partition] for partition in sorted(offsets)}}


def look(client: KafkaConsumer, config: KafkaConfig) -> Ends:
    """Ask the broker what the topic holds.

    Raises:
        TransientError: there is no such topic now.
    """
    with kafka_errors(where(config)):
        partitions = client.partitions_for_topic(config.topic)
        if not partitions:
            message = f"{where(config)}: there is no such topic; create it, or check driver.stream.kafka.topic"
            raise TransientError(message, code="KAFKA.TOPIC_MISSING")
        all_of_it = [TopicPartition(config.topic, partition) for partition in sorted(partitions)]
        first, end = client.beginning_offsets(all_of_it), client.end_offsets(all_of_it)
    return Ends(_by_partition(first), _by_partition(end))


def first_start(client: KafkaConsumer, config: KafkaConfig, ends: Ends) -> Offsets:
    """Where to begin when nothing is committed, by ``start_offset``."""
    if config.start_offset == "earliest":
        return dict(ends.first)
    if isinstance(config.start_offset, StartTime):
        wanted = {TopicPartition(config.topic, partition): config.start_offset.timestamp for partition in ends.first}
        with kafka_errors(where(config)):
            found = client.offsets_for_times(wanted)
        # A partition in which nothing is that new has only what comes from now on.
        return {
            topic_partition.partition: ends.end[topic_partition.partition] if at is None else at.offset
            for topic_partition, at in found.items()
        }
    return dict(ends.end)


def offsets_at(place: Place, ends: Ends, known: Offsets) -> Offsets:
    """The offsets that a reset leads to; partitions that it does not name stay where they are *known* to be.

    Raises:
        ConfigError: the topic has no such partition or offset.
    """
    chosen = list(ends.first) if place.partition is None else [place.partition]
    if not ends.first.keys() >= set(chosen):
        message = f"the topic has partitions {min(ends.first)} to {max(ends.first)}, and no {place.partition}"
        raise ConfigError(message, code="KAFKA.RESET_PARTITION")
    found = {partition: known.get(partition, first) for partition, first in ends.first.items()}
    for partition in chosen:
        first, end = ends.first[partition], ends.end[partition]
        if place.at == "earliest":
            found[partition] = first
        elif place.at == "latest":
            found[partition] = end
        elif first <= place.at <= end:
            found[partition] = place.at
        else:
            message = f"partition {partition} holds offsets {first} to {end}, and not {place.at}"
            raise ConfigError(message, code="KAFKA.RESET_OFFSET")
    return found


def check_gaps(start: Mapping[int, int], ends: Ends, config: KafkaConfig) -> None:
    """Raise SourceGapError when the broker does not have what comes next in some partition."""
    gaps = list(_gaps(start, ends))
    if gaps:
        raise SourceGapError(
            f"{where(config)}: {'; '.join(gaps)}. Nothing was skipped: see the end of retention and who wrote the "
            "topic anew, then say where to go on with 'rootsys position reset'",
            code="KAFKA.GAP",
        )


def _gaps(start: Mapping[int, int], ends: Ends) -> Iterable[str]:
    for partition, offset in sorted(start.items()):
        if partition not in ends.first:
            yield f"partition {partition} is gone, which was read up to offset {offset}"
        elif offset < ends.first[partition]:
            yield (
                f"partition {partition} has lost offsets from {offset} to {ends.first[partition]}, "
                "which were never read"
            )
        elif offset > ends.end[partition]:
            yield (
                f"partition {partition} ends at {ends.end[partition]} and was read up to {offset}: "
                "offsets from there on are not what they were"
            )


def _by_partition(offsets: Mapping[TopicPartition, int]) -> Offsets:
    return {topic_partition.partition: offset for topic_partition, offset in offsets.items()}
