"""A bare consumer that counts messages: ``python -m benchmarks.kafka_loop ADDRESS TOPIC COUNT CLIENT``."""

import sys


def kafka_python(address: str, topic: str, count: int) -> int:
    """As fast as kafka-python goes: the checksum library of ours, and nothing done with a message."""
    from kafka import KafkaConsumer
    from kafka.structs import TopicPartition

    from rootsys_dagster.drivers.kafka.client import use_fast_checksums

    use_fast_checksums()
    consumer = KafkaConsumer(
        bootstrap_servers=[address], enable_auto_commit=False, max_poll_records=500, metrics_enabled=False
    )
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    seen = 0
    while seen < count:
        for records in consumer.poll(timeout_ms=1000).values():
            seen += len(records)
    consumer.close()
    return seen


def confluent_kafka(address: str, topic: str, count: int) -> int:
    """The same with librdkafka."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": address, "group.id": "bench", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    seen = 0
    while seen < count:
        seen += sum(message.value() is not None for message in consumer.consume(500, 1.0))
    consumer.close()
    return seen


if __name__ == "__main__":
    _, at, name, wanted, client = sys.argv
    print({"kafka-python": kafka_python, "confluent-kafka": confluent_kafka}[client](at, name, int(wanted)))
