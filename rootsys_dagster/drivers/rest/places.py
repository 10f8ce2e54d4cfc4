"""Where the units of a response stood: the page as its source names it, and the number of the item on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from rootsys_dagster.core.registry import LOCATORS


@LOCATORS.register("rest")
@dataclass(frozen=True, slots=True)
class PageItems:
    """Consecutive items of one page.

    Attributes:
        step: how the source names the page: ``{"page": 3}``, ``{"page": 3, "cursor": "…"}``, ``{"offset": 200}``.
        first_item: the number of the first unit on its page, from 0; the others follow it.
        items: the number of each unit, where some between them are left out.
        framed: whether the source said where the body ends; without that a cut looks like the end.
        length: of an item above ``limits.max_record_bytes``, with its ``sha256``.
    """

    locator: str
    content_type: str | None
    filename: str | None
    step: dict[str, Any]
    first_item: int = 0
    items: list[int] | None = None
    framed: bool = True
    length: int | None = None
    sha256: str | None = None

    source_type: ClassVar[str] = "rest"

    def positions(self, units: Sequence[bytes]) -> Iterable[bytes]:
        """``{"page": 3, "item": 7}`` of each unit, with ``"unframed": true`` where a cut could not be seen."""
        more: dict[str, Any] = {} if self.framed else {"unframed": True}
        if self.sha256 is not None:
            more |= {"length": self.length, "sha256": self.sha256}
        begin = orjson.dumps(self.step)[:-1] + (b"," if self.step else b"") + b'"item":'
        end = b"," + orjson.dumps(more)[1:] if more else b"}"
        items = self.items or range(self.first_item, self.first_item + len(units))
        return [b"%b%d%b" % (begin, item, end) for item in items]

    def to_json(self) -> dict[str, Any]:
        """JSON members for the spool."""
        return {"kind": "rest"} | {name: getattr(self, name) for name in self.__slots__}
