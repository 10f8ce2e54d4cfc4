import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootsys_dagster.core.errors import ConfigError, FencedError, LogDamagedError, RootsysError, TransientError
from rootsys_dagster.log.commit import CommitLog, LogWriter, StreamId, folder_name
from rootsys_dagster.log.find import find_logs
from rootsys_dagster.log.gc import collect
from rootsys_dagster.log.manifest import ConservationError, Counts, Manifest
from rootsys_dagster.log.verify import verify_log

STREAM = StreamId("mes", "v1")


@pytest.fixture
def log(tmp_path: Path) -> CommitLog:
    return CommitLog(tmp_path / "state", STREAM)


def commit(writer: LogWriter, n: int, records: int = 1) -> Manifest:
    lines = b"".join(b'{"n":%d}\n' % n for _ in range(records))
    writer.write("records", lines, records, bytes(16 * records))
    return writer.commit(end={"n": n}, counts=Counts(fetched=records, accepted=records), interface_sha256="00")


def filled(log: CommitLog, commits: int = 5) -> CommitLog:
    for n in range(1, commits + 1):
        with log.writer(f"run {n}") as writer:
            commit(writer, n)
    return log


def manifest_path(log: CommitLog, seq: int) -> Path:
    return log.folder / "log" / f"{seq:08d}.json"


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_committed_is_no_head_and_no_folder(log: CommitLog) -> None:
    assert (log.head(), log.last_seq(), list(log.manifests())) == (None, 0, [])
    assert not log.folder.exists()


def test_commits_are_numbered_and_chained_by_the_hash_of_the_one_before(log: CommitLog) -> None:
    filled(log)
    previous: bytes | None = None
    for seq in range(1, 6):
        data = manifest_path(log, seq).read_bytes()
        document = json.loads(data)
        assert document["seq"] == seq
        assert document["prev_sha256"] == (hashlib.sha256(previous).hexdigest() if previous else None)
        assert document["start"] == ({"n": seq - 1} if seq > 1 else None)
        assert document["end"] == {"n": seq}
        assert document["totals"]["accepted"] == seq
        previous = data
    assert [manifest.seq for manifest in log.manifests(after=2)] == [3, 4, 5]
    assert verify_log(log) == []


def test_a_manifest_names_its_files_by_hash_size_and_count(log: CommitLog) -> None:
    with log.writer("r") as writer:
        writer.write("records", b"1\n2\n", 2, bytes(32))
        writer.write("dead_letters", b"3\n", 1)
        manifest = writer.commit(end={}, counts=Counts(fetched=3, accepted=2, dead_letters=1), interface_sha256="00")
    assert [(file.kind, file.records, file.bytes) for file in manifest.files] == [
        ("records", 2, 4),
        ("keys", 2, 32),
        ("dead_letters", 1, 2),
    ]
    for file in manifest.files:
        assert hashlib.sha256(log.path(file).read_bytes()).hexdigest() == file.sha256


def test_one_writer_may_commit_several_times(log: CommitLog) -> None:
    with log.writer("r") as writer:
        assert [commit(writer, n).seq for n in (1, 2, 3)] == [1, 2, 3]
    assert log.head() is not None
    assert verify_log(log) == []


def fail_after_writing(log: CommitLog) -> None:
    with log.writer("r3") as writer:
        writer.write("records", b"x", 1)
        raise ZeroDivisionError


def test_what_is_not_committed_is_removed_and_was_never_visible(log: CommitLog) -> None:
    filled(log, 1)
    before = everything_below(log.folder)
    with log.writer("r2") as writer:
        writer.write("records", b"x" * 3_000_000, 1, bytes(16))
        writer.write("dead_letters", b"y", 1)
    with pytest.raises(ZeroDivisionError):
        fail_after_writing(log)
    after = everything_below(log.folder)
    assert before.pop("lock") != after.pop("lock")
    assert after == before


def test_counts_that_do_not_add_up_are_not_committed(log: CommitLog) -> None:
    with log.writer("r") as writer:
        writer.write("records", b"1\n", 1)
        with pytest.raises(ConservationError, match="2 units were fetched but 1"):
            writer.commit(end={}, counts=Counts(fetched=2, accepted=1), interface_sha256="00")
    assert log.head() is None
    assert list((log.folder / "records").iterdir()) == []


def test_a_run_id_may_come_again_and_may_be_anything(log: CommitLog) -> None:
    for n, run_id in enumerate(["again", "again", "../../etc", "", "a" * 500, "ü/\\:*?", "\n"], 1):
        with log.writer(run_id) as writer:
            assert commit(writer, n).run_id == run_id
    assert verify_log(log) == []
    assert {path.parent.name for path in log.folder.rglob("*") if path.is_file()} == {"v1", "log", "records"}


def test_a_killed_run_with_the_same_id_leaves_orphans_that_stop_nobody(log: CommitLog) -> None:
    filled(log, 1)
    (segment,) = (log.folder / "records").glob("*.jsonl")
    shutil.copy(segment, segment.with_name("00000002-again-00000000.jsonl"))
    (log.folder / "log" / ".00000002-again-00000000.tmp").write_bytes(b"half")
    with log.writer("again") as writer:
        assert commit(writer, 2).seq == 2
    assert verify_log(log) == []


def test_a_commit_made_meanwhile_fences_this_one_off(log: CommitLog) -> None:
    filled(log, 1)
    with log.writer("slow") as writer:
        other = CommitLog(log.state_root, STREAM)
        # The lock is on the file: removed and made again, it holds nobody back, and then the fence has to.
        (log.folder / "lock").unlink()
        with other.writer("fast") as fast:
            commit(fast, 2)
        with pytest.raises(FencedError, match="commit 2 was made by another run"):
            commit(writer, 3)
    head = log.head()
    assert head is not None
    assert (head.run_id, head.end) == ("fast", {"n": 2})
    assert verify_log(log) == []
    assert len(list((log.folder / "records").glob("*.jsonl"))) == 2


def test_a_second_writer_is_told_who_is_first(log: CommitLog) -> None:
    with log.writer("night shift"), pytest.raises(TransientError) as caught, log.writer("early bird"):
        pytest.fail("two writers at once")
    assert caught.value.code == "LOG.LOCKED"
    assert "run night shift" in str(caught.value)
    assert str(os.getpid()) in str(caught.value)
    with log.writer("early bird") as writer:
        commit(writer, 1)


def test_a_dead_owner_blocks_nobody(log: CommitLog) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom rootsys_dagster.log.commit import CommitLog, StreamId\n"
        "with CommitLog(Path(sys.argv[1]), StreamId('mes', 'v1')).writer('dying') as writer:\n"
        "    writer.write('records', b'x', 1)\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(log.state_root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(TransientError, match="run dying"), log.writer("next"):
        pytest.fail("the owner was alive")
    owner.kill()
    owner.wait()
    with log.writer("next") as writer:
        commit(writer, 1)
    owner.communicate()


@pytest.mark.parametrize("commits", [1, 2, 5])
def test_every_changed_bit_of_an_older_manifest_is_noticed(log: CommitLog, commits: int) -> None:
    filled(log, commits + 1)
    path = manifest_path(log, commits)
    sound = path.read_bytes()
    for at in range(0, len(sound), 7):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        with pytest.raises(LogDamagedError):
            list(log.manifests())
        with pytest.raises(LogDamagedError), log.writer("r"):
            pytest.fail("a damaged log was opened for writing")
    path.write_bytes(sound)
    assert verify_log(log) == []


@pytest.mark.parametrize("length", [0, 1, 100, -2])
def test_a_cut_newest_manifest_is_damage_and_never_a_fresh_start(log: CommitLog, length: int) -> None:
    filled(log, 2)
    path = manifest_path(log, 2)
    path.write_bytes(path.read_bytes()[:length])
    for read in (log.head, lambda: list(log.manifests())):
        with pytest.raises(LogDamagedError, match=r"00000002\.json"):
            read()
    with pytest.raises(LogDamagedError), log.writer("r"):
        pytest.fail("a damaged log was opened for writing")
    assert [finding.code for finding in verify_log(log)] == ["CHAIN"]


@given(garbage=st.binary(max_size=60))
def test_a_manifest_of_garbage_is_damage(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    log = CommitLog(tmp_path_factory.getbasetemp() / "garbage", STREAM)
    (log.folder / "log").mkdir(parents=True, exist_ok=True)
    manifest_path(log, 1).write_bytes(garbage)
    with pytest.raises(LogDamagedError):
        log.head()


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_a_missing_manifest_is_damage_named_by_number(log: CommitLog, seq: int) -> None:
    filled(log)
    manifest_path(log, seq).unlink()
    with pytest.raises(LogDamagedError, match=f"{seq:08d}.json is missing"):
        log.head()
    assert [finding.code for finding in verify_log(log)] == ["CHAIN"]


def test_swapped_manifests_are_damage(log: CommitLog) -> None:
    filled(log)
    one, two = manifest_path(log, 2), manifest_path(log, 3)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(LogDamagedError):
        list(log.manifests())


def test_the_manifest_of_another_interface_is_damage(log: CommitLog) -> None:
    filled(log, 1)
    other = filled(CommitLog(log.state_root, StreamId("qms", "v1")), 1)
    shutil.copy(manifest_path(other, 1), manifest_path(log, 1))
    with pytest.raises(LogDamagedError, match="another commit"):
        log.head()


def test_a_manifest_of_a_later_format_is_not_guessed_at(log: CommitLog) -> None:
    filled(log, 1)
    document = json.loads(manifest_path(log, 1).read_bytes()) | {"format": 2}
    manifest_path(log, 1).write_text(json.dumps(document))
    with pytest.raises(LogDamagedError, match="update rootsys"):
        log.head()


@pytest.mark.parametrize("name", ["00000000.json", "0000000.json", "00000002.json.bak", ".00000009.tmp", "x"])
def test_a_foreign_file_beside_the_manifests_is_nothing(log: CommitLog, name: str) -> None:
    filled(log, 1)
    (log.folder / "log" / name).write_bytes(b"{}")
    assert log.last_seq() == 1


@pytest.mark.parametrize("change", ["removed", "cut", "longer"])
def test_a_changed_segment_of_the_newest_commit_stops_the_next_run(log: CommitLog, change: str) -> None:
    filled(log, 2)
    head = log.head()
    assert head is not None
    path = log.path(head.files[0])
    if change == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"x" if change == "longer" else b"")
    with pytest.raises(LogDamagedError, match="restore it from a backup"), log.writer("r"):
        pytest.fail("a damaged log was opened for writing")
    assert verify_log(log) != []


def test_verify_finds_a_changed_byte_of_any_segment(log: CommitLog) -> None:
    filled(log, 2)
    first = next(log.manifests())
    for file in first.files:
        path = log.path(file)
        sound = path.read_bytes()
        path.write_bytes(bytes([sound[0] ^ 1]) + sound[1:])
        assert [finding.path for finding in verify_log(log)] == [str(path)]
        path.write_bytes(sound)
    assert verify_log(log) == []


@pytest.mark.parametrize("seq", [1, 2, 5])
def test_a_log_is_found_whichever_manifest_it_has_lost(log: CommitLog, seq: int) -> None:
    filled(log)
    manifest_path(log, seq).unlink()
    assert [found.stream for found in find_logs(log.state_root)] == [STREAM]


@pytest.mark.parametrize("renamed", ["v9", "v1 (copy)"])
def test_a_log_under_another_name_is_found_and_is_damage(log: CommitLog, renamed: str) -> None:
    filled(log, 1)
    log.folder.rename(log.folder.with_name(renamed))
    (found,) = find_logs(log.state_root)
    assert [finding.code for finding in verify_log(found)] == ["CHAIN"]


@pytest.mark.parametrize("blocked", ["..", "log"])
def test_a_log_in_a_folder_that_cannot_be_listed_is_not_passed_over(
    log: CommitLog, blocked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(log, 1)
    closed = (log.folder / blocked).resolve()

    def refuse(function: Any) -> Any:
        def listing(path: Any) -> Any:
            if Path(path) == closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path)

        return listing

    monkeypatch.setattr(os, "listdir", refuse(os.listdir))
    monkeypatch.setattr(os, "scandir", refuse(os.scandir))
    if blocked == "..":
        with pytest.raises(LogDamagedError, match="cannot list"):
            find_logs(log.state_root)
    else:
        (found,) = find_logs(log.state_root)
        assert [finding.code for finding in verify_log(found)] == ["CHAIN"]


def test_what_a_killed_first_run_left_is_found_for_gc_only(log: CommitLog) -> None:
    with log.writer("r") as writer:
        writer.write("records", b"{}\n", 1, bytes(16))
        killed = everything_below(log.folder)
    for name, data in killed.items():
        (log.folder / name).write_bytes(data)
    assert find_logs(log.state_root) == []
    (found,) = find_logs(log.state_root, empty=True)
    assert [removed.path.suffix for removed in collect(found, older_than_s=0)] == [".jsonl", ".keys"]


def test_folders_that_are_no_logs_are_left_alone(log: CommitLog) -> None:
    precious = log.state_root / "x" / "y" / "records" / "precious"
    precious.parent.mkdir(parents=True)
    (precious.parent.parent / "log").mkdir()
    precious.touch()
    assert find_logs(log.state_root, empty=True) == []


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "...",
        ".hidden",
        "a/b",
        "/etc",
        "a\\b",
        "x" * 300,
        "é" * 300,
        "CON",
        " ",
        "a\x00b",
        "\n",
        "日本",
        "%2E",
        "lock",
    ],
)
def test_any_name_is_one_folder_of_its_own_below_the_state_root(tmp_path: Path, name: str) -> None:
    log = filled(CommitLog(tmp_path / "state", StreamId(name, name)), 1)
    assert log.folder.resolve().parent.parent == (tmp_path / "state").resolve()
    assert log.folder.parent.name == log.folder.name == folder_name(name)
    assert len(log.folder.name.encode()) <= 200
    head = CommitLog(tmp_path / "state", StreamId(name, name)).head()
    assert head is not None
    assert head.interface == name


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=400),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_different_names_have_different_folders(names: list[str]) -> None:
    one, two = map(folder_name, names)
    assert one != two
    assert "/" not in one
    assert one not in (".", "..")
    assert len(one) <= 200


def unusable(tmp_path: Path, how: str) -> Path:
    if how == "a file":
        (tmp_path / "state").touch()
        return tmp_path / "state"
    if how == "below a file":
        (tmp_path / "file").touch()
        return tmp_path / "file" / "state"
    return Path("/proc/rootsys-state")


@pytest.mark.parametrize("how", ["a file", "below a file", "a file system that takes no folders"])
def test_a_state_root_that_cannot_be_written_is_a_clear_error(tmp_path: Path, how: str) -> None:
    with pytest.raises(ConfigError) as caught, CommitLog(unusable(tmp_path, how), STREAM).writer("r"):
        pytest.fail("nothing can be written here")
    assert caught.value.code == "STATE.UNUSABLE"
    assert "--state-root" in str(caught.value)


@pytest.mark.parametrize("blocked", ["lock", "records", "log"])
def test_what_blocks_the_log_folder_is_a_clear_error(log: CommitLog, blocked: str) -> None:
    log.folder.mkdir(parents=True)
    if blocked == "lock":
        (log.folder / "lock").mkdir()
    else:
        (log.folder / blocked).touch()
    with pytest.raises(RootsysError) as caught, log.writer("r"):
        pytest.fail("nothing can be written here")
    assert blocked in str(caught.value)


@pytest.mark.parametrize("begun", [True, False])
def test_a_read_only_state_root_is_a_clear_error_and_changes_nothing(unprivileged: Path, begun: bool) -> None:
    log = CommitLog(unprivileged / "state", STREAM)
    log.state_root.mkdir()
    if begun:
        filled(log, 1)
    before = everything_below(log.state_root)
    for folder in (log.state_root, *(path for path in log.state_root.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    with pytest.raises(RootsysError, match="Permission denied") as caught:
        write_and_commit(log)
    assert caught.value.code == ("STATE.WRITE_FAILED" if begun else "STATE.UNUSABLE")
    after = everything_below(log.state_root)
    assert {**before, "mes/v1/lock": b""} == {**after, "mes/v1/lock": b""}


def write_and_commit(log: CommitLog) -> None:
    with log.writer("r") as writer:
        commit(writer, 2)


def test_the_preflight_leaves_only_its_mark_and_runs_once(log: CommitLog) -> None:
    filled(log, 1)
    mark = log.state_root / ".preflight"
    written_at = mark.stat().st_mtime_ns
    filled(CommitLog(log.state_root, StreamId("qms", "v1")), 1)
    assert mark.stat().st_mtime_ns == written_at
    assert sorted(path.name for path in log.state_root.iterdir()) == [".preflight", "mes", "qms"]
    mark.write_bytes(b"another device")
    with log.writer("r"):
        assert mark.read_bytes() == str(log.state_root.stat().st_dev).encode()


def test_a_large_segment_is_whole_however_it_is_cut_into_writes(log: CommitLog) -> None:
    piece = b"x" * 99_999 + b"\n"
    with log.writer("r") as writer:
        for _ in range(300):
            writer.write("records", piece, 1, bytes(16))
        manifest = writer.commit(end={}, counts=Counts(fetched=300, accepted=300), interface_sha256="00")
    records = manifest.file("records")
    assert records is not None
    assert (records.bytes, records.records) == (30_000_000, 300)
    assert records.sha256 == hashlib.sha256(piece * 300).hexdigest()
    assert log.path(records).stat().st_size == 30_000_000
