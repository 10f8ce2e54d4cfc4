"""The client: what an interface file says, as arguments of kafka-python. Secrets become values here only."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import google_crc32c
import kafka.record.util
from kafka import KafkaConsumer

from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.stream_config import KafkaConfig
from rootsys_dagster.drivers.kafka.record_batch import use_one_loop
from rootsys_dagster.kafka.connection import connection, fetch_wait_ms
from rootsys_dagster.kafka.errors import kafka_errors
from rootsys_dagster.kafka.network import KafkaNetClient, network_client

AT: Final = "driver.stream.kafka"
"""Where an interface file says all this."""


@contextmanager
def consumer(config: KafkaConfig, context: DriverContext, group_id: str | None = None) -> Iterator[KafkaConsumer]:
    """A connected consumer without a subscription, closed at the end of the block.

    Args:
        group_id: only for what commits group offsets; reading needs none, and a member would be given partitions.
    Raises:
        RootsysError: no broker can be reached, or none lets us in.
    """
    arguments = {**connection(config, context, AT), **reading(config), "group_id": group_id}
    # What the client logs may name users and hosts, and an error that matters comes as an exception as well.
    logging.getLogger("kafka").setLevel(logging.CRITICAL + 1)
    use_fast_checksums()
    use_one_loop()
    with ExitStack() as held:

        def network(**settings: Any) -> KafkaNetClient:
            made = network_client(**settings)
            # What a consumer that cannot be made leaves behind is a thread and its connections.
            held.callback(made.close)
            return made

        with kafka_errors(where(config)):
            client = KafkaConsumer(**arguments, kafka_client=network)
        held.pop_all()
        held.callback(client.close, autocommit=False)
        yield client


def where(config: KafkaConfig) -> str:
    """The topic and its brokers, for messages."""
    return f"kafka topic {config.topic} at {', '.join(config.brokers)}"


def reading(config: KafkaConfig) -> dict[str, Any]:
    """Arguments that only a consumer has."""
    return {
        # A position that the broker no longer has is an error for a person, never a jump.
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        "isolation_level": config.isolation_level,
        "fetch_max_wait_ms": fetch_wait_ms(config),
        "max_poll_records": config.max_batch_records,
        "fetch_max_bytes": config.max_batch_bytes,
        "max_partition_fetch_bytes": min(config.max_batch_bytes, 1 << 20),
        "allow_auto_create_topics": False,
    }


def use_fast_checksums() -> None:
    """Let kafka-python check messages with a compiled library; without one it does so byte by byte in Python."""
    # The library binds its choice to the argument of this function when it is imported.
    kafka.record.util.calc_crc32c.__defaults__ = (_crc32c,)  # pyright: ignore[reportFunctionMemberAccess]


def _crc32c(data: bytes | memoryview) -> int:
    return google_crc32c.value(bytes(data))
