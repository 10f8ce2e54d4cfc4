"""Where an interface reads, in words that several interfaces share: a folder, a host, a topic, a database."""

import re
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from rootsys_dagster.core.driver_config import FILE_KINDS
from rootsys_dagster.core.interface import Interface

GLOB: Final = re.compile(r"[*?\[]")


def place_of(interface: Interface) -> tuple[str, ...]:
    """The kind of place, then its name in one or more parts; nothing secret is part of it."""
    driver = interface.driver
    if driver.connection is not None:
        return ("connection", driver.connection)
    if driver.kind in FILE_KINDS:
        if driver.input == "-":
            return ("pipe", "standard_input")
        folder = PurePosixPath(GLOB.split(driver.input or "", maxsplit=1)[0] + "_").parent
        return ("folder", *([part for part in folder.parts if part != "/"] or ["project"]))
    if driver.rest is not None:
        return ("host", urlsplit(driver.rest.url).hostname or "unknown")
    if driver.stream is not None and driver.stream.kafka is not None:
        return ("topic", driver.stream.kafka.topic)
    return ("database", driver.db.kind if driver.db else "unknown")
