"""Loading interface files from disk: the reference's samples, and everything that is not a plain readable file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rootsys_dagster.core.db_config import DbConfig, Pool
from rootsys_dagster.core.document import MAX_FILE_BYTES, parse_document
from rootsys_dagster.core.errors import InvalidFileError
from rootsys_dagster.core.interface import load_interface
from rootsys_dagster.core.policy import CircuitBreaker, CommitEvery, Limits, Retry
from rootsys_dagster.core.rest_auth_config import RestAuth
from rootsys_dagster.core.rest_config import RestConfig
from rootsys_dagster.core.rest_paging_config import CursorPagination, PagePagination, RestPagination
from rootsys_dagster.core.stream_config import KafkaConfig

FIXTURES = Path(__file__).parents[1] / "fixtures" / "interfaces"


@pytest.mark.parametrize("path", sorted((FIXTURES / "valid").glob("*.json")), ids=lambda path: path.name)
def test_the_sample_files_of_the_reference_load_unchanged(path: Path) -> None:
    assert load_interface(path).version == "v1"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("unknown-driver-kind.json", [("FILE_VALUE_INVALID", "/driver/kind")]),
        ("rest-without-url.json", [("FILE_MEMBER_REQUIRED", "/driver/rest/url")]),
        ("unknown-member.json", [("FILE_MEMBER_UNKNOWN", "/record_id_path")]),
    ],
)
def test_the_invalid_files_of_the_reference_are_refused(name: str, found: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidFileError) as caught:
        load_interface(FIXTURES / "invalid" / name)
    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == found


def test_defaults_are_those_of_the_reference_and_of_the_design(tmp_path: Path) -> None:
    path = tmp_path / "mes.json"
    path.write_text('{"name": "mes", "version": "v1"}')
    interface = load_interface(path)
    assert (interface.driver.kind, interface.driver.input, interface.payload_format) == ("jsonl", None, "unknown")
    assert (interface.driver.eof, interface.driver.on_replace) == ("wait", "fail")
    assert (interface.record_id_paths, interface.required_paths) == ((), ())
    assert (interface.record_id_policy, interface.on_fail, interface.enabled) == ("hash_fallback", "quarantine", True)
    assert interface.limits == Limits(max_record_bytes=16 * 1024 * 1024)
    assert interface.commit_every == CommitEvery(records=1_000_000, bytes=256 * 1024 * 1024, seconds=60)
    assert interface.dead_letters is None


def test_defaults_of_the_other_drivers_are_those_of_the_reference() -> None:
    rest = parse_document(RestConfig, b'{"url": "u"}', "rest")
    assert (rest.method, rest.headers, rest.timeout_ms, rest.response_format) == ("GET", {}, 5000, "unknown")
    assert (rest.retry, rest.circuit_breaker, rest.auth, rest.pagination) == (None, None, None, None)
    assert (CircuitBreaker().failure_threshold, CircuitBreaker().open_timeout_ms) == (5, 30_000)
    retry = Retry()
    assert (retry.max_attempts, retry.base_delay_ms, retry.max_delay_ms, retry.jitter_percent) == (3, 100, 2000, 20)
    assert (Pool().min_connections, Pool().max_connections) == (1, 10)
    database = parse_document(DbConfig, b'{"connection": "c", "query": "q"}', "db")
    assert (database.kind, database.postgres_tls_mode, database.pool) == ("sqlite", "disable", None)
    text = b'{"brokers": ["b"], "topic": "t", "group_id": "g", "format": "json", "mvp_input": "-"}'
    kafka = parse_document(KafkaConfig, text, "kafka")
    assert (kafka.mode, kafka.max_batch_records, kafka.poll_timeout_ms) == ("mvp_file", 500, 1000)
    assert (kafka.start_offset, kafka.checkpoint_file) == ("latest", None)
    cursor = parse_document(CursorPagination, b'{"cursor_param": "c", "cursor_path": "/c"}', "cursor")
    page = parse_document(PagePagination, b'{"page_param": "p", "page_size_param": "s", "page_size": 1}', "page")
    assert (cursor.initial_cursor, cursor.max_pages, page.initial_page, page.max_pages) == (None, 100, 1, 100)
    assert (RestAuth().kind, RestPagination().kind) == ("api_key", "page")


def test_an_interface_cannot_be_changed_once_loaded() -> None:
    interface = load_interface(FIXTURES / "valid" / "mes.db.json")
    with pytest.raises(ValueError, match="frozen"):
        interface.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: None, "does not exist; check the path", id="missing"),
        pytest.param(lambda path: path.mkdir(), "is a directory; name a file in it", id="directory"),
        pytest.param(os.mkfifo, "is a pipe, a socket or a device", id="FIFO"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "is a pipe, a socket or a device", id="endless device"),
        pytest.param(lambda path: path.symlink_to(path), "too many levels of symbolic links", id="loop of links"),
        pytest.param(lambda path: path.symlink_to("gone"), "does not exist; check the path", id="dangling link"),
        pytest.param(
            lambda path: path.write_bytes(b" " * (MAX_FILE_BYTES + 1)), "is larger than 4 MiB", id="too large"
        ),
    ],
)
@pytest.mark.timeout(10)
def test_a_path_that_is_no_readable_file_is_one_problem_of_the_file(tmp_path: Path, make, message: str) -> None:
    path = tmp_path / "mes.json"
    make(path)
    with pytest.raises(InvalidFileError) as caught:
        load_interface(path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == ("FILE_UNREADABLE", "")
    assert message in problem.message
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a\0b.json", "\ud800.json", "x" * 300 + ".json", "file.json/mes.json"])
def test_a_name_that_no_file_can_have_is_refused_in_the_same_way(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.json").write_text("{}")
    with pytest.raises(InvalidFileError) as caught:
        load_interface(tmp_path / name)
    assert [problem.code for problem in caught.value.problems] == ["FILE_UNREADABLE"]


def test_a_file_of_somebody_else_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "mes.json"
    path.write_text("{}")
    path.chmod(0)
    user = os.geteuid()
    try:
        # Root may read every file, so it becomes nobody for a moment.
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(InvalidFileError, match="change its mode or owner"):
            load_interface(path)
    finally:
        os.seteuid(user)


def test_interfaces_cost_pydantic_and_nothing_else_to_import() -> None:
    code = "import sys, rootsys_dagster.core.project; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "pydantic" in loaded
    assert not loaded & {"dagster", "httpx", "msgspec", "numpy", "orjson", "pyarrow", "rich", "sqlalchemy", "kafka"}


def test_errors_and_pointers_cost_nothing_but_the_standard_library() -> None:
    code = "import sys, rootsys_dagster.core.errors, rootsys_dagster.core.pointer; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (loaded.returncode, loaded.stderr) == (0, "")
    assert "pydantic" not in loaded.stdout.split()
