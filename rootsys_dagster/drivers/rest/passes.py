"""One pass over the pages of a source: where it stands, what it has seen, and the position behind every page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Final

import orjson

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.pointer import tokens
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.record import ALREADY_COMMITTED, unit_fingerprint
from rootsys_dagster.core.rest_config import RestConfig
from rootsys_dagster.core.rest_paging_config import OffsetPagination, PagePagination
from rootsys_dagster.drivers.rest.errors import PaginationLoopError, shown
from rootsys_dagster.drivers.rest.page import Page
from rootsys_dagster.drivers.rest.paging import Paging, Step
from rootsys_dagster.drivers.rest.watermark import Watermark, utc_now

MAX_PAGES: Final = "driver.rest.pagination.max_pages"
PAGE_DRIFT: Final = "PAGE_DRIFT"
"""The records moved while they were paged through: an item came again, or their number changed."""
FUTURE_WATERMARK: Final = "FUTURE_WATERMARK"
"""An item says that it is of a time to come; it is a record, and does not move the watermark."""
NO_WATERMARK: Final = "NO_WATERMARK"
"""An item has nothing where the watermark should stand. It is a record, and does not move the watermark either."""
MAX_SET_ASIDE: Final = 1000
BEFORE_WATERMARK: Final = "before_watermark"
OUTSIDE_WINDOW: Final = "outside_window"


@dataclass(frozen=True, slots=True)
class Turned:
    """A page that was read, and what it means for the pass.

    Attributes:
        items: the numbers of the units that are kept, on their page.
        ends: whether the pass, or what one run may read of it, ends here.
    """

    items: Sequence[int]
    position: Position
    replaces: bool
    skipped: dict[str, int]
    warnings: dict[str, int]
    stopped: str | None
    ends: bool


@dataclass(slots=True)
class Pass:
    """A pass under way.

    Attributes:
        replaces: whether the pass brings everything anew.
        number: how many passes are complete.
        step: the page that comes next.
        committed: the watermark up to which everything is committed; None for a source that is read whole.
        low: the watermark that this pass asks for.
        high: the greatest watermark that it has seen.
        set_aside: short fingerprints of items that were read and have no place: no watermark, or one to come.
    """

    config: RestConfig
    paging: Paging
    watermark: Watermark | None
    replaces: bool
    number: int
    step: Step
    is_fresh: bool
    committed: str | None
    low: str | None
    high: str | None
    set_aside: frozenset[str] = frozenset()
    pages: int = 0
    _steps: set[bytes] = field(default_factory=set[bytes])
    _bodies: set[bytes] = field(default_factory=set[bytes])
    _before: frozenset[bytes] = frozenset()
    _total: bytes | None = None

    @classmethod
    def resumed(
        cls, resume: Position | None, config: RestConfig, paging: Paging, watermark: Watermark | None
    ) -> "Pass":
        """The pass that *resume* is in the middle of, else the next one from its first page."""
        known = resume or {}
        # Where the way of paging was changed since, the pass begins anew.
        begun = known.get("at") if paging.kept == frozenset(known.get("at", ())) else None
        committed = known.get("watermark")
        return cls(
            config=config,
            paging=paging,
            watermark=watermark,
            # What was read whole before has no watermark to go on from.
            replaces=watermark is None or "pass" in known,
            number=known.get("pass", 0),
            step=begun or paging.first(),
            is_fresh=begun is None,
            committed=committed,
            low=watermark.asked_from(committed) if watermark is not None else None,
            high=known.get("high", committed),
            set_aside=frozenset(known.get("set_aside", ())),
        )

    @classmethod
    def of_window(cls, config: RestConfig, paging: Paging) -> "Pass":
        """The pass over one window: it replaces nothing, and is not left half way."""
        return cls(config, paging, None, False, 0, paging.first(), False, None, None, None)

    def turn(self, page: Page, body: bytes, following: Step | None) -> Turned:
        """Take in the page of the current step, and go on to *following*.

        Raises:
            PaginationLoopError: the page, or the way on, was there before in this pass.
        """
        self._refuse_loops(page, body, following)
        self.pages += 1
        warnings = {PAGE_DRIFT: drift} if (drift := self._drift(page)) else {}
        items: Sequence[int] = range(len(page.units))
        skipped: dict[str, int] = {}
        if self.watermark is not None:
            seen = self.watermark.look(page.units, self.low, self.high, utc_now())
            self.high = seen.high
            known = self._set_aside(page, [*seen.placeless, *seen.future])
            odd = {
                NO_WATERMARK: len(set(seen.placeless) - known),
                FUTURE_WATERMARK: len(set(seen.future) - known),
            }
            warnings |= {code: count for code, count in odd.items() if count}
            left_out = {BEFORE_WATERMARK: seen.kept.count(False), ALREADY_COMMITTED: len(known)}
            skipped = {name: count for name, count in left_out.items() if count}
            if skipped:
                items = [number for number in compress(items, seen.kept) if number not in known]
        stopped = MAX_PAGES if following is not None and self.pages == self.paging.max_pages else None
        replaces = self.is_fresh and self.replaces
        self.is_fresh = False
        if following is not None:
            self.step = following
        return Turned(
            items=items,
            position=self._position(following),
            replaces=replaces,
            skipped=skipped,
            warnings=warnings,
            stopped=stopped,
            ends=following is None or stopped is not None,
        )

    def _set_aside(self, page: Page, numbers: Sequence[int]) -> frozenset[int]:
        """Those of the items without a place that were read before; the others are remembered from now on."""
        prints = {number: unit_fingerprint(page.units[number])[:6].hex() for number in numbers}
        known = frozenset(number for number, fingerprint in prints.items() if fingerprint in self.set_aside)
        self.set_aside = self.set_aside | frozenset(prints.values())
        if len(self.set_aside) > MAX_SET_ASIDE:
            raise ConfigError(
                f"more than {MAX_SET_ASIDE} items have nothing at incremental.field, or a moment to come, so that it "
                "cannot be told which of them are new; choose a field that every item has",
                code="REST.WATERMARKS_MISSING",
            )
        return known

    def _position(self, following: Step | None) -> Position:
        place: dict[str, Any] = {} if following is None else {"at": following}
        if self.set_aside:
            place["set_aside"] = sorted(self.set_aside)
        if self.watermark is None:
            return {"pass": self.number + (following is None), **place}
        if following is None:
            return place if self.high is None else {"watermark": self.high} | place
        known = {"watermark": self.committed, "high": self.high}
        return {name: value for name, value in known.items() if value is not None} | place

    def _refuse_loops(self, page: Page, body: bytes, following: Step | None) -> None:
        where = f"{self.config.method.upper()} {shown(self.config.url)}"
        self._steps.add(unit_fingerprint(_way(self.step)))
        if following is not None and unit_fingerprint(_way(following)) in self._steps:
            message = f"{where}: page {self.pages + 1} of this run leads back to a page that was read already"
            raise PaginationLoopError(f"{message}; what was read before is kept, check driver.rest.pagination")
        if not page.units or following is None:
            return
        digest = unit_fingerprint(body)
        if digest in self._bodies:
            message = f"{where}: page {self.pages + 1} of this run is the same as one before it, to the byte"
            raise PaginationLoopError(f"{message}; what was read before is kept, check driver.rest.pagination")
        self._bodies.add(digest)

    def _drift(self, page: Page) -> int:
        """How many items stood on the page before too; or 1 when the source says that their number has changed."""
        block = self.config.pagination.block() if self.config.pagination is not None else None
        if not isinstance(block, PagePagination | OffsetPagination):
            return 0
        here = frozenset(map(unit_fingerprint, page.units))
        again = len(here & self._before)
        self._before = here
        if block.total_pointer is None or page.document is None:
            return again
        before, self._total = self._total, page.document.at(tokens(block.total_pointer))
        return again or int(before is not None and before != self._total)


def _way(step: Step) -> bytes:
    """What the page of *step* is asked for by: not its number, where a cursor or a URL leads to it."""
    way: str | None = step.get("cursor") or step.get("url")
    return way.encode() if way is not None else orjson.dumps(step)
