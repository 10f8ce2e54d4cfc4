"""Where records come from, as assets of their own: lineage starts outside, not at our door."""

import re
from functools import lru_cache

import dagster as dg

from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.place import place_of

GROUP = "sources"
UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def has_columns(interface: Interface) -> bool:
    """Whether the source declares the columns of what it holds."""
    return interface.driver.kind == "db"


def source_spec(interface: Interface) -> dg.AssetSpec:
    """The source system that *interface* reads: a connection, a folder, a host, a database server or a topic.

    Interfaces that read from one place share it; nothing secret is part of its name.
    """
    return _spec(place_of(interface))


@lru_cache(maxsize=4096)
def _spec(place: tuple[str, ...]) -> dg.AssetSpec:
    kind, *parts = place
    key = dg.AssetKey([kind, *(UNSAFE.sub("_", part) for part in parts)])
    return dg.AssetSpec(key, description=f"{kind} {'/'.join(parts)}", group_name=GROUP, kinds={kind})
