"""``rootsys run --interface F --output O``: the command line of the reference, behaviour by behaviour."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from rootsys_dagster.cli.run import schedule
from rootsys_dagster.cli.run_options import Schedule
from rootsys_dagster.core.policy import TABLE_NAME
from rootsys_dagster.core.record import Message, reason_codes
from rootsys_dagster.pipeline.replay import read_dead_letters
from rootsys_dagster.pipeline.stateless import default_dead_letter_path
from tests.command import events, json_lines, rootsys
from tests.conftest import ProjectFolder

MES = [
    {"defect_id": "DEF-1001", "lot_id": "LOT-77", "defect_code": "SCRATCH"},
    {"defect_id": "DEF-1002", "lot_id": "LOT-78", "defect_code": "CRACK"},
]
QMS = [{"claim_id": "CLAIM-9001", "severity": 2}, {"claim_id": "CLAIM-9002", "severity": 3}]
STREAM = [{"event_id": "evt-1"}, {"event_id": "evt-2"}]
IDS = ["/defect_id", "/lot_id"]


@pytest.fixture
def mes(project: ProjectFolder) -> Path:
    project.interface("mes", record_id_paths=IDS, required_paths=IDS, record_id_policy="strict")
    project.data("mes.jsonl", MES)
    return project.root


def ids(path: Path) -> list[str]:
    return [record["record_id"] for record in json_lines(path.read_bytes())]


@pytest.mark.parametrize(
    ("output", "kind", "expected"),
    [
        pytest.param("out/a.jsonl", "file", "out/a.dlq.jsonl", id="RS-58 before the extension"),
        pytest.param("out/a", "file", "out/a.dlq", id="RS-59 without extension"),
        pytest.param("out/a.jsonl", "sqlite", "out/a.dlq.db.jsonl", id="RS-60 sqlite"),
    ],
)
def test_dead_letters_are_named_after_the_output(output, kind, expected):
    assert default_dead_letter_path(Path(output), kind) == Path(expected)


@pytest.mark.parametrize("name", ["dead_letters", "dlq2"])
def test_rs61_table_names_that_are_taken(name):
    assert TABLE_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "2dead_letters", "dead-letters", "dead letters", 'a";DROP TABLE x'])
def test_rs62_other_table_names_are_bad_usage(mes, name):
    options = ("--interface", "interfaces/mes.json", "--output", "o.jsonl", "--dlq-sink", "sqlite", "--dlq-table", name)
    done = rootsys("run", *options, cwd=mes)
    assert done.returncode == 2
    assert "--dlq-table" in done.stderr


def test_rs63_a_replayed_dead_letter_keeps_payload_and_metadata(tmp_path):
    metadata = {
        "content_type": "a/b",
        "filename": "f",
        "source_details": {"source_type": "rest", "locator": "http://x"},
    }
    letter = {"payload": {"kind": "Json", "data": {"n": 1.10}}, "metadata": metadata, "errors": []}
    path = tmp_path / "dlq.jsonl"
    path.write_text(json.dumps(letter) + "\n")
    (batch,) = read_dead_letters(path, "file")
    assert batch.units == [b'{"n": 1.1}']
    assert batch.kind == "json"
    where = batch.locators
    assert (where.content_type, where.filename, where.source_type, where.locator) == ("a/b", "f", "rest", "http://x")


def test_rs64_reason_codes_are_unique_in_the_order_first_seen():
    codes = ["PAYLOAD_FORMAT_MISMATCH", "MISSING_REQUIRED_PATH", "PAYLOAD_FORMAT_MISMATCH"]
    assert reason_codes([Message(code, None, "") for code in codes]) == codes[:2]  # type: ignore[arg-type]


def test_rs65_and_rs66_schedules():
    assert schedule("once", None, None) == Schedule(1, None)
    assert schedule("interval", 1, 3) == Schedule(3, 1)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--schedule-mode", "interval"], id="interval without its numbers"),
        pytest.param(
            ["--schedule-mode", "interval", "--interval-seconds", "1"], id="interval without a number of runs"
        ),
        pytest.param(["--schedule-mode", "interval", "--interval-seconds", "0", "--max-runs", "1"], id="zero seconds"),
        pytest.param(["--interval-seconds", "1"], id="seconds without interval"),
        pytest.param(["--max-runs", "2"], id="runs without interval"),
        pytest.param(["--nonsense"], id="unknown option"),
        pytest.param(["--dlq-sink", "kafka"], id="unknown sink"),
        pytest.param(["--format", "xml"], id="unknown format"),
        pytest.param(["--dlq", "o.jsonl"], id="one file for both"),
    ],
)
def test_bad_usage_ends_in_two_and_writes_nothing(mes, options):
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", "o.jsonl", *options, cwd=mes)
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert not (mes / "o.jsonl").exists()


@pytest.mark.parametrize("options", [["--interface", "interfaces/mes.json"], ["--output", "o.jsonl"], []])
def test_interface_and_output_are_needed_together(mes, options):
    assert rootsys("run", *options, cwd=mes).returncode == 2


def test_rs68_a_run_prints_the_lines_and_events_of_the_reference(mes):
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", "out.jsonl", cwd=mes)
    assert done.returncode == 0
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if not line.startswith("{")] == [
        "run 1: records=2 | dead_letters=0",
        "total runs: 1 | total records: 2 | total dead_letters: 0",
    ]
    (summary,) = events(done.stdout, "run_summary")
    assert summary == {
        "run_index": 1,
        "source": "mes",
        "input_records": 2,
        "integration_records": 2,
        "dlq_records": 0,
    }
    (metrics,) = events(done.stdout, "pipeline_metrics")
    assert metrics == {
        "runs_total": 1,
        "input_records_total": 2,
        "integration_records_total": 2,
        "dlq_records_total": 0,
    }
    assert (mes / "out.jsonl").stat().st_size > 0
    assert not (mes / ".rootsys").exists(), "a stateless run remembers nothing"


def test_rs69_strict_run_writes_the_file_and_a_permissive_replay_recovers_it(project):
    project.interface("mes", record_id_paths=["/defect_id"], record_id_policy="strict")
    project.interface("mes", file="mes_permissive", record_id_paths=["/defect_id"], record_id_policy="hash_fallback")
    project.data("mes.jsonl", [{"line": 1}, {"line": 2}])
    strict = rootsys("run", "--interface", "interfaces/mes.json", "--output", "strict.jsonl", cwd=project.root)
    assert strict.returncode == 0
    assert (project.root / "strict.jsonl").read_bytes() == b""
    letters = json_lines((project.root / "strict.dlq.jsonl").read_bytes())
    assert [letter["reason_codes"] for letter in letters] == [["RECORD_ID_STRICT_PATHS_UNRESOLVED"]] * 2

    replay = ("--replay-dlq", "strict.dlq.jsonl", "--source", "again")
    done = rootsys(
        "run", "--interface", "interfaces/mes_permissive.json", "--output", "re.jsonl", *replay, cwd=project.root
    )
    assert done.returncode == 0
    records = json_lines((project.root / "re.jsonl").read_bytes())
    assert [record["payload"]["data"] for record in records] == [{"line": 1}, {"line": 2}]
    assert {record["source"] for record in records} == {"again"}
    assert [record["metadata"] for record in records] == [letter["metadata"] for letter in letters]


def test_rs70_ids_source_and_merge_order(project):
    project.interface("mes", record_id_paths=IDS, required_paths=IDS)
    project.interface("qms", record_id_paths=["/claim_id"])
    project.interface("mes-stream", record_id_paths=["/event_id"])
    for name, rows in (("mes", MES), ("qms", QMS), ("mes-stream", STREAM)):
        project.data(f"{name}.jsonl", rows)
        done = rootsys("run", "--interface", f"interfaces/{name}.json", "--output", f"{name}.out", cwd=project.root)
        assert done.returncode == 0
        assert {record["source"] for record in json_lines((project.root / f"{name}.out").read_bytes())} == {name}
    assert ids(project.root / "mes.out") == ["DEF-1001|LOT-77", "DEF-1002|LOT-78"]
    assert ids(project.root / "qms.out") == ["CLAIM-9001", "CLAIM-9002"]
    assert ids(project.root / "mes-stream.out") == ["evt-1", "evt-2"]
    merged = rootsys("merge", "--inputs", "mes.out", "--inputs", "qms.out", "--output", "all.jsonl", cwd=project.root)
    assert merged.stdout == "total: 4 | written: 4 | duplicates: 0\n"
    assert ids(project.root / "all.jsonl") == ids(project.root / "mes.out") + ids(project.root / "qms.out")


def test_dedupe_can_really_be_switched_off(mes):
    rootsys("run", "--interface", "interfaces/mes.json", "--output", "o", cwd=mes)
    twice = ("--inputs", "o", "--inputs", "o", "--output", "all")
    assert rootsys("merge", *twice, cwd=mes).stdout == "total: 4 | written: 2 | duplicates: 2\n"
    assert rootsys("merge", *twice, "--no-dedupe", cwd=mes).stdout == "total: 4 | written: 4 | duplicates: 0\n"


def test_the_output_is_replaced_and_later_runs_of_an_interval_add_to_it(mes):
    (mes / "o.jsonl").write_text("old\n")
    (mes / "o.dlq.jsonl").write_text("stale\n")
    interval = ("--schedule-mode", "interval", "--interval-seconds", "1", "--max-runs", "2")
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", "o.jsonl", *interval, cwd=mes)
    assert done.returncode == 0
    assert ids(mes / "o.jsonl") == ["DEF-1001|LOT-77", "DEF-1002|LOT-78"] * 2
    assert (mes / "o.dlq.jsonl").read_bytes() == b"", "a run without dead letters leaves none of an earlier one"
    assert [event["run_index"] for event in events(done.stdout, "run_summary")] == [1, 2]
    assert "total runs: 2 | total records: 4 | total dead_letters: 0" in done.stdout


def test_a_failing_run_leaves_the_old_output_as_it_was(project):
    project.interface("mes", on_fail="block")
    project.data("mes.jsonl", [b'{"n":1}', b"not json"])
    (project.root / "o.jsonl").write_text("old\n")
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", "o.jsonl", cwd=project.root)
    assert done.returncode == 1
    assert "[LINE.BLOCKED]" in done.stderr
    assert "line" in done.stderr
    assert (project.root / "o.jsonl").read_text() == "old\n"
    assert sorted(os.listdir(project.root)) == ["contracts", "data", "interfaces", "o.jsonl"], "no temporary file stays"


def test_sqlite_dead_letters_have_the_columns_of_the_reference(project):
    project.interface("mes", required_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}, {"n": 2}])
    sink = ("--dlq-sink", "sqlite", "--dlq-table", "dlq2")
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", "o.jsonl", *sink, cwd=project.root)
    assert done.returncode == 0
    with sqlite3.connect(project.root / "o.dlq.db.jsonl") as connection:
        connection.row_factory = sqlite3.Row
        (row,) = connection.execute("SELECT * FROM dlq2").fetchall()
    assert json.loads(row["payload_json"]) == {"kind": "Json", "data": {"n": 2}}
    assert json.loads(row["reason_codes_json"]) == ["MISSING_REQUIRED_PATH"]
    assert (row["source"], row["interface_name"], row["interface_version"]) == ("mes", "mes", "v1")

    again = ("--replay-dlq", "o.dlq.db.jsonl", "--replay-dlq-source", "sqlite", "--replay-dlq-table", "dlq2")
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", "r.jsonl", *again, cwd=project.root)
    assert "run 1: records=0 | dead_letters=1" in done.stdout


def test_format_forces_a_file_driver_and_lineage_names_the_interface_kind(project):
    project.interface("api", driver={"kind": "rest", "rest": {"url": "http://localhost/x"}}, payload_format="json")
    project.data("in.txt", [b"one line", b"", b"another"])
    file = ("--format", "text", "--input", "data/in.txt")
    done = rootsys("run", "--interface", "interfaces/api.json", "--output", "o.jsonl", *file, cwd=project.root)
    assert done.returncode == 0, done.stderr
    letters = json_lines((project.root / "o.dlq.jsonl").read_bytes())
    assert [letter["payload"]["data"] for letter in letters] == ["one line", "another"]
    assert {letter["lineage"]["driver_kind"] for letter in letters} == {"rest"}


def test_input_replaces_what_the_file_names_and_may_lie_anywhere(mes, tmp_path):
    elsewhere = tmp_path / "elsewhere.jsonl"
    elsewhere.write_text('{"defect_id":"X","lot_id":"Y"}\n')
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", "o", "--input", elsewhere, cwd=mes)
    assert done.returncode == 0, done.stderr
    assert ids(mes / "o") == ["X|Y"]


def test_standard_input_has_no_file_name(mes):
    line = b'{"defect_id":"X","lot_id":"Y"}\n'
    options = ("--interface", "interfaces/mes.json", "--output", "o", "--input", "-")
    assert rootsys("run", *options, cwd=mes, given=line).returncode == 0
    (record,) = json_lines((mes / "o").read_bytes())
    assert record["metadata"]["filename"] is None
    assert record["metadata"]["source_details"]["locator"] == "stdin"


@pytest.mark.parametrize(("driver", "expected"), [({}, ["1", "2"]), ({"eof": "wait"}, ["1"])])
def test_a_last_line_without_its_end_is_read_too_since_no_later_run_would(project, driver, expected):
    project.interface("mes", record_id_paths=["/id"], driver={"kind": "jsonl", "input": "data/mes.jsonl"} | driver)
    (project.root / "data/mes.jsonl").write_text('{"id":1}\n{"id":2}')
    run = ("run", "--interface", "interfaces/mes.json")
    assert rootsys(*run, "--output", "o", cwd=project.root).returncode == 0
    assert ids(project.root / "o") == expected
    rootsys(*run, "--state-root", "state", "--output", "p", cwd=project.root)
    assert ids(project.root / "p") == ["1"], "the next run will come for it"


def test_an_interface_that_is_not_allowed_stops_before_anything_is_read(mes):
    (mes / "contracts/allowlist.json").write_text('{"allowlist":[{"name":"qms","version":"v1"}]}')
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", "o", cwd=mes)
    assert done.returncode == 1, "the reference knows no other code for errors"
    assert "[CONTRACT_NOT_ALLOWLISTED]" in done.stderr
    assert not (mes / "o").exists()


def test_the_registry_of_the_reference_is_found_first_and_another_can_be_named(mes):
    place = mes / "system/contracts/reference"
    place.mkdir(parents=True)
    (place / "allowlist.json").write_text('{"allowlist":[{"name":"other","version":"v1"}]}')
    run = ("run", "--interface", "interfaces/mes.json", "--output", "o")
    done = rootsys(*run, cwd=mes)
    assert done.returncode == 1
    assert "system/contracts/reference/allowlist.json" in done.stderr
    assert rootsys(*run, "--contract-registry", "contracts/allowlist.json", cwd=mes).returncode == 0


def test_every_problem_of_the_file_is_told_at_once_in_the_form_of_the_reference(mes):
    (mes / "interfaces/bad.json").write_text(
        '{"name":" ","version":"","driver":{"kind":"rest"},"required_paths":["x"]}'
    )
    done = rootsys("run", "--interface", "interfaces/bad.json", "--output", "o", cwd=mes)
    assert done.returncode == 1
    first, *lines = done.stderr.splitlines()
    assert first == "error: interfaces/bad.json: 4 problems"
    assert all(line.startswith("- /") for line in lines)
    for code in ("INTERFACE_NAME_EMPTY", "INTERFACE_VERSION_EMPTY", "REST_CONFIG_REQUIRED", "JSON_POINTER_INVALID"):
        assert f"[{code}]" in done.stderr


def test_the_product_flow_is_refused_loudly_and_hinders_nothing(mes):
    flow = ("--enable-product-flow", "--product-output-dir", "p")
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", "o", *flow, cwd=mes)
    assert done.returncode == 0
    assert "[PRODUCT_FLOW.NOT_INCLUDED]" in done.stderr
    assert not (mes / "p").exists()


def test_a_link_stays_a_link_and_a_mode_stays_a_mode(mes):
    (mes / "real.jsonl").write_text("old\n")
    (mes / "real.jsonl").chmod(0o600)
    (mes / "o.jsonl").symlink_to("real.jsonl")
    assert rootsys("run", "--interface", "interfaces/mes.json", "--output", "o.jsonl", cwd=mes).returncode == 0
    assert (mes / "o.jsonl").is_symlink()
    assert (mes / "real.jsonl").stat().st_mode & 0o777 == 0o600
    assert len(ids(mes / "real.jsonl")) == 2


def test_records_may_go_to_a_device(mes):
    run = ("run", "--interface", "interfaces/mes.json", "--json", "--output", "/dev/stdout")
    assert "add --dlq" in rootsys(*run, cwd=mes).stderr
    done = rootsys(*run, "--dlq", "d.jsonl", cwd=mes)
    assert done.returncode == 0
    assert [record["record_id"] for record in json_lines(done.stdout) if "record_id" in record] == [
        "DEF-1001|LOT-77",
        "DEF-1002|LOT-78",
    ]


def test_a_state_root_makes_the_same_command_go_on_and_the_output_is_kept_equal(project):
    project.interface("mes", required_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}, {"n": 2}])
    run = ("run", "--interface", "interfaces/mes.json", "--state-root", "state", "--output", "o.jsonl")
    assert "run 1: records=1 | dead_letters=1" in rootsys(*run, cwd=project.root).stdout
    project.data("mes.jsonl", [{"id": 3}], append=True)
    (project.root / "o.jsonl").write_bytes((project.root / "o.jsonl").read_bytes() + b'{"half a line')
    done = rootsys(*run, cwd=project.root)
    assert "run 1: records=1 | dead_letters=0" in done.stdout
    assert [event["seq"] for event in events(done.stdout, "commit")] == [2]
    committed = rootsys("records", "mes", "--state-root", "state", cwd=project.root).stdout
    assert (project.root / "o.jsonl").read_text() == committed
    assert [record["payload"]["data"] for record in json_lines(committed)] == [{"id": 1}, {"id": 3}]
    letters = rootsys("dead-letters", "export", "mes", "--state-root", "state", cwd=project.root).stdout
    assert (project.root / "o.dlq.jsonl").read_text() == letters
    assert len(json_lines(letters)) == 1


def test_paths_in_a_named_interface_file_may_lead_anywhere(project, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"n":1}\n')
    project.interface(
        "mes",
        required_paths=["/id"],
        driver={"kind": "jsonl", "input": "../in.jsonl"},
        dead_letters={"kind": "file", "path": str(tmp_path / "letters.jsonl")},
    )
    run = ("run", "--interface", "interfaces/mes.json")
    assert rootsys(*run, "--output", "o.jsonl", cwd=project.root).returncode == 0
    done = rootsys(*run, "--state-root", tmp_path / "state", cwd=project.root)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "letters.jsonl").read_bytes().splitlines()) == 1


def test_a_replay_through_the_log_adds_records_and_never_moves_the_position(project):
    project.interface("mes", required_paths=["/id"])
    project.data("mes.jsonl", [{"id": 1}, {"n": 2}])
    run = ("run", "--interface", "interfaces/mes.json", "--state-root", "state")
    rootsys(*run, "--dlq", "d.jsonl", cwd=project.root)
    before = json.loads((project.root / "state/mes/v1/log/00000001.json").read_bytes())
    project.interface("mes")
    done = rootsys(*run, "--replay-dlq", "d.jsonl", cwd=project.root)
    assert "run 1: records=1 | dead_letters=0" in done.stdout
    after = json.loads((project.root / "state/mes/v1/log/00000002.json").read_bytes())
    assert after["mode"] == "replay"
    assert after["end"] == before["end"]
