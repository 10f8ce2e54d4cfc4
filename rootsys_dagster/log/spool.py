"""The spool: raw batches on their way from fetch to normalise, as Arrow IPC. Never trusted without its hash."""

# pyarrow ships no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]

from rootsys_dagster.core.errors import PermanentError
from rootsys_dagster.core.ports import Batch, Oversized
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.record import Message
from rootsys_dagster.core.registry import LOCATORS
from rootsys_dagster.log.commit import CommitLog, folder_name
from rootsys_dagster.log.store import make_folder, storage_errors

FILE_NAME = "batches.arrow"
ROWS_PER_WRITE = 64
BYTES_PER_WRITE = 16 << 20
"""Batches are written, and read again, together until they are so many or hold so much."""
SCHEMA = pa.schema([("units", pa.list_(pa.binary())), ("about", pa.binary())])


class SpoolDamagedError(PermanentError):
    """A spool file is not what the fetch wrote; nothing of it was used, run again to fetch anew."""


class HashingFile:
    """A file that knows the hash of what went into it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self.closed = False
        self._stream = stream

    def write(self, data: Any) -> int:
        """Write and hash *data*, a buffer."""
        view = memoryview(data)
        self.sha256.update(view)
        return self._stream.write(view)

    def flush(self) -> None:
        """Nothing is held back."""


class SpoolWriter:
    """Writes the batches of one run."""

    def __init__(self, log: CommitLog, run_id: str) -> None:
        self.folder = log.folder / "spool" / folder_name(run_id)
        with storage_errors(self.folder):
            make_folder(self.folder, log.state_root)

    def write(self, batches: Iterator[Batch]) -> tuple[Path, str]:
        """Write every batch; returns the file and its SHA-256."""
        path = self.folder / FILE_NAME
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with storage_errors(path), path.open("wb") as stream:
            target = HashingFile(stream)
            with pa.ipc.new_stream(pa.PythonFile(target, "w"), SCHEMA, options=options) as writer:
                previous: Position = {}
                for rows in _groups(batches):
                    writer.write_batch(_record_batch(rows, previous))
                    previous = rows[-1].position
        return path, target.sha256.hexdigest()


def read_batches(path: Path, sha256: str) -> Iterator[Batch]:
    """The batches of a spool file, in order.

    Raises:
        SpoolDamagedError: the file is gone or is not the one that was written.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise SpoolDamagedError(f"{path}: {error.strerror}; run again to fetch anew", code="SPOOL.DAMAGED") from error
    with stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
            message = f"{path} was changed since the fetch; run again to fetch anew"
            raise SpoolDamagedError(message, code="SPOOL.DAMAGED")
        stream.seek(0)
        position: Position = {}
        with pa.ipc.open_stream(stream) as reader:
            for rows in reader:
                for units, about in zip(rows["units"].to_pylist(), rows["about"].to_pylist(), strict=True):
                    batch = _batch(units, about, position)
                    position = batch.position
                    yield batch


def remove_spool(folder: Path) -> None:
    """Forget the spool in *folder*, whose batches are committed or of no use."""
    shutil.rmtree(folder, ignore_errors=True)


def _groups(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    size = 0
    for batch in batches:
        group.append(batch)
        size += sum(map(len, batch.units))
        if len(group) == ROWS_PER_WRITE or size >= BYTES_PER_WRITE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _record_batch(batches: list[Batch], previous: Position) -> pa.RecordBatch:
    about: list[bytes] = []
    for batch in batches:
        members = {
            "kind": batch.kind,
            "locators": batch.locators.to_json(),
            "moved": _difference(previous, batch.position),
            "raw_bytes": batch.raw_bytes,
            "oversized": batch.oversized,
            "refused": batch.refused,
            "keeps_blank": batch.keeps_blank,
            "resumable": batch.resumable,
            "replaces": batch.replaces,
            "skipped": batch.skipped,
            "warnings": batch.warnings,
            "stopped": batch.stopped,
            "asked": batch.asked,
        }
        about.append(msgspec.json.encode(members))
        previous = batch.position
    units = pa.array([batch.units for batch in batches], type=SCHEMA.field("units").type)
    return pa.record_batch([units, pa.array(about, type=pa.binary())], schema=SCHEMA)


def _batch(units: list[bytes], about: bytes, previous: Position) -> Batch:
    members = msgspec.json.decode(about)
    locators = dict(members["locators"])
    oversized, refused = members["oversized"], members["refused"]
    return Batch(
        units=units,
        kind=members["kind"],
        locators=LOCATORS.get(locators.pop("kind"))(**locators),
        position=_moved(previous, members["moved"]),
        raw_bytes=members["raw_bytes"],
        oversized=Oversized(**oversized) if oversized else None,
        refused=Message(**refused) if refused else None,
        keeps_blank=members["keeps_blank"],
        resumable=members["resumable"],
        replaces=members["replaces"],
        skipped=members["skipped"],
        warnings=members["warnings"],
        stopped=members["stopped"],
        asked=members["asked"],
    )


def _difference(before: Any, after: Any) -> dict[str, Any]:
    """What has to change in *before*: a position may name ten thousand files of which one batch moves one."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return {"is": after}
    old, new = cast(Position, before), cast(Position, after)
    changed = {name: _difference(old.get(name), value) for name, value in new.items() if _differs(old, name, value)}
    return {"changed": changed, "gone": [name for name in old if name not in new]}


def _differs(old: Position, name: str, value: Any) -> bool:
    return name not in old or (old[name] is not value and old[name] != value)


def _moved(before: Any, difference: dict[str, Any]) -> Any:
    if "is" in difference:
        return difference["is"]
    changed = {name: _moved(before.get(name), change) for name, change in difference["changed"].items()}
    gone = set(difference["gone"])
    return {name: value for name, value in before.items() if name not in gone} | changed
