"""How much a source has that is not committed yet, as far as that can be told without reading it."""

from typing import Any

from rootsys_dagster.core.driver_config import FILE_KINDS, DriverConfig
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.ports import Driver
from rootsys_dagster.core.position import Position
from rootsys_dagster.drivers.files import input_files, marks_of


def unread_bytes(driver: Driver[DriverConfig], position: Position | None) -> int | None:
    """Bytes behind *position* in the files of *driver*; None when only reading would tell."""
    config = driver.config
    if config.kind not in FILE_KINDS or config.input == "-":
        return None
    try:
        files = input_files(config, driver.context)
        if config.kind == "binary":
            return _unread_files(files, position)
        marks = marks_of(position)
        unread = 0
        for file in files:
            size, mark = file.path.stat().st_size, marks.get(file.locator)
            known = 0 if mark is None else (mark.stored_bytes or 0) if file.compression else mark.byte
            unread += max(size - known, 0)
    except (OSError, RootsysError):
        return None
    return unread


def _unread_files(files: list[Any], position: Position | None) -> int:
    done = (position or {}).get("files", {})
    sizes = {file.locator: file.path.stat().st_size for file in files}
    return sum(size for name, size in sizes.items() if done.get(name, {}).get("byte") != size)
