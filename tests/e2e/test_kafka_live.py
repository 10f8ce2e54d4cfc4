"""A topic on a real Apache Kafka, through commits: what is read, what is said of it, and where the next run begins."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.cli.main import execute
from rootsys_dagster.core.errors import ConfigError, FencedError, SourceGapError, TransientError
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.drivers.kafka.driver import StreamDriver
from rootsys_dagster.log.store import LockedError
from rootsys_dagster.pipeline.fetch import fetch_to_spool, read_spool
from rootsys_dagster.pipeline.publish import publish
from rootsys_dagster.pipeline.run import open_line, run_fetched
from tests.conftest import ProjectFolder
from tests.topics import Topics, driver_members, shared_kafka


@pytest.fixture
def kafka() -> Topics:
    return shared_kafka()


@pytest.fixture(params=["kafka-python", "confluent"])
def client(request: pytest.FixtureRequest) -> str:
    """The library that reads."""
    return request.param


def interface(project: ProjectFolder, kafka: Topics, topic: str, **members: Any) -> None:
    """An interface ``events`` on *topic*."""
    of_driver = {name: members.pop(name) for name in ("content_type", "filename") if name in members}
    of_kafka = {name: members.pop(name) for name in list(members) if name in KAFKA_MEMBERS}
    project.interface("events", driver=driver_members(kafka.broker.address, topic, **of_kafka) | of_driver, **members)


KAFKA_MEMBERS = frozenset(
    {
        "format", "start_offset", "max_batch_records", "max_batch_bytes", "isolation_level", "tombstones",
        "client", "checkpoint_file", "commit_group_offsets", "request_timeout_ms", "brokers", "group_id", "max_lag",
    }
)  # fmt: skip


def data_of(records: list[dict[str, Any]]) -> list[Any]:
    return [record["payload"]["data"] for record in records]


def places_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["metadata"]["source_details"]["position"] for record in records]


def test_a_record_says_partition_offset_key_and_headers(project: ProjectFolder, kafka: Topics, client: str) -> None:
    topic = kafka.topic()
    kafka.send(
        topic,
        [
            {"value": b'{"n":1.10}', "key": b"k", "headers": [("h", b"v"), ("h", b"\xff"), ("none", None)],
             "timestamp": 1_700_000_000_000},
            {"value": b'{"n":2}', "key": b"\xfe\x00", "timestamp": 1_700_000_000_001},
            {"value": b'{"n":3}', "timestamp": 1_700_000_000_002},
        ],
    )  # fmt: skip
    interface(project, kafka, topic, client=client)
    project.run("events")
    assert places_of(project.records("events")) == [
        {"partition": 0, "offset": 0, "timestamp": 1_700_000_000_000, "key": "k",
         "headers": [["h", "v"], ["h", {"base64": "/w=="}], ["none", None]]},
        {"partition": 0, "offset": 1, "timestamp": 1_700_000_000_001, "key": {"base64": "/gA="}},
        {"partition": 0, "offset": 2, "timestamp": 1_700_000_000_002},
    ]  # fmt: skip
    details = project.records("events")[0]["metadata"]
    assert details["content_type"] == "application/json"
    assert details["source_details"]["source_type"] == "stream/kafka"
    assert details["source_details"]["locator"] == f"kafka://{topic}?group_id=g-{topic}"
    assert b'"data":{"n":1.10}' in project.lines("records", "events")[0]


def test_a_poison_message_is_a_dead_letter_and_blocks_nothing(
    project: ProjectFolder, kafka: Topics, client: str
) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b'{"n":1}', b'{"n":', b"\xff\x00", b"", b" ", b'{"n":\n"a\nb"}', b'{"n":2}'])
    interface(project, kafka, topic, client=client)
    report = project.run("events")
    assert data_of(project.records("events")) == [{"n": 1}, {"n": 2}]
    letters = project.dead_letters("events")
    assert [letter["reason_codes"] for letter in letters] == [["PAYLOAD_DECODE_FAILED"]] * 5
    assert [place["offset"] for place in places_of(letters)] == [1, 2, 3, 4, 5]
    assert data_of(letters) == ['{"n":', {"encoding": "base64", "data": "/wA="}, "", " ", '{"n":\n"a\nb"}']
    assert report.end == {"offsets": {"0": 7}}


def test_pretty_printed_json_is_one_line_and_keeps_its_values(
    project: ProjectFolder, kafka: Topics, client: str
) -> None:
    topic = kafka.topic()
    kafka.send(topic, [json.dumps({"a": [1, 2], "b": "x\ny"}, indent=2).encode(), b'{\r\n\t"a": 1.50\r\n}'])
    interface(project, kafka, topic, client=client)
    project.run("events")
    assert data_of(project.records("events")) == [{"a": [1, 2], "b": "x\ny"}, {"a": 1.5}]
    assert b"1.50" in project.lines("records", "events")[1]


@pytest.mark.parametrize(
    ("form", "values", "expected"),
    [
        ("json", [None, b"null"], [None, None]),
        ("text", [None, b"", b" x ", b"a\nb"], ["", "", " x ", "a\nb"]),
        ("binary", [None, b"", b"\xff"], ["", "", "/w=="]),
    ],
)
def test_a_tombstone_is_a_record_that_says_so(
    project: ProjectFolder, kafka: Topics, client: str, form: str, values: list[bytes | None], expected: list[Any]
) -> None:
    topic = kafka.topic()
    kafka.send(topic, [(b"k", value) for value in values])
    interface(project, kafka, topic, client=client, format=form)
    project.run("events")
    records = project.records("events")
    data = [one["data"] if isinstance(one, dict) else one for one in data_of(records)]
    assert data == expected
    assert [place.get("tombstone", False) for place in places_of(records)] == [value is None for value in values]


def test_skipped_tombstones_are_counted(project: ProjectFolder, kafka: Topics, client: str) -> None:
    topic = kafka.topic()
    kafka.send(topic, [(b"k", None), (b"k", b"1"), (b"k", None)])
    interface(project, kafka, topic, client=client, tombstones="skip")
    report = project.run("events")
    assert data_of(project.records("events")) == [1]
    assert report.counts.skipped == {"tombstone": 2}
    assert report.end == {"offsets": {"0": 3}}


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_every_compression_is_read(project: ProjectFolder, kafka: Topics, client: str, codec: str) -> None:
    topic = kafka.topic()
    kafka.send(topic, [{"value": json.dumps({"n": n, "fill": "x" * 500}).encode()} for n in range(3000)],
               compression_type=codec, linger_ms=200)  # fmt: skip
    interface(project, kafka, topic, client=client)
    project.run("events")
    assert [one["n"] for one in data_of(project.records("events"))] == list(range(3000))


def test_nothing_of_an_open_or_aborted_transaction_is_read(project: ProjectFolder, kafka: Topics, client: str) -> None:
    topic = kafka.topic()
    producer = kafka.producer(transactional_id=f"x-{topic}")
    producer.init_transactions(30)
    for number, ends_well in enumerate([True, False, True]):
        producer.begin_transaction()
        for n in range(3):
            producer.produce(topic, f'{{"t":{number},"n":{n}}}'.encode(), partition=0)
        producer.flush(30)
        producer.commit_transaction(30) if ends_well else producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, b'{"t":"open"}', partition=0)
    producer.flush(30)
    interface(project, kafka, topic, client=client)
    report = project.run("events")
    assert [(one["t"], one["n"]) for one in data_of(project.records("events"))] == [
        (0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (2, 2),
    ]  # fmt: skip
    # Three times three messages and a marker: what is open begins at 12.
    assert report.end == {"offsets": {"0": 12}}
    assert project.run("events").manifests == []
    producer.commit_transaction(30)
    project.run("events")
    assert data_of(project.records("events"))[-1] == {"t": "open"}


def test_offsets_that_retention_took_are_an_error_and_a_reset_is_in_the_log(
    project: ProjectFolder, kafka: Topics, client: str, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = kafka.topic(2)
    kafka.send(topic, [b"1", b"2", b"3"])
    kafka.send(topic, [b"4"], partition=1)
    interface(project, kafka, topic, client=client)
    project.run("events")
    kafka.send(topic, [b"5", b"6", b"7"])
    kafka.delete_before(topic, 0, 5)
    for _ in range(2):
        with pytest.raises(SourceGapError, match=r"partition 0 has lost offsets from 3 to 5.*rootsys position reset"):
            project.run("events")
    assert len(project.records("events")) == 4
    arguments = ["position", "reset", "events", "--project", str(project.root), "--reason", "retention of last week"]
    assert execute([*arguments, "--to", "offset", "--partition", "0", "--offset", "4"]) == 2
    assert "holds offsets 5 to 6, and not 4" in capsys.readouterr().err
    assert execute([*arguments, "--to", "earliest", "--partition", "0"]) == 0
    commit = project.log("events").head()
    assert commit is not None
    assert (commit.mode, commit.end, commit.counts.fetched) == ("reset", {"offsets": {"0": 5, "1": 1}}, 0)
    assert commit.asked is not None
    assert commit.asked["reason"] == "retention of last week"
    project.run("events")
    assert data_of(project.records("events"))[4:] == [7]
    assert execute(["verify", "events", "--project", str(project.root)]) == 0


def test_latest_begins_where_the_first_run_was(project: ProjectFolder, kafka: Topics, client: str) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"1", b"2"])
    interface(project, kafka, topic, client=client, start_offset="latest")
    first = project.run("events")
    assert (first.counts.fetched, first.end) == (0, {"offsets": {"0": 2}})
    kafka.send(topic, [b"3"])
    project.run("events")
    assert data_of(project.records("events")) == [3]


def test_a_time_is_a_place_to_begin(project: ProjectFolder, kafka: Topics) -> None:
    topic = kafka.topic(2)
    kafka.send(topic, [{"value": b"%d" % n, "timestamp": 1_700_000_000_000 + n} for n in range(5)])
    interface(project, kafka, topic, start_offset={"timestamp": 1_700_000_000_003})
    project.run("events")
    assert data_of(project.records("events")) == [3, 4]


def test_a_partition_that_was_added_is_read_from_its_first_message(
    project: ProjectFolder, kafka: Topics, client: str
) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"1"])
    interface(project, kafka, topic, client=client, start_offset="latest")
    project.run("events")
    kafka.add_partitions(topic, 2)
    kafka.send(topic, [b"2"], partition=1)
    project.run("events")
    assert data_of(project.records("events")) == [2]


def test_group_offsets_follow_the_commit(project: ProjectFolder, kafka: Topics) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"1", b"2"])
    interface(project, kafka, topic, checkpoint_file="data/offsets.json")
    project.run("events")
    assert kafka.committed(f"g-{topic}", topic) < 0
    loaded = project.load()
    reports = publish(loaded.interface("events"), loaded)
    assert {report.name: (report.seq, report.behind, report.error) for report in reports} == {
        "kafka_group_offsets": (1, 0, None),
        "kafka_checkpoint_file": (1, 0, None),
    }
    assert kafka.committed(f"g-{topic}", topic) == 2
    written = json.loads((project.root / "data" / "offsets.json").read_bytes())
    assert (written["topic"], written["group_id"], written["offsets"]) == (topic, f"g-{topic}", {"0": 1})


def test_a_checkpoint_file_is_where_the_first_run_begins(project: ProjectFolder, kafka: Topics) -> None:
    topic = kafka.topic(2)
    kafka.send(topic, [b"1", b"2", b"3"])
    kafka.send(topic, [b"4"], partition=1)
    content = {"topic": topic, "group_id": f"g-{topic}", "updated_at_unix_ms": 1, "offsets": {"0": 1}}
    (project.root / "data" / "offsets.json").write_text(json.dumps(content))
    interface(project, kafka, topic, checkpoint_file="data/offsets.json")
    project.run("events")
    assert sorted(data_of(project.records("events"))) == [3, 4]
    (project.root / "data" / "offsets.json").write_text(json.dumps(content | {"topic": "other"}))
    interface(project, kafka, topic, checkpoint_file="data/offsets.json", version="v2")
    with pytest.raises(ConfigError, match="is that of topic other"):
        project.run("events")


def test_a_broker_that_is_not_there_is_worth_waiting_for(project: ProjectFolder, kafka: Topics) -> None:
    interface(project, kafka, "nothing", brokers=["127.0.0.1:1"], request_timeout_ms=1000)
    with pytest.raises(TransientError, match=r"kafka topic nothing at 127\.0\.0\.1:1"):
        project.run("events")


def test_a_read_may_take_longer_than_the_broker_may_be_silent(kafka: Topics, tmp_path: Path) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"%d" % n for n in range(200)])
    config = kafka.driver(topic, max_batch_records=10, request_timeout_ms=200)
    batches = StreamDriver(config, DriverContext(tmp_path, (tmp_path,), 1 << 20)).read(None)
    began_s, units = time.monotonic(), 0
    for batch in batches:
        units += len(batch.units)
        until_s = time.monotonic() + 0.02
        while time.monotonic() < until_s:
            pass
    assert units == 200
    assert time.monotonic() - began_s > 0.2


def test_a_message_above_the_limit_is_a_dead_letter_with_its_hash(
    project: ProjectFolder, kafka: Topics, client: str
) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"1", json.dumps("x" * 200_000).encode(), b"2"])
    interface(project, kafka, topic, client=client, limits={"max_record_bytes": 100_000})
    project.run("events")
    assert data_of(project.records("events")) == [1, 2]
    (letter,) = project.dead_letters("events")
    assert letter["reason_codes"] == ["RECORD_TOO_LARGE"]
    assert places_of([letter])[0]["length"] == 200_002


def test_the_spool_keeps_everything(project: ProjectFolder, kafka: Topics) -> None:
    topic = kafka.topic()
    messages = [{"value": b'{"n":\n1}', "key": b"\xff", "headers": [("a", b"b")]}, (b"k", None), b""]
    kafka.send(topic, messages)
    interface(project, kafka, topic)
    loaded = project.load()
    line = open_line(loaded.interface("events"), loaded)
    spooled = fetch_to_spool(line, "one")
    run_fetched(line, read_spool(spooled), spooled.start, run_id="one")
    project.run("events")
    assert [place["offset"] for place in places_of(project.records("events"))] == [0, 1]
    assert places_of(project.records("events"))[1]["tombstone"]
    assert places_of(project.records("events"))[0]["key"] == {"base64": base64.b64encode(b"\xff").decode()}
    assert len(project.dead_letters("events")) == 1


def test_of_two_consumers_of_one_interface_one_is_fenced(project: ProjectFolder, kafka: Topics) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"1", b"2"])
    interface(project, kafka, topic)
    loaded = project.load()
    lines = [open_line(loaded.interface("events"), loaded) for _ in range(2)]
    fetched = [fetch_to_spool(lines[0], "run-0")]
    kafka.send(topic, [b"3"])
    fetched.append(fetch_to_spool(lines[1], "run-1"))
    run_fetched(lines[0], read_spool(fetched[0]), fetched[0].start, run_id="run-0")
    with pytest.raises(FencedError, match="nothing was lost, run it again"):
        run_fetched(lines[1], read_spool(fetched[1]), fetched[1].start, run_id="run-1")
    with lines[0].log.writer("other"), pytest.raises(LockedError):
        project.run("events")
    assert data_of(project.records("events")) == [1, 2]


def test_a_file_stands_in_for_the_topic(project: ProjectFolder) -> None:
    driver = driver_members("nowhere:1", "orders", mode="mvp_file", mvp_input="data/orders.jsonl")
    project.interface("events", driver=driver, record_id_paths=["/id"])
    project.data("orders.jsonl", [b'{"id":"evt-1"}', b'{"id":', b'{"id":"evt-2"}'])
    project.run("events")
    project.data("orders.jsonl", [b'{"id":"evt-3"}'], append=True)
    project.run("events")
    assert [record["record_id"] for record in project.records("events")] == ["evt-1", "evt-2", "evt-3"]
    details = project.records("events")[0]["metadata"]["source_details"]
    assert (details["source_type"], details["locator"]) == ("stream/kafka", "kafka://orders?group_id=g-orders")
    assert len(project.dead_letters("events")) == 1


def test_the_command_line_runs_a_topic_and_tells_the_broker(
    project: ProjectFolder, kafka: Topics, tmp_path: Path
) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"1", b"2"])
    interface(project, kafka, topic)
    assert execute(["run", "events", "--project", str(project.root), "--json"]) == 0
    assert kafka.committed(f"g-{topic}", topic) == 2
    assert execute(["show", "events", "--project", str(project.root)]) == 0
    assert execute(["position", "show", "events", "--project", str(project.root)]) == 0
