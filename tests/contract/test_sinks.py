"""What every dead-letter sink promises, on every registered kind. A kind without a world fails here."""

import json
from pathlib import Path

import pytest

import rootsys_dagster.sinks  # noqa: F401  (registers the sinks)
from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.core.ports import DeadLetterSink
from rootsys_dagster.core.record import dead_letter_id
from rootsys_dagster.core.registry import SINKS
from tests.contract.worlds import SINK_WORLDS, KafkaWorld, SinkWorld


@pytest.fixture(params=SINKS.kinds())
def world(request: pytest.FixtureRequest, tmp_path: Path) -> SinkWorld:
    assert request.param in SINK_WORLDS, f"sink {request.param} needs a world in tests/contract/worlds.py"
    return SINK_WORLDS[request.param](tmp_path)


def payload(number: int) -> dict[str, object]:
    return {"kind": "Json", "data": {"n": number}}


def letter(number: int) -> bytes:
    position = {"line": number, "byte": number * 10, "length": 9}
    document = {
        "source": "mes",
        "interface": {"name": "mes", "version": "v1"},
        "payload": payload(number),
        "metadata": {
            "content_type": None,
            "filename": None,
            "source_details": {"source_type": "file", "locator": "data/mes.jsonl", "position": position},
        },
        "reason_codes": ["MISSING_REQUIRED_PATH"],
        "lineage": {"rejected_at_unix_ms": 1_700_000_000_000 + number},
        "errors": [{"code": "MISSING_REQUIRED_PATH", "path": "/id", "message": "absent"}],
    }
    return json.dumps(document).encode() + b"\n"


def write(sink: DeadLetterSink, numbers: range, seq: int) -> int:
    return sink.write([letter(number) for number in numbers], run_id="run", commit_seq=seq)


def kept(numbers: range) -> list[bytes]:
    return [json.dumps(payload(number)).encode() for number in numbers]


def test_commits_are_kept_in_order(world: SinkWorld) -> None:
    sink = world.sink()
    assert sink.resume({})
    assert write(sink, range(3), 1) == 3
    assert write(sink, range(3, 5), 2) == 2
    sink.mark()
    sink.close()
    assert world.letters() == kept(range(5))


def test_a_commit_that_was_written_but_not_marked_is_kept_once(world: SinkWorld) -> None:
    sink = world.sink()
    sink.resume({})
    write(sink, range(3), 1)
    mark = json.loads(json.dumps(sink.mark()))
    write(sink, range(3, 5), 2)
    sink.close()

    again = world.sink()
    assert again.resume(mark)
    write(again, range(3, 5), 2)
    again.mark()
    again.close()
    assert world.letters() == kept(range(5))


def test_a_sink_that_lost_everything_says_so_and_is_filled_again(world: SinkWorld) -> None:
    sink = world.sink()
    sink.resume({})
    write(sink, range(3), 1)
    mark = sink.mark()
    sink.close()
    world.lose()

    again = world.sink()
    assert not again.resume(mark)
    assert again.resume({})
    write(again, range(3), 1)
    again.mark()
    again.close()
    assert world.letters() == kept(range(3))


def test_a_sink_that_is_not_there_is_a_transient_error(world: SinkWorld) -> None:
    world.take_away()
    sink = world.sink()
    with pytest.raises(TransientError):
        sink.resume({})


OF_THE_REFERENCE = ("created_at_unix_ms source interface_name interface_version payload_json metadata_json "
                    "reason_codes_json lineage_json errors_json").split()  # fmt: skip
OUTCOMES = [
    {"dead_letter_id": "?", "outcome": "failing", "reason_codes": ["RULE_ENUM"], "errors": [{"code": "RULE_ENUM"}]},
    {"dead_letter_id": "?", "outcome": "replayed", "record_id": "a\0b"},
    {"dead_letter_id": "?", "outcome": "discarded", "by": "ann", "note": "a test"},
]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_row_has_the_columns_of_the_reference_and_what_became_of_it(kind: str, tmp_path: Path) -> None:
    world = SINK_WORLDS[kind](tmp_path)
    sink = world.sink()
    sink.resume({})
    write(sink, range(1), 1)
    document = json.loads(letter(0))
    (row,) = world.rows(*OF_THE_REFERENCE)
    members = ("payload", "metadata", "reason_codes", "lineage", "errors")
    assert row[:4] == (1_700_000_000_000, "mes", "mes", "v1")
    assert [json.loads(value) for value in row[4:]] == [document[name] for name in members]
    lines = [json.dumps(one | {"dead_letter_id": dead_letter_id(letter(0))}).encode() for one in OUTCOMES]
    for seq, line in enumerate(lines, 2):
        # A commit that is told of twice counts once.
        sink.outcomes([line], run_id="run", commit_seq=seq)
        sink.outcomes([line], run_id="run", commit_seq=seq)
        columns = ("run_id", "commit_seq", "state", "attempts", "last_commit_seq", "record_id", "decided_by", "note")
        (row,) = world.rows(*columns, "reason_codes_json")
        assert row[:5] == ("run", 1, OUTCOMES[seq - 2]["outcome"], min(seq, 3), seq)
        assert json.loads(row[-1]) == ["RULE_ENUM"]
    assert row[5:-1] == (None, "ann", "a test")
    sink.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_table_that_the_reference_made_is_extended(kind: str, tmp_path: Path) -> None:
    world = SINK_WORLDS[kind](tmp_path)
    columns = [f"{name} {'bigint' if name.endswith('_ms') else 'text'} NOT NULL" for name in OF_THE_REFERENCE]
    identity = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgres": "bigserial PRIMARY KEY"}[kind]
    values = ", ".join(["1", *["'[]'"] * 8])
    world.execute(f"CREATE TABLE {world.table} (id {identity}, {', '.join(columns)})")
    world.execute(f"INSERT INTO {world.table} ({', '.join(OF_THE_REFERENCE)}) VALUES ({values})")
    sink = world.sink()
    sink.resume({})
    assert write(sink, range(2), 1) == 2
    sink.close()
    assert world.rows("dead_letter_id", "state")[0] == (None, None)
    assert [state for (state,) in world.rows("state")] == [None, "open", "open"]


def test_a_message_says_where_its_letter_came_from(tmp_path: Path) -> None:
    world = KafkaWorld(tmp_path)
    document = json.loads(letter(7))
    position = {"partition": 3, "offset": 42, "timestamp": 1}
    details = {"source_type": "stream/kafka", "locator": "kafka://orders?group_id=g", "position": position}
    document["metadata"]["source_details"] = details
    line = json.dumps(document).encode() + b"\n"
    sink = world.sink()
    sink.resume({})
    sink.write([line], run_id="run", commit_seq=5)
    sink.close()
    (message,) = world.kafka.messages(world.topic)
    assert message.value() == line[:-1]
    assert message.key().decode() == dead_letter_id(line)
    assert dict(message.headers()) == {
        "__connect.errors.topic": b"orders",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"42",
        "__connect.errors.connector.name": b"mes",
        "__connect.errors.exception.class.name": b"MISSING_REQUIRED_PATH",
        "__connect.errors.exception.message": b"absent",
        "rootsys.run_id": b"run",
        "rootsys.commit_seq": b"5",
    }
