"""Messages of a local broker through the whole product, against bare poll loops that only count."""

import json
import os
import shutil
import sys
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.data import write_project
from benchmarks.measure import RUNS, Case, interleave, run_once, scratch, table
from tests.services import kafka
from tests.topics import Topics, driver_members, put

MESSAGES = 500_000
MESSAGE_BYTES = 300
LEAST_RATIO = 0.8
ROOTSYS = str(Path(sys.executable).with_name("rootsys"))


def main(messages: int = MESSAGES, runs: int = RUNS) -> str:
    """A Markdown section with the ratio and what it should be at least."""
    try:
        return measured(messages, runs)
    except FileNotFoundError as error:
        return f"### Kafka\n\nNot measured: {error}."


def measured(messages: int, runs: int) -> str:
    """The section, with a broker of its own."""
    with scratch() as folder, kafka() as broker:
        topics = Topics(broker)
        one, three = topics.topic(), topics.topic()
        fill(topics.producer(), one, messages)
        fill(topics.producer(), three, 3 * messages)
        project = folder / "project"
        options = {"max_batch_records": 500, "commit_group_offsets": False}
        interfaces = {name: driver_members(broker.address, name, **options) for name in (one, three)}
        interfaces["fast"] = driver_members(broker.address, one, **options, client="confluent")
        write_project(project, interfaces)
        environment = {"DAGSTER_HOME": str(folder), "ROOTSYS_PROJECT": str(project)}
        loop = [sys.executable, "-m", "benchmarks.kafka_loop", broker.address, one, str(messages)]

        def forget() -> None:
            shutil.rmtree(project / ".rootsys", ignore_errors=True)
            os.sync()

        results = interleave(
            [
                Case("kafka-python poll loop that counts", [*loop, "kafka-python"]),
                Case("rootsys run: fetch, normalise, commit", [ROOTSYS, "run", one], forget, environment),
                Case("rootsys run, client confluent", [ROOTSYS, "run", "fast"], forget, environment),
                Case("confluent-kafka consume loop that counts", [*loop, "confluent-kafka"]),
            ],
            runs,
        )
        large = run_once(Case("three times as many", [ROOTSYS, "run", three], forget, environment))
    bare, whole, fast, other = results
    return "\n\n".join(
        [
            f"### Kafka, {messages:,} messages of {MESSAGE_BYTES} bytes, a broker on the same machine",
            table(results),
            f"Rate of the whole product / bare kafka-python loop = {1 / whole.wall_ratio:.2f} "
            f"(at least {LEAST_RATIO}); with client confluent {whole.wall_ratio / fast.wall_ratio:.1f} times as fast, "
            f"{other.wall_ratio / fast.wall_ratio:.2f} of a bare confluent-kafka loop. Messages per second: "
            f"{messages / whole.wall_s:,.0f}, {messages / fast.wall_s:,.0f}; loops {messages / bare.wall_s:,.0f}, "
            f"{messages / other.wall_s:,.0f}; peak memory {whole.peak_mb:.0f} MB, with {3 * messages:,} messages "
            f"{large.peak_mb:.0f} MB.",
        ]
    )


def fill(producer: Producer, topic: str, messages: int) -> None:
    """Write messages of the same length."""
    for n in range(messages):
        head = json.dumps({"defect_id": f"{n:08d}", "line": n % 20, "text": ""}).encode()
        put(producer, topic, head[:-2] + b"x" * (MESSAGE_BYTES - len(head)) + head[-2:])
    assert producer.flush(120) == 0


if __name__ == "__main__":
    print(main())
