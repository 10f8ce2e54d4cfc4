"""Which commit logs there are below a state root, damaged ones too."""

import os
from pathlib import Path
from urllib.parse import unquote

from rootsys_dagster.core.errors import LogDamagedError
from rootsys_dagster.log.commit import MANIFEST_NAME, CommitLog, StreamId
from rootsys_dagster.log.manifest import parse_manifest


def find_logs(state_root: Path, *, empty: bool = False) -> list[CommitLog]:
    """Every log below *state_root*, also one whose first manifest is gone, by name and version.

    Args:
        empty: the logs too that have no commit, because their first run is under way or was killed.
    Raises:
        LogDamagedError: a folder in which logs may be cannot be listed.
    """
    folders = [folder for above in _folders(state_root) for folder in _folders(above)]
    return [log for log in map(_log_in, folders) if log is not None and (empty or log.has_commits())]


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        message = f"cannot list {folder}: {error.strerror}; logs in it were not looked at, make it readable"
        raise LogDamagedError(message, code="STATE.UNREADABLE") from error


def _log_in(folder: Path) -> CommitLog | None:
    """The log that *folder* holds; by the names of its folders when no manifest of it says whose it is."""
    log = CommitLog(folder.parent.parent, StreamId(unquote(folder.parent.name), unquote(folder.name)))
    log.folder = folder
    try:
        first = min(filter(MANIFEST_NAME.match, os.listdir(folder / "log")), default=None)
        if first is None:
            # Whoever has other folders beside the logs: gc must not take their files for orphans.
            return log if (folder / "lock").is_file() and (folder / "records").is_dir() else None
        manifest = parse_manifest((folder / "log" / first).read_bytes(), first)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, LogDamagedError):
        return log
    named = CommitLog(log.state_root, StreamId(manifest.interface, manifest.version))
    return named if named.folder == folder else log
