"""Remove what no manifest names: segments of killed runs, forgotten temporary files and spools."""

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.store import LockedError, exclusive_lock, storage_errors

SEGMENT_FOLDERS = ("records", "dead_letters", "duplicates", "outcomes")
ORPHAN_AGE_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Removed:
    """One file or spool folder that was removed (or would be), with its size in bytes."""

    path: Path
    bytes: int


def collect(log: CommitLog, *, older_than_s: float = ORPHAN_AGE_S, dry_run: bool = False) -> list[Removed]:
    """Remove the orphans of one log that nobody has written to for *older_than_s* seconds.

    A log that somebody is writing to is left alone until the next time.

    Raises:
        LogDamagedError: the manifests cannot be read; nothing is removed, since nothing is known to be one.
        StorageError: an orphan may not be removed.
    """
    oldest = time.time() - older_than_s
    if not log.folder.is_dir():
        return []
    try:
        with exclusive_lock(log.folder / "lock", b"gc"):
            # Read under the lock: a commit between the two would have its segments taken for orphans.
            named = {log.path(file) for manifest in log.manifests() for file in manifest.files}
            removed = [_remove(path, oldest, dry_run) for path in _orphans(log.folder, named)]
    except LockedError:
        return []
    return list(filter(None, removed))


def _remove(path: Path, oldest: float, dry_run: bool) -> Removed | None:
    """Remove one orphan; None when it is too young, or gone: fetches and followers do not wait for this lock."""
    with storage_errors(path, "it stays, nothing that is committed is concerned"), suppress(FileNotFoundError):
        if path.stat().st_mtime <= oldest:
            removed = Removed(path, _size(path))
            if not dry_run:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            return removed
    return None


def _orphans(folder: Path, named: set[Path]) -> Iterator[Path]:
    for name in SEGMENT_FOLDERS:
        yield from (path for path in sorted((folder / name).glob("*")) if path not in named)
    for name in ("log", "followers"):
        yield from sorted((folder / name).glob(".*.tmp"))
    yield from sorted((folder / "spool").glob("*"))


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
