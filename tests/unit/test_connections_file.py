"""connections.json: every code at its pointer, and interfaces that are complete only with it."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

import rootsys_dagster.core
from rootsys_dagster.core.connections import ConnectionsFile, load_connections
from rootsys_dagster.core.document import parse_document
from rootsys_dagster.core.errors import InvalidFileError
from rootsys_dagster.core.project import load_project
from tests.conftest import ProjectFolder

Document = dict[str, Any]


def connection(kind: str, **members: Any) -> Document:
    blocks: dict[str, Document] = {
        "postgres": {"host": "db", "database": "ops"},
        "mysql": {"host": "db", "database": "ops"},
        "sqlite": {"path": "data/x.db"},
        "rest": {"url": "https://api.test/v1"},
        "smtp": {"host": "mail", "sender": "ops@example.com"},
    }
    return {"name": "one", "kind": kind, kind: blocks[kind] | members}


def only(*connections: Document, **more: Any) -> Document:
    return {"connections": list(connections), **more}


def entry(**members: Any) -> Document:
    return only(connection("sqlite") | members)


HERE = "/connections/0"
CODES: list[tuple[str, str, Document]] = [
    ("CONNECTION_NAME_INVALID", f"{HERE}/name", entry(name="the erp")),
    ("CONNECTION_MAX_RUNS_INVALID", f"{HERE}/max_runs", entry(max_runs=0)),
    ("CONNECTION_BLOCK_REQUIRED", f"{HERE}/mysql", only({"name": "one", "kind": "mysql"})),
    ("CONNECTION_BLOCK_UNEXPECTED", f"{HERE}/rest", entry(rest={"url": "https://api.test"})),
    ("CONNECTION_MEMBER_EMPTY", f"{HERE}/postgres/host", only(connection("postgres", host=" "))),
    ("CONNECTION_PORT_INVALID", f"{HERE}/mysql/port", only(connection("mysql", port=70000))),
    ("CONNECTION_SECRET_LITERAL", f"{HERE}/postgres/password_ref", only(connection("postgres", password_ref="pw"))),
    ("SECRET_LITERAL", f"{HERE}/rest/headers/X-Api-Key", only(connection("rest", headers={"X-Api-Key": "abc"}))),
    ("CONNECTION_CA_FILE_UNUSED", f"{HERE}/postgres/ca_file",
     only(connection("postgres", tls_mode="require", ca_file="ca.pem"))),
    ("CONNECTION_URL_INVALID", f"{HERE}/rest/url", only(connection("rest", url="ftp://api.test"))),
    ("CONNECTION_URL_INVALID", f"{HERE}/rest/url", only(connection("rest", url="https://u:p@api.test"))),
    ("REST_HOST_INVALID", f"{HERE}/rest/hosts/0", only(connection("rest", hosts=["https://x"]))),
    ("CONNECTION_SIGN_IN_INCOMPLETE", f"{HERE}/smtp/password_ref", only(connection("smtp", user="u"))),
    ("CONNECTION_SMTP_CLEAR", f"{HERE}/smtp/tls",
     only(connection("smtp", tls="none", user="u", password_ref="$P"))),
    ("MAIL_ADDRESS_INVALID", f"{HERE}/smtp/sender", only(connection("smtp", sender="a@b\nBcc: c@d"))),
    ("CONNECTION_DUPLICATE", "/connections/1/name", only(connection("sqlite"), connection("rest"))),
    ("CONNECTION_UNKNOWN", f"{HERE}/default_destination/connection",
     entry(default_destination={"connection": "on"})),
    ("CONNECTION_KIND_WRONG", f"{HERE}/default_destination/connection",
     only(connection("rest") | {"default_destination": {"connection": "one"}})),
]  # fmt: skip


def problems_of(document: Document) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFileError) as caught:
        parse_document(ConnectionsFile, json.dumps(document).encode(), "connections.json")
    return [(problem.code, problem.pointer) for problem in caught.value.problems]


@pytest.mark.parametrize(("code", "pointer", "document"), [pytest.param(*row, id=row[0]) for row in CODES])
def test_one_fault_gets_its_code_at_its_pointer_and_nothing_else(code: str, pointer: str, document: Document) -> None:
    assert problems_of(document) == [(code, pointer)]


def test_no_code_stands_in_the_source_that_is_not_listed_here() -> None:
    folder = Path(rootsys_dagster.core.__path__[0])
    written = set[str]()
    for module in ("connection_config", "connections"):
        for node in ast.walk(ast.parse((folder / f"{module}.py").read_text())):
            if isinstance(node, ast.Constant) and re.fullmatch(r"[A-Z]+(_[A-Z]+)+", str(node.value)):
                written.add(str(node.value))
    assert written - {"CONNECTIONS_UNUSABLE"} <= {code for code, _, _ in CODES}


# What an interface makes of its connection.

ERP = connection("postgres", user="app", password_ref="env://ERP_PASSWORD", pool={"max_connections": 3}) | {
    "name": "erp"
}
SHOP = connection("rest", headers={"X-Plant": "7"}, rate_limit={"requests_per_s": 2.0}) | {"name": "shop"}


def connected(project: ProjectFolder, driver: Document, **members: Any) -> list[tuple[str, str]]:
    (project.root / "connections.json").write_text(json.dumps(only(ERP, SHOP)))
    project.interface("mes", driver=driver, **members)
    return [(problem.code, problem.pointer) for problem in project.load().interface("mes").problems]


def test_a_database_is_read_where_the_connection_says_and_as_the_file_says(project: ProjectFolder) -> None:
    driver = {"kind": "db", "connection": "erp", "db": {"table": "orders", "partition_key": "id", "shards": 8}}
    assert connected(project, driver) == []
    db = project.load().interface("mes").require().driver.db
    assert db is not None
    assert (db.kind, db.table, db.shards, db.postgres_tls_mode) == ("postgres", "orders", 8, "verify-full")
    assert db.pool is not None
    assert db.pool.max_connections == 3
    assert db.connection == "host='db' user='app' password='env://ERP_PASSWORD' dbname='ops'"


def test_a_service_is_asked_below_the_url_of_its_connection(project: ProjectFolder) -> None:
    driver = {"kind": "rest", "connection": "shop", "rest": {"url": "/orders?open=1", "headers": {"X-Shift": "2"}}}
    assert connected(project, driver) == []
    rest = project.load().interface("mes").require().driver.rest
    assert rest is not None
    assert rest.url == "https://api.test/v1/orders?open=1"
    assert rest.headers == {"X-Plant": "7", "X-Shift": "2"}
    assert rest.rate_limit is not None


@pytest.mark.parametrize(
    ("driver", "problem"),
    [
        ({"kind": "db", "connection": "epr", "db": {"table": "t"}}, ("CONNECTION_UNKNOWN", "/driver/connection")),
        ({"kind": "db", "connection": "shop", "db": {"table": "t"}}, ("CONNECTION_KIND_WRONG", "/driver/connection")),
        (
            {"kind": "db", "connection": "erp", "db": {"kind": "mysql", "table": "t"}},
            ("CONNECTION_KIND_WRONG", "/driver/db/kind"),
        ),
        (
            {"kind": "db", "connection": "erp", "db": {"connection": "x", "table": "t"}},
            ("CONNECTION_MEMBER_CONFLICT", "/driver/db/connection"),
        ),
        (
            {"kind": "rest", "connection": "shop", "rest": {"url": "https://evil.test/"}},
            ("CONNECTION_MEMBER_CONFLICT", "/driver/rest/url"),
        ),
        (
            {"kind": "rest", "connection": "shop", "rest": {"url": "../admin"}},
            ("CONNECTION_MEMBER_CONFLICT", "/driver/rest/url"),
        ),
        (
            {"kind": "rest", "connection": "shop", "rest": {"url": "a", "proxy": "http://p"}},
            ("CONNECTION_MEMBER_CONFLICT", "/driver/rest/proxy"),
        ),
        ({"kind": "db", "connection": "erp", "db": {"table": "a b;"}}, ("DB_TABLE_INVALID", "/driver/db/table")),
        ({"kind": "db", "connection": "erp"}, ("DB_CONFIG_REQUIRED", "/driver/db")),
    ],
)
def test_what_does_not_fit_together_is_told_at_its_place(
    project: ProjectFolder, driver: Document, problem: tuple[str, str]
) -> None:
    assert connected(project, driver) == [problem]


def test_a_watermark_may_name_a_connection_and_no_other_kind(project: ProjectFolder) -> None:
    driver = {"kind": "db", "connection": "erp", "db": {"query": "SELECT {a}"}}
    for name, expected in [
        ("erp", []),
        ("shop", [("CONNECTION_KIND_WRONG", "/watermarks/0/connection")]),
        ("epr", [("CONNECTION_UNKNOWN", "/watermarks/0/connection")]),
        ("postgresql://elsewhere/db", []),
    ]:
        watermark = {"name": "a", "connection": name, "resolver_sql": "SELECT 1"}
        assert connected(project, driver, watermarks=[watermark]) == expected


def test_a_broken_file_is_the_problem_of_those_that_name_it_and_of_nobody_else(project: ProjectFolder) -> None:
    project.interface("plain")
    assert connected(project, {"kind": "db", "connection": "erp", "db": {"table": "t"}}) == []
    (project.root / "connections.json").write_text('{"connections": [{"name": "erp"}]}')
    loaded = load_project(project.root)
    assert [problem.code for problem in loaded.connections.problems] == ["FILE_MEMBER_REQUIRED"]
    assert loaded.interface("plain").problems == ()
    (problem,) = loaded.interface("mes").problems
    assert (problem.code, problem.pointer) == ("CONNECTIONS_UNUSABLE", "/driver/connection")


def test_a_project_needs_no_such_file(project: ProjectFolder) -> None:
    assert load_connections(project.root).by_name == {}
    assert load_connections(project.root).problems == ()
