"""The complex checks of the reference, end to end with its numbers. Source: spec/1-reference.md 1.17.

The second check looks at files of the product flow, which is not part of this product.
"""

import json
from typing import Any

from tests.command import json_lines, rootsys
from tests.conftest import ProjectFolder

STREAM_RECORDS, RUNS, REPLAY_INPUT = 300, 2, 50
KAFKA = {"brokers": ["127.0.0.1:9092"], "topic": "t", "group_id": "g", "mode": "mvp_file", "format": "json"}
CAPS = {
    "max_batch_records": 5000,
    "poll_timeout_ms": 1000,
    "start_offset": "earliest",
    "mvp_input": "data/stream.jsonl",
}


def run(project: ProjectFolder, name: str, output: str, *more: str) -> None:
    done = rootsys("run", "--interface", f"interfaces/{name}.json", "--output", output, *more, cwd=project.root)
    assert done.returncode == 0, done.stderr


def records(project: ProjectFolder, name: str) -> list[dict[str, Any]]:
    return json_lines((project.root / name).read_bytes())


def test_the_six_complex_checks(project: ProjectFolder) -> None:
    strict = {"record_id_paths": ["/event_id"], "record_id_policy": "strict"}
    project.interface(
        "mes-stream", driver={"kind": "stream", "stream": {"source": "kafka", "kafka": KAFKA | CAPS}}, **strict
    )
    project.data("stream.jsonl", [{"event_id": f"evt-{number}"} for number in range(STREAM_RECORDS)])
    run(
        *(project, "mes-stream", "stream.out.jsonl"),
        *("--schedule-mode", "interval", "--interval-seconds", "1", "--max-runs", str(RUNS)),
    )
    assert len(records(project, "stream.out.jsonl")) == STREAM_RECORDS * RUNS

    project.interface("mes", file="strict", record_id_paths=["/defect_id"], record_id_policy="strict")
    project.data("mes.jsonl", [{"row": number} for number in range(REPLAY_INPUT)])
    dlq = ("--dlq-sink", "sqlite", "--dlq", "dead.db")
    run(project, "strict", "strict.out.jsonl", *dlq)
    assert records(project, "strict.out.jsonl") == []

    project.interface("mes", file="permissive", record_id_paths=["/defect_id"])
    run(project, "permissive", "replay.out.jsonl", "--replay-dlq", "dead.db", "--replay-dlq-source", "sqlite")
    recovered = records(project, "replay.out.jsonl")
    assert [record["payload"]["data"]["row"] for record in recovered] == list(range(REPLAY_INPUT))
    assert {record["source"] for record in recovered} == {"mes"}

    inputs = ("--inputs", "replay.out.jsonl", "--inputs", "stream.out.jsonl")
    assert rootsys("merge", *inputs, "--output", "merged.jsonl", "--dedupe", cwd=project.root).returncode == 0
    merged = records(project, "merged.jsonl")
    assert len(merged) == REPLAY_INPUT + STREAM_RECORDS
    assert json.dumps(merged[0]) == json.dumps(recovered[0])
