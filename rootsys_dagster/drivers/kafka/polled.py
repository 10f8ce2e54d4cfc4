"""What a poll brought from one partition, column by column, whichever client brought it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TypeAlias

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
"""Names and values in the producer's order."""


@dataclass(frozen=True, slots=True)
class Polled:
    """Messages of one partition in its order, at least one.

    Attributes:
        timestamps: milliseconds since 1970, negative where the producer gave none.
        headers: of each message; None or empty when it has none.
    """

    partition: int
    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None]

    def part(self, begin: int, end: int) -> "Polled":
        """The messages from number *begin* up to, and without, *end*."""
        if (begin, end) == (0, len(self.offsets)):
            return self
        return Polled(
            self.partition,
            self.offsets[begin:end],
            self.timestamps[begin:end],
            self.keys[begin:end],
            self.values[begin:end],
            self.headers[begin:end],
        )

    def where(self, kept: Sequence[bool]) -> "Polled":
        """The messages whose number is *kept*."""
        return Polled(
            self.partition,
            list(compress(self.offsets, kept)),
            list(compress(self.timestamps, kept)),
            list(compress(self.keys, kept)),
            list(compress(self.values, kept)),
            list(compress(self.headers, kept)),
        )
