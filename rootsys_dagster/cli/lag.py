"""How much a source has that is not committed yet, as far as that can be told without reading it."""

from typing import Any

from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.ports import Driver
from rootsys_dagster.core.position import Position


def unread_bytes(driver: Driver[Any], position: Position | None) -> int | None:
    """Bytes behind *position*; None when only reading would tell, or the source cannot be asked now."""
    try:
        return driver.unread_bytes(position)
    except RootsysError:
        return None
