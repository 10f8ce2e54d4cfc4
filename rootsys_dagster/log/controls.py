"""Who has paused, drained, resumed or replayed what, and why. One append-only file; what holds now is derived from it.

Every entry names the hash of the one before it, so that a line that was changed or taken out shows. A refused
transition is an entry too, and so is a launch that a hold or a budget has refused, once until something else happens.
"""

import fcntl
import hashlib
import os
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from rootsys_dagster.core.errors import ConfigError, LogDamagedError
from rootsys_dagster.log.commit import utc_now
from rootsys_dagster.log.store import make_folder, preflight, storage_errors, sync_folder, write_all
from rootsys_dagster.log.trigger import user_name

FOLDER = ".controls"
NOT_RECORDED = "nothing was changed, what held before holds still"

Hold: TypeAlias = Literal["pause", "drain"]
Action: TypeAlias = Literal["pause", "drain", "resume", "replay", "reset", "run"]
ScopeKind: TypeAlias = Literal["all", "tenant", "group", "interface"]
HELD = {"pause": "paused", "drain": "draining"}


class Scope(msgspec.Struct, frozen=True):
    """What a control is about: everything, one tenant, one group, or one interface (or fabric) in all its versions."""

    kind: ScopeKind
    name: str = ""

    def __str__(self) -> str:
        return "everything" if self.kind == "all" else f"{self.kind} {self.name}"

    @property
    def option(self) -> str:
        """How the command line names it."""
        return "--all" if self.kind == "all" else f"--{self.kind} {self.name}"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the file."""

    at: str
    by: str
    action: Action
    scope: Scope
    reason: str
    outcome: Literal["done", "refused"] = "done"
    message: str = ""
    """What came of it, or why it was refused."""
    prev_sha256: str = ""

    def __str__(self) -> str:
        return f'{HELD.get(self.action, self.action)} by {self.by} since {self.at}: "{self.reason}"'


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds now."""

    holds: Mapping[Scope, Entry] = field(default_factory=dict[Scope, Entry])
    refused: Mapping[Scope, frozenset[str]] = field(default_factory=dict[Scope, frozenset[str]])
    """What was refused to a scope since something was last done with it: who wanted what, and why not."""
    head: str = ""
    """The hash of the newest line."""
    size: int = 0
    """Bytes of the whole lines that this was derived from."""

    def hold_on(self, scopes: Iterable[Scope]) -> Entry | None:
        """The strictest hold on any of *scopes*; the first one of those that are equally strict."""
        found = [self.holds[scope] for scope in scopes if scope in self.holds]
        return min(found, key=lambda entry: entry.action != "pause", default=None)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode
_known: dict[Path, tuple[tuple[int, int], Standing]] = {}
"""By file: its device and inode, and what was read of it, so that asking again costs one look at its size."""


class Controls:
    """The controls of one state root."""

    def __init__(self, state_root: Path) -> None:
        self.state_root = state_root
        self.path = state_root / FOLDER / "audit.jsonl"

    def entries(self) -> Iterator[Entry]:
        """Every entry, oldest first.

        Raises:
            LogDamagedError: the file cannot be read, or is not what was written.
        """
        for _, entry in self._read(Standing()):
            yield entry

    def standing(self) -> Standing:
        """What holds now.

        Raises:
            LogDamagedError: the file cannot be read; then nothing can be said to be free to run.
        """
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return Standing()
        except OSError as error:
            raise self._damaged(f"cannot be read: {error.strerror}") from error
        inode = (status.st_dev, status.st_ino)
        known, standing = _known.get(self.path, (inode, Standing()))
        if known != inode or status.st_size < standing.size:
            standing = Standing()
        if status.st_size > standing.size:
            standing = self._derive(standing)
            _known[self.path] = inode, standing
        return standing

    def change(self, action: Literal["pause", "drain", "resume"], scope: Scope, *, reason: str, by: str) -> Entry:
        """Pause, drain or resume *scope*; a transition that makes no sense is recorded as refused.

        Raises:
            ConfigError: *reason* is blank.
            StorageError: the state root cannot be written.
        """
        if not reason.strip():
            raise ConfigError("the reason is blank; it is all that others see of why", code="CONTROLS.REASON_BLANK")

        def outcome(standing: Standing) -> Entry:
            problem = _problem(action, scope, standing.holds.get(scope))
            refused = "refused" if problem else "done"
            return Entry(
                at=utc_now(), by=by, action=action, scope=scope, reason=reason, outcome=refused, message=problem
            )

        entry = self._append(outcome)
        assert entry is not None
        return entry

    def record(self, entry: Entry, *, unless_repeated: bool = False) -> None:
        """Keep what was done or refused.

        Args:
            unless_repeated: not when the same was refused since something was last done; sensors ask again and again.
        """

        def outcome(standing: Standing) -> Entry | None:
            known = standing.refused.get(entry.scope, frozenset())
            return None if unless_repeated and _refusal(entry) in known else entry

        self._append(outcome)

    def _append(self, outcome: Callable[[Standing], Entry | None]) -> Entry | None:
        with self._locked():
            standing = self.standing()
            entry = outcome(standing)
            if entry is not None:
                entry = msgspec.structs.replace(entry, prev_sha256=standing.head)
                with storage_errors(self.path, NOT_RECORDED):
                    descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
                    try:
                        # A writer that was killed may have left half a line, which nobody was told is there.
                        os.ftruncate(descriptor, standing.size)
                        write_all(descriptor, _encode(entry) + b"\n")
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
                    if not standing.size:
                        sync_folder(self.path.parent)
            return entry

    @contextmanager
    def _locked(self) -> Generator[None]:
        preflight(self.state_root)
        with storage_errors(self.path, NOT_RECORDED):
            make_folder(self.path.parent, self.state_root)
            lock = os.open(self.path.with_name("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with storage_errors(self.path, NOT_RECORDED):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _derive(self, standing: Standing) -> Standing:
        holds, refused, head, size = dict(standing.holds), dict(standing.refused), standing.head, standing.size
        for line, entry in self._read(standing):
            size += len(line)
            head = hashlib.sha256(line).hexdigest()
            if entry.outcome == "refused":
                refused[entry.scope] = refused.get(entry.scope, frozenset()) | {_refusal(entry)}
                continue
            refused.pop(entry.scope, None)
            if entry.action in HELD:
                holds[entry.scope] = entry
            elif entry.action == "resume":
                holds.pop(entry.scope, None)
        return Standing(holds, refused, head, size)

    def _read(self, standing: Standing) -> Iterator[tuple[bytes, Entry]]:
        """The whole lines behind *standing*, each checked against the one before it."""
        expected = standing.head
        try:
            with self.path.open("rb") as stream:
                stream.seek(standing.size)
                for line in stream:
                    if not line.endswith(b"\n"):
                        return
                    entry = _decode(line)
                    if entry.prev_sha256 != expected:
                        raise self._damaged(f"was changed before the entry of {entry.at}")
                    expected = hashlib.sha256(line).hexdigest()
                    yield line, entry
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._damaged(f"cannot be read: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged("has an entry that cannot be read") from error

    def _damaged(self, why: str) -> LogDamagedError:
        message = f"{self.path} {why}; nothing runs while it is unknown what is paused: restore it from a backup"
        return LogDamagedError(message, code="CONTROLS.DAMAGED")


def this_user() -> str:
    """Who is logged in, as well as that can be told."""
    return user_name() or f"user {os.getuid()}"


def this_person() -> str:
    """Who is logged in where."""
    return f"{this_user()}@{socket.gethostname()}"


def _problem(action: str, scope: Scope, held: Entry | None) -> str:
    """Why a transition makes no sense, empty when it does."""
    if action == "resume":
        return "" if held else f"{scope} is not held; see 'rootsys controls' for what is"
    if held is None or (held.action == "drain" and action == "pause"):
        return ""
    stricter = "" if held.action == action else ", which is stricter"
    return f"{scope} is {held}{stricter}; resume it first"


def _refusal(entry: Entry) -> str:
    return f"{entry.by} {entry.action} {entry.message}"
