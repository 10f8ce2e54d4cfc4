"""The file calls of the commit log, in one place: create once, sync, publish by link, lock."""

import fcntl
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from rootsys_dagster.core.errors import ConfigError, FencedError, PermanentError, TransientError

PREFLIGHT_MARK = ".preflight"


class StorageError(PermanentError):
    """The state root refused a write or a sync; what was committed before stays, what was not is fetched again."""

    NOT_PUBLISHED = "nothing of this commit was published, everything committed before is intact"

    def __init__(self, path: Path, error: OSError, outcome: str = NOT_PUBLISHED) -> None:
        super().__init__(
            f"cannot write {path}: {error.strerror}; {outcome}; make the state root writable and run again",
            code="STATE.WRITE_FAILED",
        )


class LockedError(TransientError):
    """Another live process commits to the same log."""


@contextmanager
def storage_errors(path: Path, outcome: str = StorageError.NOT_PUBLISHED) -> Generator[None]:
    """Turn an OSError about *path* into a StorageError that says what it means for the data."""
    try:
        yield
    except OSError as error:
        raise StorageError(path, error, outcome) from error


def create(path: Path) -> int:
    """Open a new file for writing; it must not exist. Returns the descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte of *data*, however often the kernel takes only a part."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, above: Path) -> None:
    """Create *folder* and its parents below *above*, each synced into its parent."""
    missing: list[Path] = []
    while folder != above and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def write_durable(path: Path, data: bytes) -> None:
    """Create *path* with *data* and sync it; a half-written file is removed."""
    descriptor = create(path)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def replace_durable(path: Path, data: bytes) -> None:
    """Replace *path* by *data* in one step that survives a power cut."""
    # Not the process id: in containers that share a state root every process may have the same one.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    write_durable(temporary, data)
    temporary.replace(path)
    sync_folder(path.parent)


def publish(temporary: Path, final: Path) -> None:
    """Give a synced file its final name; the first to do so wins.

    Raises:
        FencedError: *final* exists already and is another file.
    """
    try:
        os.link(temporary, final)
    except FileExistsError:
        # A network file system may repeat a link that succeeded: the same inode is our own commit.
        if not os.path.samestat(temporary.stat(), final.stat()):
            raise FencedError(
                f"{final.parent.parent.parent.name}: commit {final.stem.lstrip('0')} was made by another run while "
                "this one worked; nothing was lost, run it again"
            ) from None


@contextmanager
def exclusive_lock(path: Path, owner: bytes) -> Generator[None]:
    """Hold the lock file for the length of the block; the kernel frees it when its owner dies.

    Args:
        owner: written into the file so that the refusal can name who holds it.
    Raises:
        LockedError: another process holds it.
        StorageError: the file cannot be made or locked.
    """
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            raise LockedError(
                f"{path.parent.parent.name}: {holder} is committing to this log; nothing was lost, "
                "run again when it is done",
                code="LOG.LOCKED",
            ) from None
        except OSError as error:
            raise StorageError(path, error) from error
        # Only a courtesy to whoever is refused: on a full disk gc must get in without it.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, owner, 0)
        yield
    finally:
        os.close(descriptor)


def preflight(state_root: Path) -> None:
    """Prove once per state root that link, folder sync and flock work there; the proof is remembered by device.

    Raises:
        ConfigError: the state root cannot be created or written, or its file system lacks one of the three.
    """
    try:
        make_folder(state_root, Path(state_root.anchor))
        mark = state_root / PREFLIGHT_MARK
        device = str(state_root.stat().st_dev).encode()
        if mark.is_file() and mark.read_bytes() == device:
            return
        _prove(state_root)
        replace_durable(mark, device)
    except OSError as error:
        raise ConfigError(
            f"state root {state_root} is not usable: {error.strerror}; "
            "name a writable local folder with --state-root or ROOTSYS_STATE_ROOT",
            code="STATE.UNUSABLE",
        ) from error


def _prove(state_root: Path) -> None:
    token = secrets.token_hex(4)
    one, two = (state_root / f"{PREFLIGHT_MARK}-{token}-{n}" for n in (1, 2))
    try:
        write_durable(one, b"link")
        os.link(one, two)
        try:
            os.link(one, two)
        except FileExistsError:
            pass
        else:
            raise OSError(0, "a second link to one name was not refused")
        sync_folder(state_root)
        first, second = os.open(one, os.O_RDWR), os.open(one, os.O_RDWR)
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                raise OSError(0, "a second lock on one file was not refused")
        finally:
            os.close(first)
            os.close(second)
    finally:
        for path in (one, two):
            path.unlink(missing_ok=True)
