"""What a database holds, and an interface file that is made from it and runs."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.command import json_lines, rootsys
from tests.conftest import ProjectFolder
from tests.databases import MariaDb, Postgres, shared

CREATE = """
CREATE TABLE orders (
  "DCORD#" integer NOT NULL, line integer NOT NULL, "Name 1" char(10), due date, updated_at timestamp NOT NULL,
  shipped timestamp, amount decimal(10, 2), PRIMARY KEY ("DCORD#", line)
)"""
INSERT = """
INSERT INTO orders VALUES
  (1, 1, 'bolt', '9999-12-31', '2026-01-01 00:00:01', '9999-12-31 00:00:00', 1.50),
  (1, 2, 'nut', '2026-02-01', '2026-01-01 00:00:02', '2026-01-03 00:00:00', 2.00)"""


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def connection(request: pytest.FixtureRequest, project: ProjectFolder) -> str:
    if request.param == "sqlite":
        with closing(sqlite3.connect(project.root / "data" / "s.db")) as opened, opened:
            opened.executescript(f"{CREATE};{INSERT}")
        return "data/s.db"
    server = shared(Postgres if request.param == "postgres" else MariaDb)
    create = CREATE if request.param == "postgres" else CREATE.replace('"', "`").replace("timestamp", "datetime")
    server.execute("DROP TABLE IF EXISTS orders", create, INSERT)
    return server.url


def test_discover_lists_tables_and_how_to_read_them_on(project: ProjectFolder, connection: str) -> None:
    done = rootsys("discover", connection, "--json", cwd=project.root)
    assert done.returncode == 0, done.stderr
    orders = next(one for one in json_lines(done.stdout) if one["table"].split(".")[-1] == "orders")
    assert orders["key"] == ["DCORD#", "line"]
    assert (orders["watermark"], orders["tie_breaker"]) == ("updated_at", ["DCORD#", "line"])
    assert [column["name"] for column in orders["columns"]][:3] == ["DCORD#", "line", "Name 1"]


def test_what_is_proposed_runs(project: ProjectFolder, connection: str) -> None:
    project.interface("other")
    done = rootsys("propose", connection, "orders", "--allow", cwd=project.root)
    assert done.returncode == 0, done.stderr
    document = json.loads((project.root / "interfaces" / "orders.json").read_text())
    assert document["record_id_paths"] == ["/dcord", "/line"]
    assert document["incremental"] == {"field": "updated_at", "tie_breaker": ["dcord", "line"], "lateness_s": 60}
    done = rootsys("run", "orders", cwd=project.root)
    assert done.returncode == 0, done.stderr
    records = project.records("orders")
    assert [record["record_id"] for record in records] == ["1|1", "1|2"]
    first, second = (record["payload"]["data"] for record in records)
    assert (first["name_1"], first["due"], first["shipped"]) == ("bolt", None, None)
    assert (second["due"], second["shipped"][:10]) == ("2026-02-01", "2026-01-03")


def test_nothing_is_written_over_and_no_password_is_written_down(project: ProjectFolder) -> None:
    with closing(sqlite3.connect(project.root / "data" / "s.db")) as opened, opened:
        opened.executescript(CREATE)
    path = project.root / "interfaces" / "orders.json"
    path.write_text("{}")
    assert rootsys("propose", "data/s.db", "orders", cwd=project.root).returncode == 2
    assert path.read_text() == "{}"
    done = rootsys("propose", "postgresql://app:s3cret!pass@h/ops", "orders", cwd=project.root)
    assert done.returncode == 2
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("name", ["nowhere.db", "ftp://host/ops", "postgresql://app@127.0.0.1:1/ops"])
def test_what_is_no_database_is_named(project: ProjectFolder, name: str) -> None:
    done = rootsys("discover", name, cwd=project.root)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error:")


def test_the_database_of_an_interface_goes_by_its_name(project: ProjectFolder, tmp_path: Path) -> None:
    with closing(sqlite3.connect(project.root / "data" / "s.db")) as opened, opened:
        opened.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    db = {"kind": "sqlite", "connection": "data/s.db", "table": "t"}
    project.interface("mes", driver={"kind": "db", "db": db})
    done = rootsys("discover", "mes", "--json", cwd=project.root)
    assert json_lines(done.stdout)[0]["watermark"] == "id"
