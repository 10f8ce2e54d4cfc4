"""kill -9 of runs that read a topic, and of the broker that they read from, while messages keep coming."""

import json
import signal
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import pytest
from confluent_kafka import Consumer

from crash.pool import Child, Pool
from tests.conftest import ProjectFolder
from tests.topics import Topics, driver_members, put, shared_kafka

PARTITIONS = 4
SMALL_BYTES = 1 << 16
"""Of an answer of the broker, so that it is asked many times."""
STATE = Path(".rootsys/events/v1")


class Stream:
    """A topic that grows, an interface that reads it, and what must have become of it."""

    def __init__(self, root: Path, kafka: Topics, **members: Any) -> None:
        self.kafka = kafka
        self.topic = kafka.topic(PARTITIONS)
        self.project = ProjectFolder(root)
        driver = driver_members(kafka.broker.address, self.topic, max_batch_records=100, **members)
        self.project.interface("events", driver=driver, commit_every={"records": 300})
        self.sent: dict[int, list[int]] = defaultdict(list)
        self.count = 0

    @property
    def state(self) -> Path:
        return self.project.root / STATE

    def grow(self, messages: int) -> None:
        """Write so many messages, spread over the partitions."""
        # Without it a batch that a broker refuses is sent again behind the next one, and offsets are not in our order.
        producer = self.kafka.producer(enable_idempotence=True)
        for n in range(self.count, self.count + messages):
            put(producer, self.topic, json.dumps({"n": n, "fill": "x" * (n % 300)}).encode(), n % PARTITIONS)
            self.sent[n % PARTITIONS].append(n)
        self.count += messages
        assert producer.flush(60) == 0

    def check(self) -> int:
        """Each partition is committed without a hole up to its position, and not beyond; how many commits there are."""
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for record in self.project.records("events"):
            place = record["metadata"]["source_details"]["position"]
            found[place["partition"]].append((place["offset"], record["payload"]["data"]["n"]))
        manifests = sorted((self.state / "log").glob("[0-9]*.json"))
        end = json.loads(manifests[-1].read_bytes())["end"]["offsets"] if manifests else {}
        for partition in range(PARTITIONS):
            expected = list(enumerate(self.sent[partition][: end.get(str(partition), 0)]))
            assert found[partition] == expected, f"partition {partition}"
        return len(manifests)

    def check_complete(self) -> None:
        """Everything that was sent is committed, once."""
        self.check()
        assert len(self.project.records("events")) == self.count


@pytest.fixture
def kafka() -> Topics:
    return shared_kafka()


@pytest.mark.parametrize(
    ("kills", "messages"),
    [
        pytest.param(8, 12_000, id="8"),
        pytest.param(100, 100_000, id="100", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_nothing_is_lost_or_doubled_however_often_a_run_is_killed(
    tmp_path: Path, pool: Pool, kafka: Topics, kills: int, messages: int
) -> None:
    stream = Stream(tmp_path / "project", kafka)
    random = Random(kills)
    hits = commits = hits_after_a_commit = 0
    for _ in range(kills * 3):
        stream.grow(messages // kills if stream.count < messages else 500)
        run = pool.start("run and publish", stream.project.root, "events")
        run.await_commits(stream.state, commits + random.randrange(1, 4))
        time.sleep(random.uniform(0, 0.1))
        hit = run.kill().killed
        now = stream.check()
        hits += hit
        hits_after_a_commit += hit and now > commits
        commits = now
        # A follower is behind the log or level with it, and never ahead.
        if (told := stream.state / "followers" / "kafka_group_offsets.json").exists():
            assert json.loads(told.read_bytes())["seq"] <= commits
        if hits == kills and stream.count >= messages:
            break
    assert hits >= kills, "too many runs were done before the kill"
    assert hits_after_a_commit > kills / 4, "the kills came before anything was committed"
    pool.run("run and publish", stream.project.root, "events").require_success()
    stream.check_complete()
    for partition in range(PARTITIONS):
        assert kafka.committed(f"g-{stream.topic}", stream.topic, partition) == len(stream.sent[partition])


def test_a_kill_between_the_commit_and_its_follower_leaves_the_follower_behind(
    tmp_path: Path, pool: Pool, kafka: Topics
) -> None:
    stream = Stream(tmp_path / "project", kafka)
    stream.grow(100)
    pool.run("run", stream.project.root, "events").require_success()
    assert kafka.committed(f"g-{stream.topic}", stream.topic) < 0
    # The next run finds nothing to commit, and tells the broker all the same.
    pool.run("run and publish", stream.project.root, "events").require_success()
    assert kafka.committed(f"g-{stream.topic}", stream.topic) == 25
    stream.check_complete()


@pytest.mark.parametrize(
    "rebalances", [2, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(900)])], ids=str
)
def test_members_that_join_and_leave_the_group_change_nothing(
    tmp_path: Path, pool: Pool, kafka: Topics, rebalances: int
) -> None:
    stream = Stream(tmp_path / "project", kafka)
    group = f"g-{stream.topic}"
    settings = {"bootstrap.servers": kafka.broker.address, "group.id": group, "enable.auto.commit": False}
    for _ in range(rebalances):
        member = Consumer(settings)
        assigned: list[Any] = []
        member.subscribe([stream.topic], on_assign=lambda _, parts, seen=assigned: seen.extend(parts))
        try:
            deadline_s = time.monotonic() + 60
            while not assigned:
                assert time.monotonic() < deadline_s, "no rebalance"
                member.poll(0.1)
            stream.grow(1000)
            outcome = pool.run("run and publish", stream.project.root, "events")
            assert outcome.code == "KAFKA.GROUP_IN_USE", outcome
        finally:
            member.close()
    stream.check_complete()
    pool.run("run and publish", stream.project.root, "events").require_success()
    assert kafka.committed(group, stream.topic) == len(stream.sent[0])


@pytest.fixture(params=["kafka-python", pytest.param("confluent", marks=pytest.mark.long)])
def client(request: pytest.FixtureRequest) -> str:
    """The library that reads."""
    return request.param


def held_half_way(pool: Pool, stream: Stream) -> Child:
    """A run that is stopped between two commits, with most of the topic still at the broker."""
    stream.grow(20_000)
    run = pool.start("run", stream.project.root, "events")
    run.await_commits(stream.state, 2)
    run.signal(signal.SIGSTOP)
    assert run.await_state("TZ") == "T", "the run was done before it was stopped"
    return run


def test_a_broker_that_is_killed_while_it_is_read_loses_nothing(
    tmp_path: Path, pool: Pool, kafka: Topics, client: str
) -> None:
    stream = Stream(tmp_path / "project", kafka, client=client, request_timeout_ms=1500, max_batch_bytes=SMALL_BYTES)
    run = held_half_way(pool, stream)
    kafka.broker.stop(signal.SIGKILL)
    run.signal(signal.SIGCONT)
    try:
        outcome = run.wait()
    finally:
        kafka.broker.start()
    assert outcome.code in ("KAFKA.STALLED", "KAFKA.UNREACHABLE", "KAFKA.TIMEOUT"), outcome
    assert stream.check() >= 2
    assert len(stream.project.records("events")) < stream.count
    pool.run("run and publish", stream.project.root, "events").require_success()
    stream.check_complete()


def test_a_run_outlives_a_broker_that_comes_back(tmp_path: Path, pool: Pool, kafka: Topics) -> None:
    stream = Stream(tmp_path / "project", kafka, request_timeout_ms=60_000, max_batch_bytes=SMALL_BYTES)
    run = held_half_way(pool, stream)
    kafka.broker.stop(signal.SIGKILL)
    run.signal(signal.SIGCONT)
    kafka.broker.start()
    run.wait().require_success()
    stream.check_complete()
