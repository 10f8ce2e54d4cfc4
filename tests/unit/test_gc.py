"""gc removes what no manifest names, and nothing else; what is in its way has a name."""

import os
import time
from pathlib import Path

import pytest

from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.gc import collect
from rootsys_dagster.log.manifest import Counts
from rootsys_dagster.log.store import StorageError

ORPHANS = ("records/00000002-killed.jsonl", "log/.00000002-killed.tmp", "followers/.sink.json.1.tmp", "spool/killed/x")


def filled(state_root: Path) -> CommitLog:
    """One commit, and beside it what killed runs leave."""
    log = CommitLog(state_root, StreamId("mes", "v1"))
    with log.writer("run") as writer:
        writer.write("records", b"{}\n", 1, bytes(16))
        writer.commit(end={}, counts=Counts(fetched=1, accepted=1), interface_sha256="")
    for name in ORPHANS:
        path = log.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    return log


def test_what_no_manifest_names_is_removed_with_its_size(tmp_path: Path) -> None:
    log = filled(tmp_path)
    named = {log.path(file) for manifest in log.manifests() for file in manifest.files}
    removed = collect(log, older_than_s=0)
    assert {(one.path.relative_to(log.folder).as_posix(), one.bytes) for one in removed} == {
        (name.removesuffix("/x"), 5) for name in ORPHANS
    }
    assert not any((log.folder / name).exists() for name in ORPHANS)
    assert all(path.is_file() for path in named)


def test_what_is_young_or_only_looked_at_stays(tmp_path: Path) -> None:
    log = filled(tmp_path)
    assert collect(log) == []
    assert len(collect(log, older_than_s=0, dry_run=True)) == len(ORPHANS)
    assert all((log.folder / name).exists() for name in ORPHANS)


def test_age_is_that_of_the_last_write(tmp_path: Path) -> None:
    log = filled(tmp_path)
    two_hours_ago = time.time() - 7200
    os.utime(log.folder / ORPHANS[0], (two_hours_ago, two_hours_ago))
    assert [one.path for one in collect(log, older_than_s=3600)] == [log.folder / ORPHANS[0]]


def test_what_is_listed_and_not_there_is_no_error(tmp_path: Path) -> None:
    log = filled(tmp_path)
    # A name without a file, as a file that a follower has renamed since it was listed.
    (log.folder / "followers" / ".gone.tmp").symlink_to("nowhere")
    assert len(collect(log, older_than_s=0)) == len(ORPHANS)


def test_a_folder_that_may_not_be_changed_is_named(unprivileged: Path) -> None:
    log = filled(unprivileged / "state")
    (log.folder / "records").chmod(0o555)
    with pytest.raises(StorageError, match=ORPHANS[0]):
        collect(log, older_than_s=0)
