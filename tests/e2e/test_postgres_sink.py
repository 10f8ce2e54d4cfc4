"""Dead letters of several interfaces in one table of a real PostgreSQL, and what keeps them out of it."""

import uuid
from collections.abc import Iterator

import pytest

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.interface import load_interface, warnings_of
from rootsys_dagster.log.letters import LetterFilter
from rootsys_dagster.pipeline.mend import replay_letters
from rootsys_dagster.pipeline.publish import FollowerReport, publish
from rootsys_dagster.pipeline.run import open_line
from tests.conftest import ProjectFolder
from tests.databases import Postgres, postgres_server, shared

PASSWORD = "hunter2-canary"


@pytest.fixture
def server() -> Postgres:
    return shared(Postgres)


@pytest.fixture
def table() -> str:
    return f"letters_{uuid.uuid4().hex}"


def followed(project: ProjectFolder, name: str = "mes") -> FollowerReport:
    loaded = project.load()
    (report,) = publish(loaded.interface(name), loaded)
    return report


def with_sink(project: ProjectFolder, table: str, *names: str, connection: str = "env://LETTERS_URL") -> None:
    for name in names or ("mes",):
        policy = {"kind": "postgres", "connection": connection, "table": table}
        project.interface(name, required_paths=["/id"], record_id_paths=["/id"], dead_letters=policy)
        project.data(f"{name}.jsonl", [{"id": 1}, {"no": "id", "text": "ü \u0000 \U0001f600"}])
        project.run(name)


def states(server: Postgres, table: str) -> list[tuple[str, str, int]]:
    query = f"SELECT interface_name, state, attempts FROM {table} ORDER BY interface_name"
    return [(name, state, attempts) for name, state, attempts in server.rows(query)]


def test_two_interfaces_share_a_table_and_a_replay_shows_in_it(
    project: ProjectFolder, server: Postgres, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETTERS_URL", server.url)
    with_sink(project, table, "mes", "qms")
    assert [followed(project, name).error for name in ("mes", "qms")] == [None, None]
    assert states(server, table) == [("mes", "open", 1), ("qms", "open", 1)]
    project.interface("mes", dead_letters={"kind": "postgres", "connection": "env://LETTERS_URL", "table": table})
    loaded = project.load()
    replay_letters(open_line(loaded.interface("mes"), loaded), LetterFilter(), run_id="replay")
    for _ in range(2):
        assert followed(project).error is None
        assert states(server, table) == [("mes", "replayed", 2), ("qms", "open", 1)]


def test_a_table_that_was_dropped_is_filled_again_by_each_of_its_interfaces(
    project: ProjectFolder, server: Postgres, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETTERS_URL", server.url)
    with_sink(project, table, "mes", "qms")
    assert [followed(project, name).written for name in ("mes", "qms")] == [1, 1]
    server.execute(f"DROP TABLE {table}")
    assert followed(project, "qms").written == 1
    assert followed(project, "mes").written == 1
    assert followed(project, "mes").written == 0


@pytest.mark.parametrize(
    ("connection", "code"),
    [
        pytest.param("env://NOT_THERE", "SECRET.MISSING", id="no such secret"),
        pytest.param("nonsense", "POSTGRES.CONNECTION_INVALID", id="no URL"),
        pytest.param("{url}x?nonsense=1", "POSTGRES.CONNECTION_INVALID", id="a setting that libpq does not know"),
        pytest.param("{url}_not_there", "SINK.REFUSED", id="no such database"),
        pytest.param("{url}?sslmode=verify-full", "SINK.REFUSED", id="no TLS where it is asked for"),
        pytest.param("{url}?options=-csearch_path%3Dnone", "SINK.REFUSED", id="no such schema"),
    ],
)
def test_what_a_person_has_to_mend_is_said_without_the_password(
    project: ProjectFolder, server: Postgres, table: str, connection: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", PASSWORD)
    url = server.url.replace("app@", "app:${PASSWORD}@")
    with_sink(project, table, connection=connection.format(url=url))
    report = followed(project)
    assert isinstance(report.error, ConfigError), report
    assert report.error.code == code
    assert PASSWORD not in report.error.message
    assert len(project.dead_letters()) == 1


def test_a_role_that_may_only_insert_and_update_is_enough(
    project: ProjectFolder, server: Postgres, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETTERS_URL", server.url)
    with_sink(project, table)
    followed(project)
    role = f"writer_{uuid.uuid4().hex[:8]}"
    server.execute(f"CREATE ROLE {role} LOGIN", f"GRANT SELECT, INSERT, UPDATE ON {table} TO {role}")
    monkeypatch.setenv("LETTERS_URL", server.url.replace("app@", f"{role}@"))
    project.data("mes.jsonl", [{"no": "id either"}], append=True)
    project.run()
    assert followed(project).error is None
    assert len(states(server, table)) == 2


@pytest.fixture(scope="module")
def latin1() -> Iterator[Postgres]:
    with postgres_server(encoding="LATIN1") as found:
        yield found


def test_a_database_that_cannot_hold_every_character_is_refused_at_once(
    project: ProjectFolder, latin1: Postgres, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETTERS_URL", latin1.url)
    with_sink(project, table)
    report = followed(project)
    assert report.error is not None
    assert (report.error.code, "must be UTF8" in report.error.message) == ("SINK.REFUSED", True)


def test_a_password_in_clear_is_warned_of(project: ProjectFolder) -> None:
    policy = {"kind": "postgres", "connection": f"postgresql://app:{PASSWORD}@db/ops"}
    (warning,) = warnings_of(load_interface(project.interface(dead_letters=policy)))
    assert (warning.code, warning.pointer) == ("SECRET_LITERAL", "/dead_letters/connection")
    assert PASSWORD not in warning.message
