"""Where a row stood: its number in a read of everything, its key in a read that goes on behind the last row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any, ClassVar

import msgspec

from rootsys_dagster.core.registry import LOCATORS


class Row(msgspec.Struct, gc=False):
    """Rows count from 1."""

    row: int


encode_lines = msgspec.json.Encoder().encode_lines


@LOCATORS.register("rows")
@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of one query.

    Attributes:
        source_type: ``db/postgres`` and so on.
        first_row: of a read of everything.
        key: the columns by which a row of an incremental read is found again; empty otherwise.
    """

    source_type: str
    content_type: str | None
    filename: str | None
    first_row: int
    key: tuple[str, ...] = ()

    locator: ClassVar[None] = None

    def positions(self, units: Sequence[bytes]) -> Iterable[bytes]:
        """``{"row": 12}``, or ``{"key": {"updated_at": …, "id": …}}``."""
        if not self.key:
            rows = map(Row, range(self.first_row, self.first_row + len(units)))
            return encode_lines(list(rows)).split(b"\n")[:-1]
        decode = key_decoder(tuple(self.key)).decode
        return [b'{"key":%b}' % msgspec.json.encode(decode(unit)) for unit in units]

    def to_json(self) -> dict[str, Any]:
        """JSON members for the spool."""
        return {"kind": "rows"} | {name: getattr(self, name) for name in self.__slots__}


@cache
def key_decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Reads only these members of a row, each as the bytes that it has."""
    fields = [
        (f"f{n}", msgspec.Raw, msgspec.field(name=name, default=msgspec.Raw(b"null")))
        for n, name in zip(count(), names)
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Key", fields, gc=False))


def key_texts(unit: bytes, names: tuple[str, ...]) -> tuple[str | None, ...]:
    """The values of these members as text: what a string says, a number as it is written, None for null."""
    key = key_decoder(names).decode(unit)
    found: list[str | None] = []
    for n in range(len(names)):
        raw = bytes(getattr(key, f"f{n}"))
        found.append(None if raw == b"null" else msgspec.json.decode(raw) if raw[:1] == b'"' else raw.decode())
    return tuple(found)
