"""``rootsys run NAME`` and ``--all``: interfaces and fabrics of a project, on from their last commits."""

import json

import pytest

from tests.command import events, json_lines, rootsys
from tests.conftest import ProjectFolder


@pytest.fixture
def shop(project: ProjectFolder) -> ProjectFolder:
    """Two interfaces, a fabric over them, and a fabric over that one, named so that the alphabet is wrong."""
    project.interface("mes", record_id_paths=["/id"])
    project.interface("qms", record_id_paths=["/id"])
    project.fabric("z-defects", ["mes", "qms"])
    project.fabric("a-all", ["z-defects"])
    project.data("mes.jsonl", [{"id": 1}, {"id": 1}])
    project.data("qms.jsonl", [{"id": 1}])
    return project


def ran(out: str) -> list[str]:
    return [event["interface"] for event in events(out, "run_summary")]


def test_all_runs_interfaces_and_then_fabrics_after_what_they_merge(shop):
    done = rootsys("run", "--all", cwd=shop.root)
    assert done.returncode == 0, done.stderr
    assert ran(done.stdout) == ["mes", "qms", "z-defects", "a-all"]
    assert len(shop.records("a-all")) == 2
    assert len(shop.lines("duplicates", "z-defects")) == 1


def test_names_run_in_the_order_in_which_records_flow_whatever_the_order_typed(shop):
    done = rootsys("run", "a-all", "z-defects", "mes", "mes", cwd=shop.root)
    assert ran(done.stdout) == ["mes", "z-defects", "a-all"]
    assert len(shop.records("a-all")) == 1


def test_a_second_run_has_nothing_to_do_and_makes_no_commit(shop):
    rootsys("run", "--all", cwd=shop.root)
    done = rootsys("run", "--all", cwd=shop.root)
    assert done.returncode == 0
    assert events(done.stdout, "commit") == []
    assert done.stderr.count("nothing new since commit 1") == 4


def test_a_run_goes_on_where_the_last_one_ended(shop):
    rootsys("run", "mes", cwd=shop.root)
    shop.data("mes.jsonl", [{"id": 2}], append=True)
    done = rootsys("run", "mes", cwd=shop.root)
    (commit,) = events(done.stdout, "commit")
    assert (commit["seq"], commit["records"]) == (2, 1)
    assert [record["record_id"] for record in shop.records()] == ["1", "1", "2"]


def test_one_failure_stops_nothing_else_and_shows_in_the_exit_code(shop):
    (shop.root / "data/mes.jsonl").unlink()
    done = rootsys("run", "--all", cwd=shop.root)
    assert done.returncode == 2
    assert "mes: input data/mes.jsonl does not exist" in done.stderr
    assert "not everything ran" in done.stderr
    assert ran(done.stdout) == ["qms", "z-defects", "a-all"]
    assert len(shop.records("a-all")) == 1


def test_what_is_switched_off_is_left_out_of_all_and_refused_by_name(shop):
    shop.interface("mes", enabled=False)
    assert ran(rootsys("run", "--all", cwd=shop.root).stdout) == ["qms", "z-defects", "a-all"]
    done = rootsys("run", "mes", cwd=shop.root)
    assert done.returncode == 2
    assert "[INTERFACE.DISABLED]" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["mes", "--all"],
        ["mes", "--interface", "interfaces/mes.json"],
        ["mes", "qms", "--output", "o"],
        ["--all", "--input", "x"],
        ["--all", "--replay-dlq", "x"],
        ["z-defects", "--input", "x"],
        ["--interface", "interfaces/mes.json", "--output", "o", "--project", "."],
        ["mes", "--dlq-sink", "sqlite"],
        ["z-defects", "--output", "o", "--dlq", "d"],
    ],
)
def test_options_that_contradict_each_other_end_in_two(shop, options):
    done = rootsys("run", *options, cwd=shop.root)
    assert done.returncode == 2
    assert not (shop.root / "o").exists()


def test_output_of_a_name_is_kept_equal_to_what_is_committed(shop):
    run = ("run", "mes", "--output", "out/o.jsonl", "--dlq-sink", "sqlite")
    assert rootsys(*run, cwd=shop.root).returncode == 0
    shop.data("mes.jsonl", [{"id": 2}], append=True)
    assert rootsys("run", "mes", cwd=shop.root).returncode == 0
    assert len((shop.root / "out/o.jsonl").read_bytes().splitlines()) == 2, "a run without --output leaves it alone"
    assert rootsys(*run, cwd=shop.root).returncode == 0
    assert (shop.root / "out/o.jsonl").read_bytes() == b"".join(line + b"\n" for line in shop.lines("records"))
    assert (shop.root / "out/o.dlq.db.jsonl").read_bytes().startswith(b"SQLite format 3")
    assert rootsys("run", "z-defects", "--output", "out/f.jsonl", cwd=shop.root).returncode == 0
    assert len((shop.root / "out/f.jsonl").read_bytes().splitlines()) == len(shop.records("z-defects"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: b"x" * len(text), id="another file of that length"),
        pytest.param(lambda text: text.replace(b'"2"', b'"3"'), id="one letter"),
        pytest.param(lambda text: b"a longer file\n" * 1000, id="a longer file"),
        pytest.param(lambda text: text[:-1], id="cut"),
        pytest.param(lambda text: text + b"{}\n", id="lines behind it"),
    ],
)
def test_an_output_that_was_changed_is_made_equal_again(shop, change):
    run = ("run", "mes", "--output", "o.jsonl")
    shop.data("mes.jsonl", [{"id": 1}, {"id": 2}])
    rootsys(*run, cwd=shop.root)
    output = shop.root / "o.jsonl"
    output.write_bytes(change(output.read_bytes()))
    shop.data("mes.jsonl", [{"id": 4}], append=True)
    assert rootsys(*run, cwd=shop.root).returncode == 0
    assert output.read_bytes() == b"".join(line + b"\n" for line in shop.lines("records"))


@pytest.mark.parametrize("output", ["data", "/dev/null"])
def test_an_export_that_is_no_file_is_refused_before_anything_is_read(shop, output):
    done = rootsys("run", "mes", "--output", output, cwd=shop.root)
    assert done.returncode == 2
    assert "[OUTPUT.NOT_A_FILE]" in done.stderr
    assert shop.records() == []


def test_the_dead_letter_sink_of_the_interface_follows_every_run(shop):
    shop.interface("mes", required_paths=["/x"], dead_letters={"kind": "file", "path": "dl/mes.jsonl"})
    done = rootsys("run", "mes", cwd=shop.root)
    assert done.returncode == 0, done.stderr
    assert (shop.root / "dl/mes.jsonl").read_bytes() == b"".join(line + b"\n" for line in shop.lines("dead_letters"))
    assert "2 new, at commit 1" in done.stderr


def test_a_limit_is_named_and_the_next_run_goes_on_from_it(shop):
    shop.interface("mes", record_id_paths=["/id"], limits={"max_run_records": 1})
    shop.data("mes.jsonl", [{"id": n} for n in range(20_000)])
    done = rootsys("run", "mes", cwd=shop.root)
    assert done.returncode == 0
    assert "stopped       by limits.max_run_records; running again goes on from here" in done.stderr
    (summary,) = events(done.stdout, "run_summary")
    assert summary["stopped"] == "limits.max_run_records"
    first = len(shop.records())
    assert 0 < first < 20_000
    shop.interface("mes", record_id_paths=["/id"])
    rootsys("run", "mes", cwd=shop.root)
    assert [record["record_id"] for record in shop.records()] == [str(n) for n in range(20_000)]


def test_a_last_line_without_its_end_waits_and_is_named(shop):
    with (shop.root / "data/mes.jsonl").open("ab") as stream:
        stream.write(b'{"id":')
    done = rootsys("run", "mes", cwd=shop.root)
    assert "waiting       6 B behind the last whole line" in done.stderr
    with (shop.root / "data/mes.jsonl").open("ab") as stream:
        stream.write(b"7}\n")
    done = rootsys("run", "mes", cwd=shop.root)
    assert "waiting" not in done.stderr
    assert shop.records()[-1]["record_id"] == "7"


def test_block_publishes_nothing_of_the_open_commit_and_names_the_line(shop):
    shop.interface("mes", on_fail="block")
    shop.data("mes.jsonl", [b'{"id":1}', b"{"])
    done = rootsys("run", "mes", cwd=shop.root)
    assert done.returncode == 1
    assert '"line":2' in done.stderr
    assert "[LINE.BLOCKED]" in done.stderr
    assert shop.records() == []


def test_skip_counts_by_name(shop):
    shop.interface("mes", on_fail="skip")
    shop.data("mes.jsonl", [b'{"id":1}', b"{", b" "])
    done = rootsys("run", "mes", cwd=shop.root)
    (summary,) = events(done.stdout, "run_summary")
    assert summary["skipped"] == {"PAYLOAD_DECODE_FAILED": 1, "blank": 1}
    assert summary["input_records"] == 2
    assert "1  PAYLOAD_DECODE_FAILED" in done.stderr


def test_a_replay_by_name_keeps_the_place_of_the_unit_and_of_the_source(shop):
    shop.interface("mes", required_paths=["/x"])
    rootsys("run", "mes", cwd=shop.root)
    exported = rootsys("dead-letters", "export", "mes", cwd=shop.root).stdout
    (shop.root / "again.jsonl").write_text(exported)
    shop.interface("mes", record_id_paths=["/id"])
    done = rootsys("run", "mes", "--replay-dlq", "again.jsonl", cwd=shop.root)
    assert done.returncode == 0, done.stderr
    records = shop.records()
    assert [record["metadata"]["source_details"]["position"]["line"] for record in records] == [1, 2]
    assert events(rootsys("run", "mes", cwd=shop.root).stdout, "commit") == []


def test_intervals_run_by_name_too(shop):
    interval = ("--schedule-mode", "interval", "--interval-seconds", "1", "--max-runs", "2")
    done = rootsys("run", "mes", "qms", *interval, cwd=shop.root)
    assert done.returncode == 0
    assert ran(done.stdout) == ["mes", "qms"] * 2
    (metrics,) = events(done.stdout, "pipeline_metrics")
    assert metrics["runs_total"] == 4
    assert metrics["integration_records_total"] == 3


def test_json_prints_nothing_but_json_and_every_commit_as_it_is_made(shop):
    shop.interface("mes", commit_every={"records": 1})
    shop.data("mes.jsonl", [{"id": n} for n in range(20_000)])
    done = rootsys("run", "mes", "--json", cwd=shop.root)
    assert done.stderr == ""
    lines = json_lines(done.stdout)
    assert {frozenset(line) for line in lines} == {frozenset({"event", "ts_unix_ms", "payload"})}
    seqs = [line["payload"]["seq"] for line in lines if line["event"] == "commit"]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 1
    (summary,) = events(done.stdout, "run_summary")
    assert summary["commits"] == seqs
    head = json.loads((shop.log().folder / f"log/{seqs[-1]:08d}.json").read_bytes())
    assert head["run_id"] == summary["run_id"]


def test_another_input_by_name_starts_where_the_user_is(shop):
    (shop.root / "data/other.jsonl").write_text('{"id":"other"}\n')
    done = rootsys("run", "mes", "--input", "other.jsonl", "--source", "by-hand", cwd=shop.root / "data")
    assert done.returncode == 0, done.stderr
    (record,) = shop.records()
    assert (record["record_id"], record["source"]) == ("other", "by-hand")
