"""Small state that runs of several processes share: circuit breakers, rate limits. One JSON file, guarded by a lock.

It only decides when something is tried; losing it costs a try too many, never a record, so it is not synced.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from rootsys_dagster.log.commit import StreamId, folder_name
from rootsys_dagster.log.store import make_folder, storage_errors

FOLDER = ".shared"
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class SharedState:
    """The JSON object that goes by *name* below a state root."""

    def __init__(self, state_root: Path, name: str) -> None:
        self.state_root = state_root
        self.name = name
        self.path = state_root / FOLDER / f"{folder_name(name)}.json"

    def read(self) -> dict[str, Any]:
        """The members as they stand; empty when there are none or they cannot be read."""
        try:
            return _decode(self.path.read_bytes())
        except (OSError, msgspec.MsgspecError):
            return {}

    @contextmanager
    def changing(self) -> Generator[dict[str, Any]]:
        """The members, held against every other process for the length of the block and kept at its end.

        Raises:
            StorageError: the state root cannot be written.
        """
        with storage_errors(self.path):
            make_folder(self.path.parent, self.state_root)
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with storage_errors(self.path):
                fcntl.flock(lock, fcntl.LOCK_EX)
            members = self.read()
            before = json.dumps(members)
            yield members
            after = json.dumps(members)
            if after != before:
                with storage_errors(self.path):
                    temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")
                    temporary.write_text(after)
                    temporary.replace(self.path)
        finally:
            os.close(lock)


def circuit_state(state_root: Path, stream: StreamId) -> SharedState:
    """The state of the circuit breaker of one interface."""
    return SharedState(state_root, f"circuit-{stream}")
