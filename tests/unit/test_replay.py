"""Dead letters come back as the units they were, through the interface as it is now."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.log.verify import verify_log
from rootsys_dagster.pipeline.publish import publish
from rootsys_dagster.pipeline.replay import read_dead_letters
from rootsys_dagster.pipeline.run import ingest, open_line
from tests.conftest import ProjectFolder

LINES = [b'{"id":1,"n":1.50}', b'{"n": 2,  "id":null}', b"{broken", b"\xff\xfe", b'{"id":"x"}']


def rejected(project: ProjectFolder, **members: Any) -> Path:
    """A project with four dead letters of LINES in a file."""
    project.interface(required_paths=["/id", "/n"], dead_letters={"kind": "file", "path": "dead.jsonl"}, **members)
    project.data("mes.jsonl", LINES)
    project.run()
    publish(project.load().interface("mes"), project.load())
    return project.root / "dead.jsonl"


def replay(project: ProjectFolder, path: Path) -> None:
    opened = project.load()
    line = open_line(opened.interface("mes"), opened)
    with line.log.writer("replay") as writer:
        ingest(line, writer, read_dead_letters(path, "file"), mode="replay")


def test_units_come_back_byte_for_byte_and_in_order(project: ProjectFolder) -> None:
    batches = list(read_dead_letters(rejected(project), "file"))
    assert [unit for batch in batches for unit in batch.units] == LINES[1:]
    assert {batch.kind for batch in batches} == {"json"}


def test_a_mended_interface_accepts_what_it_refused_and_the_position_stays(project: ProjectFolder) -> None:
    path = rejected(project)
    before = project.log().head()
    project.interface(required_paths=[])
    replay(project, path)
    after = project.log().head()
    assert before is not None
    assert after is not None
    assert (after.mode, after.end) == ("replay", before.end)
    assert [record["payload"]["data"] for record in project.records()] == [
        {"id": 1, "n": 1.5},
        {"id": None, "n": 2},
        {"id": "x"},
    ]
    assert project.records()[1]["metadata"]["source_details"]["position"] == {"line": 2, "byte": 18, "length": 20}
    assert project.run().manifests == []


def test_what_was_cut_at_the_limit_stays_rejected(project: ProjectFolder) -> None:
    path = rejected(project, limits={"max_record_bytes": 12})
    project.interface(payload_format="unknown")
    replay(project, path)
    assert project.records() == [project.records()[0]]
    assert {code for letter in project.dead_letters() for code in letter["reason_codes"]} >= {"RECORD_TOO_LARGE"}


@pytest.mark.parametrize("has_codes", [True, False], ids=["table of now", "table of the first generation"])
def test_a_table_of_the_reference_is_read_in_the_order_of_its_ids(tmp_path: Path, has_codes: bool) -> None:
    path = tmp_path / "dead.db"
    payloads = ['{"kind":"Json","data":{"n": 1.50}}', '{"kind":"Text","data":"a b"}']
    errors = '[{"code":"MISSING_REQUIRED_PATH","path":"/id","message":"absent"}]'
    with closing(sqlite3.connect(path)) as connection, connection:
        extra = ", reason_codes_json TEXT, lineage_json TEXT" if has_codes else ""
        connection.execute(
            f"CREATE TABLE dlq (id INTEGER PRIMARY KEY, payload_json TEXT, metadata_json TEXT, errors_json TEXT{extra})"
        )
        for payload in payloads:
            connection.execute(
                "INSERT INTO dlq (payload_json, metadata_json, errors_json) VALUES (?, '{}', ?)", (payload, errors)
            )
        if has_codes:
            connection.execute("""UPDATE dlq SET reason_codes_json = '["MISSING_REQUIRED_PATH"]'""")
    batches = list(read_dead_letters(path, "sqlite", "dlq"))
    assert [(batch.kind, batch.units) for batch in batches] == [("json", [b'{"n": 1.50}']), ("text", [b"a b"])]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("{", id="not JSON"),
        pytest.param('{"payload": 1}', id="no payload"),
        pytest.param(
            json.dumps({"payload": {"kind": "Binary", "data": {"encoding": "base64", "data": "*"}}}), id="not base64"
        ),
    ],
)
def test_a_line_that_is_no_dead_letter_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "dead.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(ConfigError, match="line 2"):
        list(read_dead_letters(path, "file"))


@pytest.mark.parametrize("source", ["file", "sqlite"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, source: Any) -> None:
    with pytest.raises(ConfigError, match="cannot read dead letters"):
        list(read_dead_letters(tmp_path / "none", source))
    assert not (tmp_path / "none").exists()


def test_a_unit_of_several_lines_is_committed_on_one(project: ProjectFolder) -> None:
    project.interface(record_id_paths=["/id"])
    project.data("mes.jsonl", [])
    path = project.root / "dead.db"
    details = '{"source_type":"file","locator":null,\n"position":{\n"line":1}}'
    pretty = (
        '{\n"kind":"Json","data":{\n  "id": 1.50,\n  "b": "x"\n}}',
        json.dumps({"kind": "Text", "data": '{\n"id": 2}'}),
        json.dumps({"kind": "Text", "data": '{"id": "3\n"}'}),
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE dlq (id INTEGER PRIMARY KEY, payload_json, metadata_json, errors_json)")
        for payload in pretty:
            connection.execute(
                "INSERT INTO dlq (payload_json, metadata_json, errors_json) VALUES (?, ?, ?)",
                (payload, f'{{"source_details":{details}}}', '[{"code":"PAYLOAD_DECODE_FAILED"}]'),
            )
    opened = project.load()
    line = open_line(opened.interface("mes"), opened)
    with line.log.writer("replay") as writer:
        ingest(line, writer, read_dead_letters(path, "sqlite", "dlq"), mode="replay")
    assert verify_log(line.log) == []
    assert [record["record_id"] for record in project.records()] == ["1.5", "2"]
    # A line feed within a string makes it no JSON, on one line or on two.
    assert [letter["payload"]["data"] for letter in project.dead_letters()] == ['{"id": "3\n"}']


@pytest.mark.parametrize("errors", ["no JSON", "[{}]", "[1]", None], ids=str)
def test_a_row_whose_errors_cannot_be_read_is_named(tmp_path: Path, errors: str | None) -> None:
    path = tmp_path / "dead.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE dlq (id INTEGER PRIMARY KEY, payload_json, metadata_json, errors_json)")
        connection.execute('INSERT INTO dlq VALUES (7, \'{"kind":"Json","data":1}\', \'{}\', ?)', (errors,))
    with pytest.raises(ConfigError, match="row 7 is not a dead letter"):
        list(read_dead_letters(path, "sqlite", "dlq"))
