"""A fabric over real logs: what is merged, what is apart, and what happens when a run or a file breaks."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ProjectFolder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rootsys_dagster.core.errors import InvalidFileError, LogDamagedError
from rootsys_dagster.core.record import key_seed, record_key
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.manifest import Counts
from rootsys_dagster.log.verify import verify_log
from rootsys_dagster.pipeline import merge as merge_module
from rootsys_dagster.pipeline import merge_index
from rootsys_dagster.pipeline.merge import MergeReport, merge_fabric

Commit = list[tuple[str, int]]
"""Record ids, each with something that tells the record from others of the same id."""


def line(name: str, record_id: str, data: object) -> bytes:
    return json.dumps(
        {
            "source": name,
            "interface": {"name": name, "version": "v1"},
            "record_id": record_id,
            "ingested_at_unix_ms": 1,
            "payload": {"kind": "Json", "data": data},
            "metadata": {},
            "warnings": [],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()


def commit(state_root: Path, name: str, records: Commit, source: str | None = None) -> None:
    """One commit of an interface, as ``run_interface`` makes it."""
    seed = key_seed(source or name, source or name, "v1")
    with CommitLog(state_root, StreamId(name, "v1")).writer("input") as writer:
        for record_id, data in records:
            id_json = json.dumps(record_id, ensure_ascii=False).encode()
            writer.write("records", line(source or name, record_id, data) + b"\n", 1, record_key(id_json, seed))
        counts = Counts(fetched=len(records), accepted=len(records))
        writer.commit(end={"n": 1}, counts=counts, interface_sha256="0" * 64)


def merge(project: ProjectFolder, name: str = "all", run_id: str = "merge") -> MergeReport:
    loaded = project.load()
    return merge_fabric(loaded.fabric(name), loaded, run_id=run_id)


def files_below(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def keep_first(lines: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The oracle: whole records in a dict."""
    kept: dict[tuple[str, ...], bytes] = {}
    lost: list[bytes] = []
    for text in lines:
        record = json.loads(text)
        key = (record["source"], record["interface"]["name"], record["interface"]["version"], record["record_id"])
        if key in kept:
            lost.append(text)
        else:
            kept[key] = text
    return list(kept.values()), lost


@pytest.fixture
def two(project: ProjectFolder) -> ProjectFolder:
    """Interfaces ``a`` and ``b``, and the fabric ``all`` over both."""
    project.interface("a")
    project.interface("b")
    project.fabric("all", ["a", "b"])
    return project


def state_root(project: ProjectFolder) -> Path:
    return project.root / ".rootsys"


def test_inputs_are_merged_in_the_order_of_the_file(project: ProjectFolder) -> None:
    for name, path, ids in (
        (
            "mes",
            "/defect_id",
            [{"defect_id": "DEF-1001", "lot_id": "LOT-77"}, {"defect_id": "DEF-1002", "lot_id": "LOT-78"}],
        ),
        ("qms", "/claim_id", [{"claim_id": "CLAIM-9001"}, {"claim_id": "CLAIM-9002"}]),
    ):
        paths = [path, "/lot_id"] if name == "mes" else [path]
        project.interface(name, payload_format="json", record_id_paths=paths)
        project.data(f"{name}.jsonl", ids)
    project.fabric("defects", ["mes", "qms"])
    # The log that is written first does not come first.
    project.run("qms")
    project.run("mes")
    report = merge(project, "defects")
    assert [(record["source"], record["record_id"]) for record in project.records("defects")] == [
        ("mes", "DEF-1001|LOT-77"),
        ("mes", "DEF-1002|LOT-78"),
        ("qms", "CLAIM-9001"),
        ("qms", "CLAIM-9002"),
    ]
    assert project.lines("records", "defects") == project.lines("records", "mes") + project.lines("records", "qms")
    assert (report.total, report.written, report.duplicates) == (4, 4, 0)
    assert report.end == {"inputs": {"mes@v1": 1, "qms@v1": 1}}


commits = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.lists(
            st.tuples(st.sampled_from(["x", "y|z", 'q"\\', "ü\u2028", ""]) | st.text(max_size=3), st.integers(0, 9)),
            max_size=12,
        ),
    ),
    max_size=8,
)
slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slow
@given(commits=commits, merges=st.sets(st.integers(0, 7)), dedupe=st.booleans(), limit=st.sampled_from([1, 5, 1000]))
def test_every_record_is_merged_or_a_duplicate_and_the_first_one_published_stays(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    commits: list[tuple[str, Commit]],
    merges: set[int],
    dedupe: bool,
    limit: int,
) -> None:
    monkeypatch.setattr(merge_module, "COMMIT_RECORDS", limit)
    monkeypatch.setattr(merge_module, "CHUNK_KEYS", 3)
    monkeypatch.setattr(merge_module, "BLOCK_BYTES", 200)
    project = ProjectFolder(tmp_path_factory.mktemp("project"))
    project.interface("a")
    project.interface("b")
    project.fabric("all", ["a", "b"], dedupe=dedupe)
    arrived: list[bytes] = []
    waiting: dict[str, list[bytes]] = {"a": [], "b": []}
    before: list[bytes] = []
    for number, (name, records) in enumerate([*commits, ("a", [("last", 0)])]):
        commit(state_root(project), name, records)
        waiting[name] += [line(name, record_id, data) for record_id, data in records]
        if number in merges or number == len(commits):
            merge(project)
            arrived += waiting["a"] + waiting["b"]
            waiting = {"a": [], "b": []}
            merged, duplicates = project.lines("records", "all"), project.lines("duplicates", "all")
            assert (merged, duplicates) == (keep_first(arrived) if dedupe else (arrived, []))
            assert Counter(merged + duplicates) == Counter(arrived)
            assert merged[: len(before)] == before
            before = merged


@slow
@given(
    records=st.lists(st.tuples(st.sampled_from("uvwxyz"), st.integers(0, 9)), min_size=1, max_size=30),
    cuts=st.sets(st.integers(0, 30)),
)
def test_how_the_input_is_cut_into_commits_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, records: Commit, cuts: set[int]
) -> None:
    results: list[list[bytes]] = []
    for edges in ([0, len(records)], sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})):
        project = ProjectFolder(tmp_path_factory.mktemp("project"))
        project.interface("a")
        project.fabric("all", ["a"])
        for begin, end in pairwise(edges):
            commit(state_root(project), "a", records[begin:end])
        merge(project)
        results.append(project.lines("records", "all"))
    assert results[0] == results[1]


def test_keys_of_the_merged_records_stand_beside_them(two: ProjectFolder) -> None:
    commit(state_root(two), "a", [("1", 0), ("2", 0), ("1", 1)])
    merge(two)
    assert two.lines("records", "all") == [line("a", "1", 0), line("a", "2", 0)]
    (sidecar,) = (state_root(two) / "all" / "v1" / "records").glob("*.keys")
    seed = key_seed("a", "a", "v1")
    assert sidecar.read_bytes() == record_key(b'"1"', seed) + record_key(b'"2"', seed)


def test_nothing_new_touches_no_file(two: ProjectFolder) -> None:
    assert merge(two).manifests == []
    assert not (state_root(two) / "all").exists()
    commit(state_root(two), "a", [("1", 0)])
    assert merge(two).written == 1
    before = files_below(state_root(two))
    report = merge(two)
    assert (report.total, report.manifests, report.start, report.end) == (
        0,
        [],
        {"inputs": {"a@v1": 1}},
        {"inputs": {"a@v1": 1}},
    )
    assert files_below(state_root(two)) == before


def test_a_commit_without_records_moves_the_position(two: ProjectFolder) -> None:
    commit(state_root(two), "a", [])
    assert merge(two).end == {"inputs": {"a@v1": 1}}
    assert merge(two).manifests == []


def test_one_fabric_commit_holds_whole_commits_up_to_the_bound(
    two: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_module, "COMMIT_RECORDS", 3)
    for number in range(5):
        commit(state_root(two), "a", [(f"{number}-{n}", 0) for n in range(2)])
    report = merge(two)
    assert [manifest.counts.accepted for manifest in report.manifests] == [4, 4, 2]
    assert [manifest.mode for manifest in report.manifests] == ["merge"] * 3


def test_an_input_can_be_a_fabric(two: ProjectFolder) -> None:
    two.interface("c")
    two.fabric("more", ["c", "all"])
    commit(state_root(two), "a", [("1", 0), ("1", 1)])
    commit(state_root(two), "c", [("1", 2), ("9", 3)], source="a")
    merge(two)
    report = merge(two, "more")
    assert two.lines("records", "more") == [line("a", "1", 2), line("a", "9", 3)]
    assert two.lines("duplicates", "more") == [line("a", "1", 0)]
    assert report.end == {"inputs": {"all@v1": 1, "c@v1": 1}}


def test_an_input_that_joins_later_starts_at_its_beginning(two: ProjectFolder) -> None:
    two.fabric("all", ["a"])
    commit(state_root(two), "a", [("1", 0)])
    commit(state_root(two), "b", [("2", 0)])
    merge(two)
    two.fabric("all", ["b", "a"])
    merge(two)
    assert two.lines("records", "all") == [line("a", "1", 0), line("b", "2", 0)]


def test_turning_dedupe_on_later_knows_the_records_from_before(two: ProjectFolder) -> None:
    two.fabric("all", ["a"], dedupe=False)
    commit(state_root(two), "a", [("1", 0), ("1", 1)])
    assert merge(two).written == 2
    two.fabric("all", ["a"], dedupe=True)
    commit(state_root(two), "a", [("1", 2), ("2", 0)])
    report = merge(two)
    assert (report.written, report.duplicates) == (1, 1)


def test_a_broken_interface_file_does_not_hide_what_it_has_committed(two: ProjectFolder) -> None:
    commit(state_root(two), "a", [("1", 0)])
    two.interface("a", required_paths=["no pointer"])
    with pytest.raises(InvalidFileError):
        merge(two)
    two.allowlist.clear()
    two.interface("a")
    two.interface("b")
    assert merge(two).written == 1


@pytest.mark.parametrize("kind", ["records", "keys"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda data: data[:-1], "long instead of", id="shorter"),
        pytest.param(lambda data: data + b"\n", "long instead of", id="longer"),
        pytest.param(lambda data: bytes([data[0] ^ 1]) + data[1:], "SHA-256", id="first byte"),
        pytest.param(lambda data: data[:-2] + bytes([data[-2] ^ 1]) + data[-1:], "SHA-256", id="last byte"),
        pytest.param(None, "No such file", id="missing"),
    ],
)
def test_a_damaged_input_stops_the_commit(two: ProjectFolder, kind: str, damage: object, says: str) -> None:
    commit(state_root(two), "a", [("1", 0), ("2", 0)])
    merge(two)
    commit(state_root(two), "a", [("3", 0), ("4", 0)])
    suffix = "jsonl" if kind == "records" else "keys"
    (path,) = (state_root(two) / "a" / "v1" / "records").glob(f"00000002-*.{suffix}")
    good = path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage(good))  # type: ignore[operator]
    with pytest.raises(LogDamagedError, match=says):
        merge(two)
    assert len(two.lines("records", "all")) == 2
    path.write_bytes(good)
    merge(two)
    assert len(two.lines("records", "all")) == 4


@pytest.mark.parametrize("lost", ["the newest commit", "all of it"])
def test_verify_misses_a_merged_commit_in_the_log_of_the_input(two: ProjectFolder, lost: str) -> None:
    for value in (1, 2):
        commit(state_root(two), "a", [("A", value)])
    merge(two)
    log = CommitLog(state_root(two), StreamId("a", "v1"))
    fabric = CommitLog(state_root(two), StreamId("all", "v1"))
    assert verify_log(fabric) == []
    newest = log.folder / "log" / f"{log.last_seq():08d}.json"
    newest.unlink() if lost == "the newest commit" else shutil.rmtree(log.folder)
    assert [(finding.code, finding.path) for finding in verify_log(fabric)] == [("INPUT", str(newest))]


def test_an_input_that_was_started_anew_is_refused(two: ProjectFolder) -> None:
    commit(state_root(two), "a", [("1", 0)])
    merge(two)
    shutil.rmtree(state_root(two) / "a")
    commit(state_root(two), "a", [("2", 0)])
    with pytest.raises(LogDamagedError, match="commit 1 of a@v1"):
        merge(two)


@pytest.mark.parametrize("how", ["deleted", "truncated", "changed", "of another history", "a commit behind"])
def test_a_lost_index_is_made_from_the_log(two: ProjectFolder, how: str) -> None:
    index = state_root(two) / "all" / "v1" / "index"
    commit(state_root(two), "a", [(str(n), 0) for n in range(100)])
    merge(two)
    older = {path.name: path.read_bytes() for path in index.iterdir()}
    commit(state_root(two), "a", [(str(n), 1) for n in range(50, 150)])
    merge(two)
    for path in index.iterdir():
        good = path.read_bytes()
        match how:
            case "truncated":
                path.write_bytes(good[:-20])
            case "changed":
                path.write_bytes(good[:8] + bytes([good[8] ^ 1]) + good[9:])
            case "of another history":
                path.rename(path.with_name(path.name[:18] + "0" * 32 + ".run"))
            case _:
                path.unlink()
    if how == "a commit behind":
        for name, data in older.items():
            (index / name).write_bytes(data)
    commit(state_root(two), "b", [("x", 0)])
    commit(state_root(two), "a", [(str(n), 2) for n in range(200)])
    report = merge(two)
    assert (report.written, report.duplicates) == (51, 150)
    assert [record["record_id"] for record in two.records("all")] == [*map(str, range(200)), "x"]


def test_a_merge_that_fails_on_the_way_publishes_nothing_and_is_resumed(
    two: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_module, "COMMIT_RECORDS", 2)
    for number in range(4):
        commit(state_root(two), "a", [(f"{number}", 0), ("same", number)])
    good = merge_module.split_block
    calls: list[object] = []

    def fail_third(*arguments: object) -> tuple[bytes, bytes]:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return good(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(merge_module, "split_block", fail_third)
    with pytest.raises(KeyboardInterrupt):
        merge(two)
    monkeypatch.undo()
    assert len(two.lines("records", "all")) == 3
    names = [path.name for path in (state_root(two) / "all" / "v1").rglob("*") if path.is_file()]
    assert not [name for name in names if name.startswith(("00000003", "unsealed"))]
    report = merge(two)
    assert report.start == {"inputs": {"a@v1": 2}}
    assert [record["record_id"] for record in two.records("all")] == ["0", "same", "1", "2", "3"]
    assert len(two.lines("duplicates", "all")) == 3


@pytest.mark.parametrize("call", ["os.link", "os.fsync", "os.write", "os.pread"])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_killed_merge_is_resumed(two: ProjectFolder, call: str, count: int) -> None:
    for number in range(6):
        commit(state_root(two), "ab"[number % 2], [(f"{n}", number) for n in range(number, number + 5)])
    killed = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from rootsys_dagster.core.project import load_project
        from rootsys_dagster.pipeline import merge
        merge.COMMIT_RECORDS = 5
        good, calls = {call}, []
        def dies(*arguments, **named):
            calls.append(1)
            if len(calls) == {count}:
                os.kill(os.getpid(), signal.SIGKILL)
            return good(*arguments, **named)
        {call} = dies
        project = load_project(Path({str(two.root)!r}))
        merge.merge_fabric(project.fabric("all"), project, run_id="killed")
        """)
    done = subprocess.run([sys.executable, "-c", killed], check=False, env={**os.environ, "ROOTSYS_STATE_ROOT": ""})
    assert done.returncode == -9, "the fault did not fire"
    merge(two)
    arrived = two.lines("records", "a") + two.lines("records", "b")
    assert (two.lines("records", "all"), two.lines("duplicates", "all")) == keep_first(arrived)
    assert merge(two).manifests == []


def test_a_large_commit_is_merged_in_pieces(two: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_module, "CHUNK_KEYS", 7)
    monkeypatch.setattr(merge_index, "MERGE_KEYS", 5)
    monkeypatch.setattr(merge_module, "BLOCK_BYTES", 1000)
    commit(state_root(two), "a", [(str(n % 150), n) for n in range(500)])
    assert merge(two).written == 150
    commit(state_root(two), "a", [(str(n), n) for n in range(300)])
    report = merge(two)
    assert (report.written, report.duplicates) == (150, 150)
    arrived = two.lines("records", "a")
    assert (two.lines("records", "all"), two.lines("duplicates", "all")) == keep_first(arrived)
