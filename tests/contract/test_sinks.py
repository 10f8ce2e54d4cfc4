"""What every dead-letter sink promises, on every registered kind. A kind without a world fails here."""

import json
from pathlib import Path

import pytest

import rootsys_dagster.sinks  # noqa: F401  (registers the sinks)
from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.core.ports import DeadLetterSink
from rootsys_dagster.core.registry import SINKS
from tests.contract.worlds import SINK_WORLDS, SinkWorld


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
    world.path().unlink()

    again = world.sink()
    assert not again.resume(mark)
    assert again.resume({})
    write(again, range(3), 1)
    again.mark()
    again.close()
    assert world.letters() == kept(range(3))


def test_a_sink_that_is_not_there_is_a_transient_error(world: SinkWorld) -> None:
    world.path().parent.parent.mkdir(exist_ok=True)
    world.path().parent.write_text("a file where the folder should be")
    sink = world.sink()
    with pytest.raises(TransientError):
        sink.resume({})
