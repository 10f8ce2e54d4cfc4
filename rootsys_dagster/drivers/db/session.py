"""What the driver needs of a database, whichever it is: one read-only snapshot, asked in SQL that is composed here."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Literal

from rootsys_dagster.core.errors import ConfigError

CursorKind = Literal["integer", "numeric", "real", "text", "uuid", "date", "timestamp", "timestamptz"]
"""What a column can be for an incremental read; a ``timestamp`` has no zone."""
TIME_KINDS = ("date", "timestamp", "timestamptz")
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a query: its place in the result, its name, the type as the database calls it."""

    number: int
    name: str
    type: str
    cursor: CursorKind | None
    """None: it cannot order an incremental read."""
    native: int | None = None
    """The number of the type in the protocol of the database."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time at the source, taken before its snapshot: in UTC, and as its own wall clock shows it."""

    utc: datetime
    local: datetime


@dataclass(frozen=True, slots=True)
class Value:
    """A value that is bound to a statement, never written into it. None is NULL."""

    text: str | None
    is_number: bool = False
    """It looks like one and stands for one: of use where a database does not know the type of what it is asked."""


Fragment = tuple[str | Value, ...]
"""SQL in pieces: text as it stands, and values where they are bound."""


def sql(*pieces: "str | Value | Fragment") -> Fragment:
    """The pieces as one."""
    found: list[str | Value] = []
    for piece in pieces:
        found += [piece] if isinstance(piece, str | Value) else piece
    return tuple(found)


def joined(separator: str, fragments: Sequence[Fragment]) -> Fragment:
    """*fragments* with *separator* between them."""
    return sql(*(piece for n, one in enumerate(fragments) for piece in ((separator, one) if n else (one,))))


@dataclass(frozen=True, slots=True)
class Select:
    """Rows of a query as JSON objects: those columns, where that holds, in that order."""

    source: Fragment
    columns: tuple[Column, ...]
    """Every column of *source*, in order."""
    shown: tuple[Column, ...]
    """Those of them that become members, one per name."""
    where: Fragment = ()
    order: Fragment = ()

    @property
    def is_plain(self) -> bool:
        """Whether it is *source* as it stands."""
        return not self.where and not self.order and self.shown == self.columns


class Session(ABC):
    """One connection with one read-only transaction on one snapshot. Raises only our errors; close it."""

    clock: Clock

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def describe(self, source: Fragment, keys: Sequence[str] = ()) -> tuple[Column, ...]:
        """The columns of *source* without running it.

        Args:
            keys: names of columns that order the read; a database without types looks at their values.

        Raises:
            ConfigError: it is not one readable SELECT.
        """

    @abstractmethod
    def units(self, select: Select) -> Iterator[list[bytes]]:
        """The rows as JSON objects, in lists of about 64 KiB."""

    @abstractmethod
    def row(self, query: Fragment) -> tuple[str | None, ...] | None:
        """The first row of *query* as text, None when there is none."""

    @abstractmethod
    def shown(self, select: Select) -> str:
        """The statement of *select* with a mark such as ``$1`` for each value."""

    @abstractmethod
    def from_clause(self, select: Select) -> Fragment:
        """FROM and WHERE of *select*, for a question about its rows."""

    @abstractmethod
    def name(self, name: str) -> str:
        """*name* as an identifier, quoted."""

    @abstractmethod
    def column(self, column: Column) -> str:
        """*column* in the WHERE and ORDER of a select."""

    @abstractmethod
    def value(self, text: str, column: Column) -> Fragment:
        """A value of the type of *column*, from the text that it has in JSON or in an interface file."""

    @abstractmethod
    def text(self, column: Column) -> str:
        """*column* as its JSON has it."""

    @abstractmethod
    def instant(self, moment: datetime, column: Column) -> str:
        """*moment* as text of the type of *column*; without a zone it is written as it stands."""

    @abstractmethod
    def close(self) -> None:
        """End the transaction and the connection, whatever they are doing."""


def one_per_name(columns: Sequence[Column], wanted: Sequence[str]) -> tuple[Column, ...]:
    """The columns to show: of several with one name the last, as in the reference; only *wanted*, if any are named.

    Raises:
        ConfigError: a wanted column is not there.
    """
    by_name = {column.name: column for column in columns}
    if not wanted:
        return tuple(column for column in columns if by_name[column.name] is column)
    return tuple(find_column(by_name.values(), name, "driver.db.columns") for name in wanted)


def find_column(columns: Collection[Column], name: str, what: str) -> Column:
    """The column that goes by *name*.

    Raises:
        ConfigError: there is none.
    """
    found = [column for column in columns if column.name == name]
    if not found:
        listed = ", ".join(column.name for column in columns)
        raise ConfigError(f"{what}: the query has no column {name!r}; it has {listed}", code="DB.COLUMN_MISSING")
    return found[-1]
