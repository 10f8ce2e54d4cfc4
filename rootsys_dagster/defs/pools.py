"""Pools of Dagster: how many runs use one connection at once."""

import re

import dagster as dg

from rootsys_dagster.core.connections import Connections

CONNECTION_POOL = "connection/"


def pool_of(connection: str) -> str:
    """The pool of a named connection."""
    return f"{CONNECTION_POOL}{connection}"


def op_suffix(pool: str) -> str:
    """What the name of an op in *pool* ends with, an underscore for what cannot stand in one."""
    name = pool.removeprefix(CONNECTION_POOL)
    if name == pool:
        return re.sub(r"[^A-Za-z0-9]", "_", pool.rpartition("/")[2])
    # Two connections whose names differ must not share an op.
    return "connection_" + name.replace("_", "__").replace("-", "_h")


def limits_missing(connections: Connections, instance: dg.DagsterInstance) -> dict[str, int]:
    """The limits that connections.json asks for and *instance* does not have, by pool."""
    wanted = {pool_of(one.name): one.max_runs for one in connections.by_name.values() if one.max_runs is not None}
    if not wanted:
        return {}
    known = {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}
    return {name: limit for name, limit in wanted.items() if known.get(name) != limit}


def set_limits(connections: Connections, instance: dg.DagsterInstance) -> dict[str, int]:
    """Give the pools of *instance* the limits of connections.json; returns what was changed.

    A pool without a limit there is left alone: somebody may have given it one by hand.
    """
    changed = limits_missing(connections, instance)
    for name, limit in changed.items():
        instance.event_log_storage.set_concurrency_slots(name, limit)
    return changed
