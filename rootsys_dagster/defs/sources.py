"""Where records come from, as assets of their own: lineage starts outside, not at our door."""

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import dagster as dg

from rootsys_dagster.core.driver_config import FILE_KINDS
from rootsys_dagster.core.interface import Interface

GROUP = "sources"
GLOB = re.compile(r"[*?\[]")
UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def has_columns(interface: Interface) -> bool:
    """Whether the source declares the columns of what it holds."""
    return interface.driver.kind == "db"


def source_spec(interface: Interface) -> dg.AssetSpec:
    """The source system that *interface* reads: a connection, a folder, a host, a database server or a topic.

    Interfaces that read from one place share it; nothing secret is part of its name.
    """
    kind, *parts = _place(interface)
    key = dg.AssetKey([kind, *(UNSAFE.sub("_", part) for part in parts)])
    return dg.AssetSpec(key, description=f"{kind} {'/'.join(parts)}", group_name=GROUP, kinds={kind})


def _place(interface: Interface) -> tuple[str, ...]:
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
