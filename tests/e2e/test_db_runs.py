"""Databases through the whole line: the reference's samples and its smoke steps, watermarks, what a run may not do."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.examples.samples import Row, mes_rows, qms_rows
from tests.command import events, json_lines, rootsys
from tests.conftest import ProjectFolder
from tests.databases import MariaDb, Postgres, Server, shared

FIXTURES = Path(__file__).parents[1] / "fixtures" / "interfaces" / "valid"
SAMPLES = {"mes": ("defect_events", list(mes_rows(2))), "qms": ("quality_claims", list(qms_rows(2)))}


def fill(path: Path, table: str, rows: list[Row]) -> None:
    """A SQLite database with one table."""
    names = list(rows[0])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE {table} ({', '.join(names)})")
        marks = ", ".join("?" * len(names))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", [tuple(row.values()) for row in rows])


@pytest.fixture
def samples(project: ProjectFolder) -> ProjectFolder:
    for name, (table, rows) in SAMPLES.items():
        fill(project.root / "data" / f"{name}.db", table, rows)
        document = json.loads((FIXTURES / f"{name}.db.json").read_text())
        project.interface(**document)
    return project


def test_rs68_a_database_runs_with_the_command_line_of_the_reference(samples: ProjectFolder) -> None:
    done = rootsys("run", "--interface", "interfaces/mes.json", "--output", "mes.jsonl", cwd=samples.root)
    assert done.returncode == 0
    assert (samples.root / "mes.jsonl").stat().st_size > 0
    assert events(done.stdout, "pipeline_metrics")


def test_rs70_ids_come_in_order_and_merge_mes_first(samples: ProjectFolder) -> None:
    for name in SAMPLES:
        rootsys("run", "--interface", f"interfaces/{name}.json", "--output", f"{name}.jsonl", cwd=samples.root)
    merge = ("merge", "--inputs", "mes.jsonl", "--inputs", "qms.jsonl", "--output", "all.jsonl")
    assert rootsys(*merge, cwd=samples.root).returncode == 0
    records = json_lines((samples.root / "all.jsonl").read_bytes())
    ids = [record["record_id"] for record in records]
    assert ids == ["DEF-1001|LOT-77", "DEF-1002|LOT-78", "CLAIM-9001", "CLAIM-9002"]
    assert [record["source"] for record in records] == ["mes", "mes", "qms", "qms"]
    details = records[0]["metadata"]
    assert details["content_type"] == "application/json"
    assert details["source_details"] == {"source_type": "db/sqlite", "locator": None, "position": {"row": 1}}


@pytest.mark.parametrize(("kind", "prefix"), [(Postgres, "PG"), (MariaDb, "MY")])
def test_the_smoke_steps_of_the_reference(project: ProjectFolder, kind: type[Server], prefix: str) -> None:
    server = shared(kind)
    values = ", ".join(f"('{prefix}-{i:04d}', 'LOT-{prefix}-{i}', 'note {i}')" for i in range(1, 201))
    server.execute(
        "DROP TABLE IF EXISTS defect_events",
        "CREATE TABLE defect_events (defect_id varchar(20), lot_id varchar(20), notes text)",
        f"INSERT INTO defect_events VALUES {values}",
    )
    name = {"PG": "postgres", "MY": "mysql"}[prefix]
    document = json.loads((FIXTURES / f"{name}-sample.json").read_text())
    document["driver"]["db"]["connection"] = server.url
    project.interface(**document)
    done = rootsys("run", document["name"], cwd=project.root)
    assert done.returncode == 0, done.stderr
    ids = [record["record_id"] for record in project.records(document["name"])]
    assert len(ids) == len(set(ids)) == 200
    assert (ids[0], ids[-1]) == (f"{prefix}-0001|LOT-{prefix}-1", f"{prefix}-0200|LOT-{prefix}-200")


def test_a_full_read_takes_the_place_of_the_one_before(samples: ProjectFolder) -> None:
    samples.run("mes")
    with closing(sqlite3.connect(samples.root / "data" / "mes.db")) as connection, connection:
        connection.execute("DELETE FROM defect_events WHERE defect_id = 'DEF-1001'")
    samples.run("mes")
    shown = rootsys("records", "mes", cwd=samples.root)
    assert [record["record_id"] for record in json_lines(shown.stdout)] == ["DEF-1002|LOT-78"]


def test_an_empty_result_is_no_records_and_no_failure(samples: ProjectFolder) -> None:
    samples.interface("mes", driver=database("data/mes.db", query="SELECT * FROM defect_events WHERE 0"))
    assert rootsys("run", "mes", cwd=samples.root).returncode == 0
    assert samples.records("mes") == []


def database(connection: str, kind: str = "sqlite", **members: Any) -> dict[str, Any]:
    return {"kind": "db", "db": {"kind": kind, "connection": connection, **members}}


def test_a_missing_file_is_named_and_not_created(project: ProjectFolder) -> None:
    project.interface("mes", driver=database("data/none.db", table="t"))
    done = rootsys("run", "mes", cwd=project.root)
    assert done.returncode == 2
    assert "database data/none.db does not exist" in done.stderr
    assert not (project.root / "data" / "none.db").exists()


def test_a_file_outside_of_the_project_is_refused(project: ProjectFolder, tmp_path: Path) -> None:
    fill(tmp_path / "other.db", "t", [{"a": 1}])
    project.interface("mes", driver=database("../other.db", table="t"))
    done = rootsys("run", "mes", cwd=project.root)
    assert done.returncode == 2
    assert "outside" in done.stderr


WRITES = [
    "DELETE FROM t",
    "INSERT INTO t VALUES (9)",
    "DROP TABLE t",
    "SELECT 1; DROP TABLE t",
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
    "SELECT * INTO u FROM t",
    "SELECT a) AS q; DROP TABLE t; --",
    "COMMIT; DELETE FROM t",
    "SELECT nextval('s')",
    "SELECT * FROM t INTO OUTFILE '/tmp/rootsys-written'",
    "ATTACH DATABASE 'data/other.db' AS other",
    "PRAGMA user_version = 7",
    "CALL p()",
    "",
]


@pytest.mark.parametrize("query", [query for query in WRITES if query])
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql"])
def test_nothing_that_writes_is_run(project: ProjectFolder, kind: str, query: str) -> None:
    connection, server = "data/s.db", None
    if kind == "sqlite":
        fill(project.root / "data" / "s.db", "t", [{"a": 1}])
    else:
        server = shared(Postgres if kind == "postgres" else MariaDb)
        connection = server.url
        server.execute("DROP TABLE IF EXISTS t", "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")
        if kind == "postgres":
            server.execute("CREATE SEQUENCE IF NOT EXISTS s")
    project.interface("mes", driver=database(connection, kind, query=query))
    with pytest.raises(RootsysError):
        project.run()
    assert project.records() == []
    if server is None:
        with closing(sqlite3.connect(project.root / "data" / "s.db")) as opened:
            assert opened.execute("SELECT a FROM t").fetchall() == [(1,)]
            assert opened.execute("PRAGMA user_version").fetchone() == (0,)
        assert not (project.root / "data" / "other.db").exists()
    else:
        assert server.rows("SELECT a FROM t") == [(1,)]


def test_named_watermarks_are_resolved_bound_shown_and_kept(project: ProjectFolder) -> None:
    server = shared(Postgres)
    server.execute(
        "DROP TABLE IF EXISTS events, marks",
        "CREATE TABLE events (id int, at timestamptz, line text)",
        "INSERT INTO events SELECT i, timestamptz '2026-01-01' + i * interval '1 hour', 'L' || i % 2 "
        "FROM generate_series(1, 10) i",
        "CREATE TABLE marks (at timestamptz)",
        "INSERT INTO marks VALUES ('2026-01-01 05:00Z')",
    )
    fill(project.root / "data" / "lines.db", "lines", [{"name": "L'1"}])
    project.interface(
        "events",
        driver=database(
            server.url,
            "postgres",
            query="SELECT id, line FROM events WHERE at > {since} AND line <> {other} AND id < '{top}' ORDER BY id",
        ),
        watermarks=[
            {"name": "since", "resolver_sql": "SELECT max(at) FROM marks"},
            {"name": "other", "connection": "sqlite://data/lines.db", "resolver_sql": "SELECT name FROM lines"},
            {"name": "top", "resolver_sql": "SELECT NULL", "default": "9"},
        ],
    )
    plan = json.loads(rootsys("preview", "events", "--json", "--limit", "0", cwd=project.root).stdout)["plan"]
    assert plan["watermarks"] == {"since": "2026-01-01 05:00:00+00", "other": "L'1", "top": "9"}
    assert "at > $1 AND line <> $2 AND id < $3" in plan["sql"]
    done = rootsys("run", "events", cwd=project.root)
    assert done.returncode == 0, done.stderr
    assert [record["payload"]["data"]["id"] for record in project.records("events")] == [6, 7, 8]
    manifest = json.loads(next((project.root / ".rootsys/events/v1/log").glob("0*.json")).read_text())
    assert manifest["asked"]["watermarks"] == plan["watermarks"]
    assert manifest["asked"]["sql"] == plan["sql"]


def test_a_placeholder_where_nothing_can_be_bound_is_refused_unless_it_is_literal(project: ProjectFolder) -> None:
    fill(project.root / "data" / "s.db", "t", [{"a": "x-7"}, {"a": "x-8"}])
    watermark = {"name": "n", "resolver_sql": "SELECT 7"}
    driver = database("data/s.db", query="SELECT a FROM t WHERE a = 'x-{n}'")
    project.interface("mes", driver=driver, watermarks=[watermark])
    done = rootsys("run", "mes", cwd=project.root)
    assert done.returncode == 2
    assert "WATERMARK.NOT_BINDABLE" in done.stderr
    project.interface("mes", driver=driver, watermarks=[watermark | {"literal": True}])
    assert rootsys("run", "mes", cwd=project.root).returncode == 0
    assert [record["payload"]["data"] for record in project.records()] == [{"a": "x-7"}]


def test_no_password_is_shown_anywhere(project: ProjectFolder) -> None:
    project.interface("mes", driver=database("postgresql://app:${ROOTSYS_PW}@127.0.0.1:1/ops", "postgres", table="t"))
    done = rootsys("run", "mes", cwd=project.root, more={"ROOTSYS_PW": "s3cret!pass"})
    assert done.returncode == 1
    assert "DB.CONNECTION_LOST" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout


def test_a_password_in_clear_is_a_warning_and_an_error_under_strict(project: ProjectFolder) -> None:
    project.interface("mes", driver=database("host=h user=u password=hunter22 dbname=d", "postgres", table="t"))
    done = rootsys("check", "mes", cwd=project.root)
    assert "SECRET_LITERAL" in done.stdout + done.stderr
    assert done.returncode == 0
    assert rootsys("check", "mes", cwd=project.root, more={"ROOTSYS_LINT_PROFILE": "strict"}).returncode == 2
