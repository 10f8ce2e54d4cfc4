"""Named connections against real servers: tested from the command line, read by interfaces, limited in Dagster."""

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest

from rootsys_dagster.defs.build import build_definitions
from rootsys_dagster.defs.ops import fetch_op_of
from rootsys_dagster.defs.pools import set_limits
from tests.command import json_lines, rootsys
from tests.conftest import ProjectFolder
from tests.databases import MariaDb, Postgres, shared
from tests.http_server import Answer, http_server
from tests.mail_server import PASSWORD, mail_server
from tests.services import dagster, dagster_home

SECRETS = {"DB_PASSWORD": "s3cret-db", "API_TOKEN": "s3cret-api", "MAIL_PASSWORD": PASSWORD}
NOWHERE = 9
LOCAL = ("127.0.0.1", 0)


def connections(project: ProjectFolder, *entries: dict[str, Any], **more: Any) -> None:
    (project.root / "connections.json").write_text(json.dumps({"connections": entries, **more}))


def postgres(name: str = "erp", **members: Any) -> dict[str, Any]:
    port = urlsplit(shared(Postgres).url).port
    block = {"host": "127.0.0.1", "port": port, "database": "postgres", "user": "app", "tls_mode": "disable"}
    return {"name": name, "kind": "postgres", "postgres": block | {"password_ref": "env://DB_PASSWORD"}, **members}


def mysql(name: str) -> dict[str, Any]:
    port = urlsplit(shared(MariaDb).url).port
    return {
        "name": name,
        "kind": "mysql",
        "mysql": {"host": "127.0.0.1", "port": port, "database": "ops", "user": "app"},
    }


def service(name: str, url: str) -> dict[str, Any]:
    auth = {"kind": "bearer", "bearer": {"token": "env://API_TOKEN"}}
    return {"name": name, "kind": "rest", "rest": {"url": url, "auth": auth}}


def asked_for(project: ProjectFolder, *arguments: object) -> tuple[int, dict[str, dict[str, Any]], str]:
    done = rootsys("connections", "test", "--json", *arguments, cwd=project.root, more=SECRETS)
    return done.returncode, {line["name"]: line for line in json_lines(done.stdout)}, done.stdout + done.stderr


def test_every_kind_answers_when_its_server_does(project: ProjectFolder, tmp_path: Path) -> None:
    (project.root / "data" / "x.db").touch()
    with mail_server(tmp_path / "mail", "starttls") as mail, http_server(lambda _: Answer(204)) as api:
        smtp = {"host": "127.0.0.1", "port": mail.port, "user": "ops", "password_ref": "env://MAIL_PASSWORD"}
        connections(
            project,
            postgres(),
            mysql("shop"),
            {"name": "file", "kind": "sqlite", "sqlite": {"path": "data/x.db"}},
            service("api", api.url),
            {"name": "mail", "kind": "smtp", "smtp": {**smtp, "sender": "a@b.c", "ca_file": str(mail.ca_file)}},
        )
        code, found, _ = asked_for(project)
        assert api.asked[0].headers["authorization"] == "Bearer s3cret-api"
    assert {name: line["state"] for name, line in found.items()} == dict.fromkeys(
        ("erp", "shop", "file", "api", "mail"), "ok"
    )
    assert code == 0


def test_what_does_not_answer_fails_by_name_in_time_and_tells_no_secret(project: ProjectFolder) -> None:
    with http_server(lambda _: Answer(401, body=b"s3cret-api is wrong")) as api, socket.create_server(LOCAL) as silent:
        connections(
            project,
            postgres(),
            service("refuses", api.url),
            service("silent", f"http://127.0.0.1:{silent.getsockname()[1]}"),
            {"name": "gone", "kind": "smtp", "smtp": {"host": "127.0.0.1", "port": NOWHERE, "sender": "a@b.c"}},
            {"name": "unset", "kind": "smtp", "smtp": {"host": "127.0.0.1", "port": NOWHERE, "sender": "a@b.c",
                                                      "user": "u", "password_ref": "env://NOT_THERE"}},
        )  # fmt: skip
        code, found, output = asked_for(project, "--timeout-s", 4)
    assert code == 1
    assert {name: line["code"] for name, line in found.items()} == {
        "erp": None,
        "refuses": "REST.UNAUTHORIZED",
        "silent": found["silent"]["code"],
        "gone": "SMTP.UNREACHABLE",
        "unset": "SECRET.MISSING",
    }
    assert found["silent"]["code"] in ("REST.TIMEOUT", "REST.DEADLINE", "CONNECTION.TIMEOUT")
    assert found["silent"]["elapsed_ms"] <= 4500
    for secret in SECRETS.values():
        assert secret not in output
    assert asked_for(project, "unset")[0] == 2
    assert asked_for(project, "nobody")[0] == 2


@pytest.mark.parametrize("mode", ["tls", "starttls"])
def test_mail_is_signed_in_to_over_verified_tls_only(project: ProjectFolder, tmp_path: Path, mode: Any) -> None:
    with mail_server(tmp_path / "mail", mode) as mail:
        smtp = {"host": "127.0.0.1", "port": mail.port, "tls": mode, "sender": "a@b.c", "user": "ops"}
        smtp |= {"password_ref": "env://MAIL_PASSWORD"}
        known = smtp | {"ca_file": str(mail.ca_file)}
        connections(
            project,
            {"name": "known", "kind": "smtp", "smtp": known},
            {"name": "stranger", "kind": "smtp", "smtp": smtp},
            {"name": "wrong", "kind": "smtp", "smtp": known | {"password_ref": "env://DB_PASSWORD"}},
        )
        _, found, _ = asked_for(project)
    assert {name: line["code"] for name, line in found.items()} == {
        "known": None,
        "stranger": "SMTP.TLS",
        "wrong": "SMTP.SIGN_IN_REFUSED",
    }


def test_interfaces_read_through_their_connections(project: ProjectFolder) -> None:
    server = shared(Postgres)
    server.execute("DROP TABLE IF EXISTS named", "CREATE TABLE named AS SELECT n AS id FROM generate_series(1, 5) n")
    maria = shared(MariaDb)
    maria.execute("DROP TABLE IF EXISTS since", "CREATE TABLE since (at INT)", "INSERT INTO since VALUES (3)")
    with http_server(lambda _: Answer(body=b'[{"id": 1}, {"id": 2}]')) as api:
        connections(project, postgres(), mysql("other"), service("api", f"{api.url}/v1"))
        project.interface(
            "rows",
            driver={"kind": "db", "connection": "erp", "db": {"query": "SELECT id FROM named WHERE id > {since}::int"}},
            watermarks=[{"name": "since", "connection": "other", "resolver_sql": "SELECT at FROM since"}],
        )
        rest = {"url": "orders", "response_format": "json"}
        project.interface("orders", driver={"kind": "rest", "connection": "api", "rest": rest})
        done = rootsys("run", "rows", "orders", cwd=project.root, more=SECRETS)
        assert done.returncode == 0, done.stderr
        assert {asked.path for asked in api.asked} == {"/v1/orders"}
    assert [record["payload"]["data"] for record in project.records("rows")] == [{"id": 4}, {"id": 5}]
    assert len(project.records("orders")) > 0
    listed = json_lines(rootsys("connections", "list", "--json", cwd=project.root).stdout)
    assert {line["name"]: line["used_by"] for line in listed} == {"erp": ["rows"], "other": ["rows"], "api": ["orders"]}


def test_discover_and_propose_take_a_name_and_what_they_write_runs(project: ProjectFolder) -> None:
    server = shared(Postgres)
    server.execute("DROP TABLE IF EXISTS proposed", "CREATE TABLE proposed (id INT PRIMARY KEY, line TEXT)")
    server.execute("INSERT INTO proposed VALUES (1, 'a')")
    connections(project, postgres())
    assert "public.proposed" in rootsys("discover", "erp", cwd=project.root, more=SECRETS).stdout
    done = rootsys("propose", "erp", "proposed", "--allow", cwd=project.root, more=SECRETS)
    assert done.returncode == 0, done.stderr
    written = json.loads((project.root / "interfaces" / "proposed.json").read_text())
    assert written["driver"]["connection"] == "erp"
    assert set(written["driver"]["db"]) == {"query"}
    assert rootsys("run", "proposed", cwd=project.root, more=SECRETS).returncode == 0
    assert [record["record_id"] for record in project.records("proposed")] == ["1"]


def test_a_connection_is_a_source_and_a_pool_in_dagster(project: ProjectFolder) -> None:
    shared(Postgres).execute("DROP TABLE IF EXISTS pooled", "CREATE TABLE pooled AS SELECT 1 AS id")
    connections(project, postgres(max_runs=2))
    project.interface("rows", driver={"kind": "db", "connection": "erp", "db": {"table": "pooled"}})
    dagster_home(project.root)
    done = dagster(project.root, "job", "execute", "-m", "rootsys_dagster.definitions", "-j", "rows", **SECRETS)
    assert done.returncode == 0, done.stderr
    assert len(project.records("rows")) == 1
    defined = build_definitions(project.load()).resolve_all_asset_specs()
    assert {tuple(spec.key.path) for spec in defined} >= {("connection", "erp"), ("rows",)}
    assert fetch_op_of(project.load().interface("rows").require()).pool == "connection/erp"
    with dg.instance_for_test() as instance:
        found = project.load().connections
        assert set_limits(found, instance) == {"connection/erp": 2}
        assert set_limits(found, instance) == {}


def test_a_broken_connections_file_fails_the_checks_and_spares_the_others(project: ProjectFolder) -> None:
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    (project.root / "connections.json").write_text('{"connections": [{"name": "erp", "kind": "oracle"}]}')
    checked = rootsys("check", cwd=project.root)
    assert checked.returncode == 2
    assert "/connections/0/kind" in checked.stdout
    assert rootsys("run", "mes", cwd=project.root).returncode == 0
    dagster_home(project.root)
    validated = dagster(project.root, "definitions", "validate")
    assert validated.returncode != 0
    assert "/connections/0/kind" in validated.stderr + validated.stdout
