"""Topics on a real Kafka, written and read without the product."""

import atexit
import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import cache
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from rootsys_dagster.core.driver_config import DriverConfig
from tests.services import KafkaBroker, kafka, wait_for

Message = bytes | tuple[bytes | None, bytes | None] | dict[str, Any]
"""A value, a key and a value, or the arguments of a producer."""


class Topics:
    """What tests do to a broker."""

    def __init__(self, broker: KafkaBroker) -> None:
        self.broker = broker
        self._admin: AdminClient | None = None

    @property
    def admin(self) -> AdminClient:
        """A client for topics."""
        self._admin = self._admin or AdminClient({"bootstrap.servers": self.broker.address})
        return self._admin

    def topic(self, partitions: int = 1, name: str = "", **config: str) -> str:
        """A new topic; ``__`` in the name of a setting stands for a dot."""
        name = name or f"t-{uuid.uuid4().hex[:12]}"
        # Tests write messages that are years old, which a broker would soon take away.
        settings = {"retention.ms": "-1"} | {key.replace("__", "."): value for key, value in config.items()}
        new = NewTopic(name, partitions, 1, config=settings)
        self.admin.create_topics([new])[name].result(30)
        wait_for("the topic", lambda: self.admin.list_topics(name, timeout=10).topics[name].partitions or None)
        return name

    def add_partitions(self, topic: str, total: int) -> None:
        """Let *topic* have so many partitions."""
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result(30)
        known = self.admin.list_topics
        wait_for("the partitions", lambda: len(known(topic, timeout=10).topics[topic].partitions) == total or None)

    def delete(self, topic: str) -> None:
        """Take *topic* away, and wait until it is gone."""
        self.admin.delete_topics([topic])[topic].result(30)
        wait_for("the end of the topic", lambda: topic not in self.admin.list_topics(timeout=10).topics or None)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """What retention does: drop everything before *offset*."""
        self.admin.delete_records([TopicPartition(topic, partition, offset)])[
            TopicPartition(topic, partition, offset)
        ].result(30)

    def producer(self, **config: Any) -> Producer:
        """A producer; ``_`` in the name of a setting stands for a dot."""
        settings = {key.replace("_", "."): value for key, value in config.items()}
        return Producer({"bootstrap.servers": self.broker.address, "linger.ms": 5, **settings})

    def send(self, topic: str, messages: Iterable[Message], partition: int = 0, **config: Any) -> None:
        """Write *messages* and wait until the broker has them."""
        producer = self.producer(**config)
        for message in messages:
            put(producer, topic, message, partition)
        assert producer.flush(60) == 0

    def messages(self, topic: str, partition: int = 0) -> list[Any]:
        """Every message of *topic* so far."""
        client = Consumer({"bootstrap.servers": self.broker.address, "group.id": "reader", "enable.auto.commit": False})
        try:
            place = TopicPartition(topic, partition, 0)
            _, end = client.get_watermark_offsets(place, timeout=30)
            client.assign([place])
            found: list[Any] = []
            while len(found) < end:
                found += [one for one in client.consume(end - len(found), 1) if one.error() is None]
            return found
        finally:
            client.close()

    def values(self, topic: str) -> list[bytes]:
        """What the messages of *topic* hold."""
        return [message.value() for message in self.messages(topic)]

    def committed(self, group: str, topic: str, partition: int = 0) -> int:
        """The group offset at the broker; negative when there is none."""
        client = Consumer({"bootstrap.servers": self.broker.address, "group.id": group})

        def ask() -> int | None:
            try:
                (found,) = client.committed([TopicPartition(topic, partition)], timeout=30)
            except KafkaException as error:
                # The first to ask for any group makes the broker create the topic in which it keeps them.
                if error.args[0].code() in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE):
                    return None
                raise
            return found.offset

        try:
            return wait_for("the coordinator", ask)
        finally:
            client.close()

    def driver(self, topic: str, **members: Any) -> DriverConfig:
        """What an interface file says about *topic*; it reads from the beginning."""
        return DriverConfig.model_validate_json(orjson.dumps(driver_members(self.broker.address, topic, **members)))


def driver_members(address: str, topic: str, **members: Any) -> dict[str, Any]:
    """The member ``driver`` of an interface file."""
    kafka_members = {
        "brokers": [address],
        "topic": topic,
        "group_id": f"g-{topic}",
        "mode": "live",
        "format": "json",
        "start_offset": "earliest",
        **members,
    }
    return {"kind": "stream", "stream": {"source": "kafka", "kafka": kafka_members}}


def put(producer: Producer, topic: str, message: Message, partition: int = 0) -> None:
    """Hand one message to *producer*, waiting while its queue is full."""
    if isinstance(message, bytes):
        arguments: Mapping[str, Any] = {"value": message}
    elif isinstance(message, tuple):
        arguments = {"key": message[0], "value": message[1]}
    else:
        arguments = message
    while True:
        try:
            producer.produce(topic, **{"partition": partition, **arguments})
            return
        except BufferError:
            producer.poll(1)


@cache
def shared_kafka() -> Topics:
    """The broker that tests share for as long as the test process lives."""
    held = ExitStack()
    try:
        broker = held.enter_context(kafka())
    except FileNotFoundError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    atexit.register(held.close)
    return Topics(broker)
