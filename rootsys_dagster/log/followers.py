"""How far each follower of a log got. A follower reads committed manifests in order and may be down, slow or killed."""

import os
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from rootsys_dagster.core.errors import LogDamagedError
from rootsys_dagster.log.commit import CommitLog, folder_name
from rootsys_dagster.log.store import LockedError, exclusive_lock, make_folder, replace_durable, storage_errors

LOCK_WAIT_S = 5.0
LOCK_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class FollowerState:
    """The newest commit that a follower has taken over, and what it needs to recognise its own output."""

    seq: int = 0
    mark: dict[str, Any] = field(default_factory=dict[str, Any])


@contextmanager
def follower_lock(log: CommitLog, name: str) -> Generator[None]:
    """Let only one process at a time be the follower *name*; wait some seconds for another to finish.

    Raises:
        LockedError: another process is still at it; it takes over what this one wanted to, or the next run does.
    """
    folder = log.folder / "followers"
    with storage_errors(folder):
        make_folder(folder, log.state_root)
    path = folder / f".{folder_name(name)}.lock"
    until_s = time.monotonic() + LOCK_WAIT_S
    while True:
        with ExitStack() as held:
            try:
                held.enter_context(exclusive_lock(path, f"follower {name} (process {os.getpid()})".encode()))
            except LockedError:
                if time.monotonic() >= until_s:
                    raise
            else:
                yield
                return
        time.sleep(LOCK_POLL_S)


def read_state(log: CommitLog, name: str) -> FollowerState:
    """How far the follower *name* got; at the beginning when it has never run.

    Raises:
        LogDamagedError: its state cannot be read.
    """
    return _read(log, log.folder / "followers" / f"{folder_name(name)}.json")


def write_state(log: CommitLog, name: str, state: FollowerState) -> None:
    """Remember durably how far the follower *name* got."""
    folder = log.folder / "followers"
    with storage_errors(folder):
        make_folder(folder, log.state_root)
        replace_durable(folder / f"{folder_name(name)}.json", msgspec.json.encode(state))


def follower_states(log: CommitLog) -> dict[str, FollowerState]:
    """Every follower that has run, by the name of its file."""
    folder = log.folder / "followers"
    names = sorted(path.stem for path in folder.glob("[!.]*.json"))
    return {name: _read(log, folder / f"{name}.json") for name in names}


def _read(log: CommitLog, path: Path) -> FollowerState:
    try:
        return msgspec.json.decode(path.read_bytes(), type=FollowerState)
    except FileNotFoundError:
        return FollowerState()
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise LogDamagedError(
            f"{log.stream}: {path} cannot be read; remove it and the follower starts again from the first commit"
        ) from error
