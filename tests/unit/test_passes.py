"""Reads that cannot be split, that replace what was before, or that bring units again."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import ConfigError, PermanentError, RootsysError, TransientError
from rootsys_dagster.core.interface import Interface, parse_interface
from rootsys_dagster.core.ports import Batch, Driver, DriverContext
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.registry import LOCATORS
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.verify import verify_log
from rootsys_dagster.pipeline.export import export_lines
from rootsys_dagster.pipeline.fetch import Spooled, fetch_to_spool, read_spool
from rootsys_dagster.pipeline.run import Line, RunReport, ingest, run_fetched


@LOCATORS.register("numbered")
@dataclass(frozen=True, slots=True)
class Numbered:
    """Where units of the source below stood."""

    first: int
    source_type: str = "numbers"
    locator: str | None = "numbers"
    content_type: str | None = None
    filename: str | None = None

    def positions(self, units: Sequence[bytes]) -> Iterable[bytes]:
        return [b'{"n":%d}' % (self.first + n) for n in range(len(units))]

    def to_json(self) -> dict[str, Any]:
        return {"kind": "numbered", "first": self.first}


def batch(first: int, units: int, end: int, **more: Any) -> Batch:
    content = [b'{"id": %d}' % n for n in range(first, first + units)]
    return Batch(content, "json", Numbered(first), {"at": end}, units, **more)


class Numbers(Driver[DriverConfig]):
    """A source that gives the batches a test has made, and then perhaps fails."""

    source_type = "numbers"
    batches: Sequence[Batch] = ()
    failure: Exception | None = None
    overlap = 0

    def check(self) -> None:
        pass

    def read(self, resume: Position | None) -> Iterator[Batch]:
        yield from self.batches
        if self.failure is not None:
            raise self.failure

    @property
    def remembers_units(self) -> bool:
        return self.overlap > 0

    def rereads(self, resume: Position, end: Position) -> bool:
        return end["at"] > resume["at"] - self.overlap


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return line_of(tmp_path)


def line_of(root: Path, **members: Any) -> Line:
    document = {"name": "numbers", "version": "v1", "driver": {"kind": "jsonl"}, "record_id_paths": ["/id"], **members}
    interface: Interface = parse_interface(json.dumps(document).encode(), "numbers.json")
    driver = Numbers(interface.driver, DriverContext(root, (root,), 1 << 20))
    return Line(interface, "0" * 64, CommitLog(root / "state", StreamId("numbers", "v1")), driver, "numbers")


def run(line: Line, *batches: Batch, failure: Exception | None = None, stop: bool = False) -> RunReport:
    driver = line.driver
    assert isinstance(driver, Numbers)
    driver.batches, driver.failure = batches, failure
    with line.log.writer("run") as writer:
        return ingest(line, writer, driver.read(writer.position), stop=(lambda: True) if stop else None)


def ids(line: Line) -> list[int]:
    return [json.loads(record)["payload"]["data"]["id"] for record in export_lines(line.log, "records")]


def test_a_commit_never_ends_with_a_batch_that_cannot_be_resumed_at(tmp_path: Path) -> None:
    line = line_of(tmp_path, commit_every={"records": 1})
    report = run(line, batch(0, 2, 1), batch(2, 2, 1, resumable=False), batch(4, 2, 2, resumable=False), batch(6, 2, 3))
    assert [(commit.end["at"], commit.counts.fetched) for commit in report.manifests] == [(1, 2), (3, 6)]


def test_what_comes_before_is_committed_and_does_not_fall_with_it(line: Line) -> None:
    with pytest.raises(TransientError):
        run(line, batch(0, 2, 1), batch(2, 2, 1, resumable=False), failure=TransientError("gone"))
    assert ids(line) == [0, 1]
    assert not verify_log(line.log)


def test_a_stop_in_the_middle_gives_up_what_cannot_be_split(line: Line) -> None:
    report = run(line, batch(0, 2, 0, resumable=False), batch(2, 2, 1), stop=True)
    assert report.stopped == "stop requested"
    assert ids(line) == []


@pytest.mark.parametrize("spooled", [False, True])
def test_a_limit_that_could_never_be_passed_is_an_error(tmp_path: Path, spooled: bool) -> None:
    line = line_of(tmp_path, limits={"max_run_records": 3})
    batches = [batch(0, 4, 0, resumable=False), batch(4, 4, 1)]
    assert isinstance(line.driver, Numbers)
    line.driver.batches = batches
    with pytest.raises(ConfigError) as caught:
        _ = fetch_to_spool(line, "run") if spooled else run(line, *batches)
    assert caught.value.code == "LIMITS.NOT_RESUMABLE"
    assert ids(line) == []


def test_a_read_that_brings_everything_anew_makes_history_of_what_was_before(line: Line) -> None:
    run(line, batch(0, 3, 1, replaces=True))
    run(line, batch(1, 2, 2, replaces=True), batch(5, 1, 3))
    assert ids(line) == [1, 2, 5]
    head = line.log.head()
    assert head is not None
    assert (head.seq, head.replaced) == (2, 1)
    run(line, batch(7, 1, 4))
    assert ids(line) == [1, 2, 5, 7]
    run(line, Batch([], "json", Numbered(0), {"at": 5}, 0, replaces=True))
    assert ids(line) == []
    assert not verify_log(line.log)


def test_units_that_a_read_brings_again_are_committed_once(line: Line) -> None:
    assert isinstance(line.driver, Numbers)
    line.driver.overlap = 10
    run(line, batch(0, 3, 3))
    report = run(line, batch(1, 4, 5))
    assert (report.counts.accepted, report.counts.skipped) == (2, {"already_committed": 2})
    assert ids(line) == [0, 1, 2, 3, 4]
    positions = [json.loads(record)["metadata"]["source_details"] for record in export_lines(line.log, "records")]
    assert [details["position"]["n"] for details in positions] == [0, 1, 2, 3, 4]
    assert not verify_log(line.log)


def test_a_unit_that_has_changed_is_committed_again(line: Line) -> None:
    assert isinstance(line.driver, Numbers)
    line.driver.overlap = 10
    run(line, batch(0, 1, 1))
    run(line, Batch([b'{"id": 0, "v": 2}'], "json", Numbered(0), {"at": 2}, 1))
    assert ids(line) == [0, 0]


def test_a_dead_letter_that_is_read_again_is_not_kept_twice(line: Line) -> None:
    assert isinstance(line.driver, Numbers)
    line.driver.overlap = 10
    for end in (1, 2):
        run(line, Batch([b"no json", b'{"id": %d}' % end], "json", Numbered(0), {"at": end}, 2))
    assert len(list(export_lines(line.log, "dead_letters"))) == 1


def test_a_read_that_brings_nothing_new_makes_no_commit(line: Line) -> None:
    assert isinstance(line.driver, Numbers)
    line.driver.overlap = 10
    run(line, batch(0, 3, 3))
    report = run(line, batch(0, 3, 3))
    assert report.manifests == []
    assert report.counts.skipped == {"already_committed": 3}


def test_only_commits_within_the_overlap_are_looked_at(line: Line) -> None:
    assert isinstance(line.driver, Numbers)
    line.driver.overlap = 2
    run(line, batch(0, 3, 3))
    run(line, batch(3, 3, 9))
    run(line, batch(0, 6, 12))
    assert ids(line) == [0, 1, 2, 3, 4, 5, 0, 1, 2]


def test_what_was_asked_stands_in_the_manifest_and_passes_the_spool(line: Line) -> None:
    assert isinstance(line.driver, Numbers)
    line.driver.batches = [
        batch(0, 2, 1, replaces=True, resumable=False, asked={"sql": "SELECT 1"}),
        batch(2, 2, 2),
    ]
    spooled = fetch_to_spool(line, "run")
    report = run_fetched(line, read_spool(spooled), spooled.start, run_id="run")
    assert [commit.asked for commit in report.manifests] == [{"sql": "SELECT 1"}]
    assert ids(line) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "error",
    [TransientError("gone", retry_after_s=7, code="REST.TIMEOUT"), PermanentError("moved", code="REST.NOT_FOUND")],
    ids=["transient", "permanent"],
)
def test_a_fetch_that_fails_on_the_way_keeps_what_it_has_and_says_so_after_the_commit(
    line: Line, error: TransientError | PermanentError
) -> None:
    assert isinstance(line.driver, Numbers)
    line.driver.batches, line.driver.failure = [batch(0, 2, 1), batch(2, 2, 2)], error
    spooled = Spooled(**json.loads(json.dumps(fetch_to_spool(line, "run").to_json())))
    run_fetched(line, read_spool(spooled), spooled.start, run_id="run")
    assert ids(line) == [0, 1, 2, 3]
    with pytest.raises(type(error)) as caught:
        spooled.raise_failure()
    assert (caught.value.message, caught.value.code) == (error.message, error.code)
    if isinstance(error, TransientError):
        assert isinstance(caught.value, TransientError)
        assert caught.value.retry_after_s == error.retry_after_s


@pytest.mark.parametrize(
    ("batches", "error"),
    [
        ([], TransientError("gone")),
        ([batch(0, 2, 1), batch(2, 2, 1, resumable=False)], TransientError("gone")),
        ([batch(0, 2, 1)], ConfigError("wrong")),
    ],
    ids=["nothing came", "in the middle of what cannot be split", "a file is wrong"],
)
def test_a_fetch_with_nothing_to_keep_fails_at_once(line: Line, batches: list[Batch], error: RootsysError) -> None:
    assert isinstance(line.driver, Numbers)
    line.driver.batches, line.driver.failure = batches, error
    with pytest.raises(type(error)):
        fetch_to_spool(line, "run")
    assert not list(line.log.folder.glob("spool/*"))
