"""The offsets of the consumer group at the broker: told after our commit, for tools that show lag, and never read."""

from kafka.structs import OffsetAndMetadata, TopicPartition

from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.stream_config import KafkaConfig
from rootsys_dagster.drivers.kafka.client import consumer, where
from rootsys_dagster.drivers.kafka.offsets import Offsets
from rootsys_dagster.kafka.errors import kafka_errors


def commit_group(config: KafkaConfig, context: DriverContext, offsets: Offsets) -> None:
    """Tell the broker that the group has everything before *offsets*.

    Raises:
        TransientError: no broker answers, or the group has members of its own.
        PermanentError: this user may not do that.
    """
    told = {
        TopicPartition(config.topic, partition): OffsetAndMetadata(offset, "rootsys", -1)
        for partition, offset in offsets.items()
    }
    with (
        consumer(config, context, config.group_id) as client,
        kafka_errors(f"{where(config)}, group {config.group_id}"),
    ):
        client.assign(list(told))
        client.commit(told, timeout_ms=config.request_timeout_ms)
