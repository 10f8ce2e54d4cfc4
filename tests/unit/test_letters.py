"""The life of a dead letter: open, failing, replayed, discarded, superseded; kept is rebuilt, and nothing is lost."""

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootsys_dagster.core.errors import ConfigError, TransientError
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.gc import collect
from rootsys_dagster.log.letters import POSTGRES_URL, Letter, LetterFilter, letters_path, open_letters
from rootsys_dagster.log.verify import verify_log
from rootsys_dagster.pipeline.mend import MendReport, discard_letters, replay_letters, try_letters
from rootsys_dagster.pipeline.publish import publish
from rootsys_dagster.pipeline.run import open_line
from tests.conftest import ProjectFolder
from tests.databases import Postgres, shared
from tests.services import free_port

ALL = LetterFilter()


@pytest.fixture(scope="module", autouse=True, params=["sqlite", "postgres"])
def kept_in(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every promise holds wherever the letters are kept."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "postgres":
            patch.setenv(POSTGRES_URL, shared(Postgres).url)
        yield request.param


of_file = pytest.mark.parametrize("kept_in", ["sqlite"], indirect=True)


def forget(log: CommitLog) -> None:
    """Remove all letters that are kept."""
    if url := os.environ.get(POSTGRES_URL):
        assert url == shared(Postgres).url
        shared(Postgres).execute("DROP TABLE rootsys_letters, rootsys_letters_progress")
    else:
        letters_path(log).unlink()


def letters(log: CommitLog, wanted: LetterFilter = ALL) -> list[Letter]:
    with open_letters(log) as found:
        return list(found.select(wanted))


def states(log: CommitLog) -> dict[str, int]:
    with open_letters(log) as found:
        return {str(state): count for state, count in found.counts().items()}


def replay(project: ProjectFolder, wanted: LetterFilter = ALL, **options: Any) -> MendReport:
    opened = project.load()
    return replay_letters(open_line(opened.interface("mes"), opened), wanted, run_id="again", **options)


def discard(project: ProjectFolder, wanted: LetterFilter) -> int:
    return discard_letters(
        project.log(), wanted, run_id="decided", by="ann", note="test data", interface_sha256="0" * 64
    )


def broken(project: ProjectFolder) -> None:
    """Two records; four dead letters, each of which lacks something else."""
    project.interface(required_paths=["/id", "/n"], record_id_paths=["/id"])
    project.data(
        "mes.jsonl",
        [{"id": 1, "n": 1}, b'{"n": 2.50}', b'{"id": 3}', b"{broken", b"\xff\xfe", {"id": 6, "n": 6}],
    )
    project.run()


def test_a_letter_says_what_is_wrong_where_and_since_when(project: ProjectFolder) -> None:
    broken(project)
    found = letters(project.log())
    assert [(letter.state, letter.attempts, json.loads(letter.reason_codes)) for letter in found] == [
        ("open", 1, ["MISSING_REQUIRED_PATH"]),
        ("open", 1, ["MISSING_REQUIRED_PATH"]),
        ("open", 1, ["PAYLOAD_DECODE_FAILED"]),
        ("open", 1, ["PAYLOAD_DECODE_FAILED"]),
    ]
    assert [json.loads(letter.position)["line"] for letter in found] == [2, 3, 4, 5]
    with open_letters(project.log()) as kept:
        assert [line for _, line in kept.lines(found)] == [line + b"\n" for line in project.lines("dead_letters")]


def test_a_mended_interface_resolves_what_it_accepts_and_the_rest_still_fails(project: ProjectFolder) -> None:
    broken(project)
    before = project.log().head()
    project.interface(required_paths=["/n"], record_id_paths=["/id"])
    report = replay(project)
    assert (report.resolved, report.failing, report.reasons) == (
        1,
        3,
        {"MISSING_REQUIRED_PATH": 1, "PAYLOAD_DECODE_FAILED": 2},
    )
    head = project.log().head()
    assert before is not None
    assert head is not None
    assert (head.mode, head.end, head.counts.fetched, head.counts.accepted) == ("replay", before.end, 4, 1)
    assert head.counts.skipped == {"still_failing": 3}
    first, second = letters(project.log())[:2]
    assert (first.state, first.attempts, first.last_seq, first.record_id is not None) == ("replayed", 2, 2, True)
    assert (second.state, second.attempts, second.last_run_id) == ("failing", 2, "again")
    assert project.lines("records")[-1].count(b'{"n": 2.50}') == 1
    assert verify_log(project.log()) == []


def test_three_replays_are_one(project: ProjectFolder) -> None:
    broken(project)
    project.interface(required_paths=["/n"])
    replay(project)
    records, commits = project.lines("records"), project.log().last_seq()
    for _ in range(2):
        report = replay(project)
        assert (report.resolved, report.failing, report.manifests) == (0, 3, [])
    assert (project.lines("records"), project.log().last_seq()) == (records, commits)


def test_what_fails_for_another_reason_is_another_attempt_of_the_same_letter(project: ProjectFolder) -> None:
    broken(project)
    replay(project)
    project.interface(required_paths=["/id", "/n", "/x"])
    replay(project)
    first = letters(project.log())[0]
    assert (first.state, first.attempts) == ("failing", 3)
    assert [error["path"] for error in json.loads(first.errors)] == ["/id", "/x"]
    assert states(project.log()) == {"failing": 4}


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (LetterFilter(reason="PAYLOAD_DECODE_FAILED"), [4, 5]),
        (LetterFilter(pointer="/n"), [3]),
        (LetterFilter(pointer="/nn"), []),
        (LetterFilter(since_unix_ms=0, until_unix_ms=1), []),
        (LetterFilter(since_unix_ms=1), [2, 3, 4, 5]),
        (LetterFilter(reason="MISSING_REQUIRED_PATH", pointer="/id"), [2]),
        (LetterFilter(states=["replayed"]), []),
    ],
)
def test_a_filter_takes_what_it_says(project: ProjectFolder, wanted: LetterFilter, lines: list[int]) -> None:
    broken(project)
    assert [json.loads(letter.position)["line"] for letter in letters(project.log(), wanted)] == lines


def test_ids_may_be_shortened_and_a_limit_takes_the_oldest(project: ProjectFolder) -> None:
    broken(project)
    found = letters(project.log())
    assert letters(project.log(), LetterFilter(ids=[found[2].id[:8], found[0].id])) == [found[0], found[2]]
    project.interface(required_paths=[])
    assert replay(project, limit=1).resolved == 1
    assert [letter.state for letter in letters(project.log())] == ["replayed", "open", "open", "open"]


def test_a_dry_run_commits_nothing(project: ProjectFolder) -> None:
    broken(project)
    project.interface(required_paths=[])
    opened = project.load()
    tried = [one.outcome for _, one in try_letters(open_line(opened.interface("mes"), opened), ALL)]
    assert tried == ["replayed", "replayed", "failing", "failing"]
    assert (project.log().last_seq(), states(project.log())) == (1, {"open": 4})


def test_a_discard_says_who_and_why_and_is_final(project: ProjectFolder) -> None:
    broken(project)
    before = project.log().head()
    assert discard(project, LetterFilter(reason="PAYLOAD_DECODE_FAILED")) == 2
    head = project.log().head()
    assert before is not None
    assert head is not None
    assert (head.mode, head.end, head.counts.fetched) == ("decision", before.end, 0)
    closed = letters(project.log(), LetterFilter(states=["discarded"]))
    assert [(letter.decided_by, letter.note) for letter in closed] == [("ann", "test data")] * 2
    assert discard(project, LetterFilter(reason="PAYLOAD_DECODE_FAILED")) == 0
    project.interface(required_paths=[])
    assert replay(project).resolved == 2
    assert verify_log(project.log()) == []
    assert project.run().manifests == []


def test_a_discard_without_a_name_or_a_reason_is_refused(project: ProjectFolder) -> None:
    broken(project)
    with pytest.raises(ConfigError, match="blank"):
        discard_letters(project.log(), ALL, run_id="x", by=" ", note="why", interface_sha256="")
    with pytest.raises(ConfigError, match="blank"):
        discard_letters(project.log(), ALL, run_id="x", by="ann", note="", interface_sha256="")


def test_blocking_rules_do_not_stop_a_replay(project: ProjectFolder) -> None:
    broken(project)
    project.interface(on_fail="block", rules=[{"pointer": "/id", "not_null": True, "on_fail": "block"}])
    assert (replay(project).resolved, states(project.log())) == (1, {"replayed": 1, "failing": 3})


def test_ten_thousand_and_one_dead_letters_of_one_run_are_all_kept_and_all_replayed(project: ProjectFolder) -> None:
    project.interface(required_paths=["/n"])
    project.data("mes.jsonl", [{"id": number} for number in range(10_001)])
    project.run()
    assert states(project.log()) == {"open": 10_001}
    project.interface(record_id_paths=["/id"])
    assert replay(project).resolved == 10_001
    assert [record["record_id"] for record in project.records()] == [str(number) for number in range(10_001)]


@of_file
def test_letters_that_cannot_be_kept_on_disk_are_made_in_memory(unprivileged: Path) -> None:
    project = ProjectFolder(unprivileged / "project")
    broken(project)
    index = letters_path(project.log()).parent
    assert not index.exists()
    project.log().folder.chmod(0o555)
    assert len(letters(project.log())) == 4
    assert not index.exists()


@of_file
def test_a_damaged_file_is_made_again(project: ProjectFolder) -> None:
    broken(project)
    kept = letters(project.log())
    letters_path(project.log()).write_bytes(b"not a database, and longer than its header " * 40)
    assert letters(project.log()) == kept


@of_file
def test_a_file_of_another_version_is_made_again(project: ProjectFolder) -> None:
    broken(project)
    kept = letters(project.log())
    with closing(sqlite3.connect(letters_path(project.log()))) as connection:
        connection.executescript("ALTER TABLE letters DROP COLUMN note; PRAGMA user_version = 99;")
    assert letters(project.log()) == kept


def test_another_history_is_followed_from_its_beginning(project: ProjectFolder) -> None:
    broken(project)
    replay(project)
    assert states(project.log()) == {"failing": 4}
    (project.log().folder / "log" / "00000002.json").unlink()
    assert states(project.log()) == {"open": 4}


def test_gc_takes_the_outcomes_of_a_killed_replay_and_no_others(project: ProjectFolder) -> None:
    broken(project)
    replay(project)
    orphan = project.log().folder / "outcomes" / "00000009-killed.jsonl"
    orphan.write_bytes(b"{}\n")
    assert [removed.path for removed in collect(project.log(), older_than_s=-1)] == [orphan]
    assert verify_log(project.log()) == []


UNITS = st.lists(
    st.sampled_from([b'{"a":1}', b'{"b":1}', b'{"a":1,"b":2}', b'{"a":null}', b"{", b"[]", b"\xff", b" "]), max_size=8
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ingest"), UNITS),
        st.tuples(st.just("interface"), st.sampled_from([["/a"], ["/b"], ["/a", "/b"], []])),
        st.tuples(st.just("replay"), st.sampled_from([None, "MISSING_REQUIRED_PATH", "PAYLOAD_DECODE_FAILED"])),
        st.tuples(st.just("discard"), st.sampled_from(["MISSING_REQUIRED_PATH", "PAYLOAD_DECODE_FAILED"])),
    ),
    max_size=8,
)


@settings(max_examples=25)
@given(STEPS)
def test_every_unit_has_one_outcome_and_what_is_rebuilt_is_what_was_kept(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = ProjectFolder(Path(folder) / "project")
        project.interface(required_paths=["/a"])
        units = 0
        for step, argument in steps:
            match step:
                case "ingest":
                    project.data("mes.jsonl", argument, append=True)
                    units += sum(unit != b" " for unit in argument)
                    if (project.root / "data" / "mes.jsonl").exists():
                        project.run()
                case "interface":
                    project.interface(required_paths=argument)
                case "replay" if project.log().last_seq():
                    replay(project, LetterFilter(reason=argument))
                case "discard" if project.log().last_seq():
                    discard(project, LetterFilter(reason=argument))
                case _:
                    pass
            now = states(project.log())
            waiting = sum(now.get(state, 0) for state in ("open", "failing", "discarded"))
            assert len(project.lines("records")) + waiting == units
        kept = [astuple(letter) for letter in letters(project.log())]
        if kept:
            forget(project.log())
        assert [astuple(letter) for letter in letters(project.log())] == kept
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv(POSTGRES_URL, raising=False)
            assert [astuple(letter) for letter in letters(project.log())] == kept
        assert verify_log(project.log()) == []


@of_file
def test_the_file_is_closed_behind_every_reader(project: ProjectFolder) -> None:
    broken(project)
    with open_letters(project.log()) as found, closing(found.select(ALL)) as rows:  # pyright: ignore[reportArgumentType]
        next(iter(rows))
    letters_path(project.log()).unlink()
    assert len(letters(project.log())) == 4


def test_a_table_shows_what_became_of_each_letter_and_a_commit_told_twice_counts_once(project: ProjectFolder) -> None:
    broken(project)
    members: dict[str, Any] = {"record_id_paths": ["/id"], "dead_letters": {"kind": "sqlite", "path": "dead.db"}}
    for required in (["/id"], []):
        project.interface(required_paths=required, **members)
        replay(project)
    discard(project, LetterFilter(reason="PAYLOAD_DECODE_FAILED"))
    query = "SELECT state, attempts, commit_seq, last_commit_seq, record_id, decided_by FROM dead_letters ORDER BY id"
    for again in (False, True):
        if again:
            (project.log().folder / "followers" / "dead_letters-sqlite-dead.db.json").unlink()
        opened = project.load()
        (report,) = publish(opened.interface("mes"), opened)
        assert report.error is None
        with closing(sqlite3.connect(project.root / "dead.db")) as connection:
            rows = connection.execute(query).fetchall()
        assert rows == [
            ("replayed", 3, 1, 3, letters(project.log())[0].record_id, None),
            ("replayed", 2, 1, 2, "3", None),
            ("discarded", 2, 1, 4, None, "ann"),
            ("discarded", 2, 1, 4, None, "ann"),
        ]


@pytest.mark.parametrize("kept_in", ["postgres"], indirect=True)
def test_a_server_keeps_the_letters_of_every_interface_apart(project: ProjectFolder) -> None:
    for name in ("mes", "qms"):
        project.interface(name, required_paths=["/id"])
        project.data(f"{name}.jsonl", [{"n": name}] * len(name[:-1]))
        project.run(name)
        assert states(project.log(name)) == {"open": 2}
    (project.log().folder / "log" / "00000001.json").unlink()
    assert (states(project.log()), states(project.log("qms"))) == ({}, {"open": 2})
    query = "SELECT log, state, count(*) FROM rootsys_letters GROUP BY 1, 2"
    assert shared(Postgres).rows(query) == [("qms/v1", "open", 2)]


@of_file
def test_a_server_that_is_not_there_is_said_by_name(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(project)
    monkeypatch.setenv(POSTGRES_URL, f"postgresql://app:hunter2@127.0.0.1:{free_port()}/letters")
    with pytest.raises(TransientError) as told:
        letters(project.log())
    assert told.value.code == "LETTERS.UNAVAILABLE"
    assert "hunter2" not in told.value.message
    monkeypatch.setenv(POSTGRES_URL, "no URL")
    with pytest.raises(ConfigError, match=POSTGRES_URL):
        letters(project.log())
