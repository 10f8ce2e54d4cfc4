"""The ports: what a driver hands to the line, and what a dead-letter sink takes from it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from rootsys_dagster.core.connections import Connections
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.incremental import Incremental, Watermark, Window
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.record import Message
from rootsys_dagster.core.stream_config import KafkaServer

PayloadKind = Literal["json", "text", "binary"]
C = TypeVar("C")


class Locators(Protocol):
    """Where the units of one batch came from, in the words of the source system."""

    @property
    def source_type(self) -> str: ...

    @property
    def locator(self) -> str | None: ...

    @property
    def content_type(self) -> str | None: ...

    @property
    def filename(self) -> str | None: ...

    def positions(self, units: Sequence[bytes]) -> Iterable[bytes]:
        """One compact JSON object per unit, in order: the member ``source_details.position`` of its record."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Plain JSON members from which the spool rebuilds this object, with a member ``kind``."""
        ...


@dataclass(frozen=True, slots=True)
class Oversized:
    """What is left of a unit above ``limits.max_record_bytes``: its batch carries the first bytes only."""

    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Raw units exactly as received, and where to resume once they are safe.

    Attributes:
        units: the bytes of each unit without its line ending; blank lines are units too, so that bytes add up. A JSON
            unit holds no line feed, because it becomes part of a line.
        kind: what the units are before anyone has looked into them.
        position: covers this batch and all before it, nothing after.
        raw_bytes: what the batch took at its source, line endings included.
        oversized: set when the batch is one unit of which ``units[0]`` is only the beginning.
        keeps_blank: whether a unit of nothing but spaces is one like any other: a message, and not an empty line.
        resumable: whether a read can go on behind this batch. A commit ends with such a batch only; what comes before
            it is committed together with it or not at all.
        replaces: the first batch of a read that brings everything anew: what was committed before it is history.
        skipped: units that the driver left out on purpose, by name; they are counted as fetched.
        warnings: what is odd about this batch and harms no unit, by code.
        stopped: why the read ends behind this batch although the source has more; the next one goes on there.
        asked: what the source was asked for this batch and those after it, without secrets; kept in the manifest. None
            when nothing has changed since the batch before.
        refused: why none of the units can be a record, where the source itself shows it; each becomes a dead letter.
    """

    units: list[bytes]
    kind: PayloadKind
    locators: Locators
    position: Position
    raw_bytes: int
    oversized: Oversized | None = None
    keeps_blank: bool = False
    resumable: bool = True
    replaces: bool = False
    skipped: dict[str, int] = field(default_factory=dict[str, int])
    warnings: dict[str, int] = field(default_factory=dict[str, int])
    stopped: str | None = None
    asked: dict[str, Any] | None = None
    refused: Message | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a person wants a source to be read from: its first unit, the next one, or a number of its own."""

    at: Literal["earliest", "latest"] | int
    partition: int | None = None
    """The part of the source that is meant; None: all of it."""


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What a driver may know of its surroundings."""

    root: Path
    """Relative paths of the interface file start here."""
    data_roots: tuple[Path, ...]
    """Inputs must lie below one of these; empty means that any path is allowed (a path typed on a command line)."""
    max_record_bytes: int
    name: str = ""
    """Of the interface, with its version below: what is kept between runs goes by both."""
    version: str = ""
    state_root: Path | None = None
    """Where circuit breakers and rate limits are shared; None when a run keeps nothing."""
    secrets_root: Path = Path("secrets")
    incremental: Incremental | None = None
    watermarks: tuple[Watermark, ...] = ()
    max_run_s: int | None = None
    connections: Connections = field(default_factory=Connections)
    """Those of the project, for what the interface file names besides its own."""
    window: Window | None = None
    """The interval to read, for an interface that reads by windows; None: every interval that is due."""


class Driver(ABC, Generic[C]):
    """Reads one source system. May repeat, never skips; raises only our errors; owns and closes what it opens."""

    source_type: str
    """As records name it; a class attribute where a driver reads one kind of source."""
    commit_s: ClassVar[float | None] = None
    """How long a run keeps what it has read before it commits, unless the interface file says; None: by its default."""

    def __init__(self, config: C, context: DriverContext) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    def check(self) -> None:
        """Raise what would stop a read: a ConfigError for the file to fix, a TransientError when waiting helps."""

    @abstractmethod
    def read(self, resume: Position | None) -> Iterator[Batch]:
        """Batches from *resume* (None: from the beginning) to what is complete at the source now."""

    def files(self) -> Iterable[Path]:
        """The files that are read, if any: nothing may be written over them."""
        return ()

    def span(self, start: Position | None, end: Position) -> int | None:
        """How many raw bytes lie between two positions, to check batches against; None when that cannot be said."""
        return None

    def unread_bytes(self, resume: Position | None) -> int | None:
        """How many bytes, as stored, the source has behind *resume*; None when only reading would tell."""
        return None

    def unread_units(self, resume: Position | None) -> int | None:
        """How many units the source has behind *resume*, as far as they are counted; None when only reading tells."""
        return None

    def head(self, resume: Position | None) -> str | None:
        """A cheap text that changes when the source has something after *resume*; None when there is nothing new."""
        raise NotImplementedError

    def plan(self, resume: Position | None) -> dict[str, Any]:
        """What a read from *resume* would ask the source, in its own words and without secrets. For people."""
        root = self.context.root
        return {"files": [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in self.files()]}

    def position_at(self, place: Place, resume: Position | None) -> Position:
        """The position from which a read begins at *place*, for a reset of *resume* by a person.

        Raises:
            ConfigError: this source cannot be read from there.
        """
        message = "an interface of this kind has no position that can be reset; give it another version to begin anew"
        raise ConfigError(message, code="POSITION.NOT_RESETTABLE")

    def acknowledgements(self) -> dict[str, Callable[[Position], None]]:
        """How to tell others how far the source is committed, by the name of the follower that does so.

        Called with the end of the newest commit; a RootsysError holds up this follower only.
        """
        return {}

    @property
    def remembers_units(self) -> bool:
        """Whether a commit keeps a fingerprint of each unit, because a later read may bring units again."""
        return False

    def rereads(self, resume: Position, end: Position) -> bool:
        """Whether a read from *resume* may bring units again that a commit which ended at *end* has."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkPlace:
    """Where a sink keeps its copy: a file, or a server by its connection."""

    path: Path = Path()
    """Absolute; of a sink that writes a file."""
    connection: str = ""
    """Of a sink that writes to a server, with references in the place of secrets."""
    table: str = ""
    secrets_root: Path = Path("secrets")
    kafka: KafkaServer | None = None
    root: Path = Path()
    """Relative paths of certificates start here, and lie below one of *data_roots* where there are any."""
    data_roots: tuple[Path, ...] = ()


class DeadLetterSink(ABC):
    """Keeps a copy of committed lines outside the state root. A follower: commit by commit, and again after a crash."""

    def __init__(self, place: SinkPlace) -> None:
        self.place = place

    @abstractmethod
    def write(self, lines: Iterable[bytes], *, run_id: str, commit_seq: int) -> int:
        """Keep the lines of one commit, each with its newline. Returns how many were new.

        Raises:
            ConfigError: the sink cannot be what the interface file says.
            TransientError: it is not there now; the same lines come again.
        """

    def outcomes(self, lines: Iterable[bytes], *, run_id: str, commit_seq: int) -> None:  # noqa: B027
        """Take over what a commit says became of dead letters, for a sink that can show it: ``log.letters.Outcome``.

        Called behind :meth:`write` of the same commit, and like that again after a crash.
        """

    def mark(self) -> dict[str, Any]:
        """Make what was written durable, and say how to recognise it after a crash."""
        return {}

    def resume(self, mark: dict[str, Any]) -> bool:
        """Go back to what *mark* describes; False when that is gone and everything has to be written again."""
        return True

    def close(self) -> None:  # noqa: B027  (not every sink holds something)
        """Release what the sink opened."""
