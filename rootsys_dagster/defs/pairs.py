"""Two assets that one commit log feeds: how they are called, and how an op finds the file behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import dagster as dg

from rootsys_dagster.core.fabric import Fabric
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.project import Project, asset_name
from rootsys_dagster.log.commit import CommitLog, StreamId

Role: TypeAlias = Literal["records", "dead_letters", "duplicates"]
"""What an asset shows of its commit log; also the kind of segment, and the name of the output that carries it."""

NAME = "rootsys/name"
VERSION = "rootsys/version"
ROLE = "rootsys/role"
LINE = "__line"
"""Ends the names of what runs, and ``rootsys_`` begins the names of shared ops: node and job names share one space."""
PREFIX = "rootsys_"


@dataclass(frozen=True, slots=True)
class AssetPair:
    """The assets of one interface (records, dead letters) or of one fabric (records, duplicates)."""

    node: str
    """The name of what runs, ``mes__line``."""
    stream: StreamId
    keys: Mapping[Role, dg.AssetKey]
    partitions: dg.TimeWindowPartitionsDefinition | None = None
    """The windows of an interface that is read by windows."""

    def log(self, project: Project) -> CommitLog:
        """The commit log that both assets show."""
        return CommitLog(project.state_root, self.stream)

    def metadata(self, role: Role) -> dict[str, str]:
        """By which :func:`pair_of` finds the way back."""
        return {NAME: self.stream.name, VERSION: self.stream.version, ROLE: role}


def interface_pair(interface: Interface) -> AssetPair:
    """``mes`` and ``mes_dead_letters``."""
    return pair_named([], asset_name(interface), "dead_letters", StreamId(interface.name, interface.version))


def fabric_pair(fabric: Fabric) -> AssetPair:
    """``defects`` (merged) and ``defects_duplicates``."""
    return pair_named([], asset_name(fabric), "duplicates", StreamId(fabric.name, fabric.version))


def pair_named(prefix: Sequence[str], name: str, second: Role, stream: StreamId) -> AssetPair:
    """The pair *name*, ``name_<second>`` below *prefix*."""
    keys: dict[Role, dg.AssetKey] = {
        "records": dg.AssetKey([*prefix, name]),
        second: dg.AssetKey([*prefix, f"{name}_{second}"]),
    }
    return AssetPair("_".join([*prefix, f"{name}{LINE}"]), stream, keys)


def pair_of(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> AssetPair:
    """The pair that the running op belongs to, from the metadata of its assets."""
    metadata_by_key = context.assets_def.metadata_by_key
    metadata = next(iter(metadata_by_key.values()))
    return AssetPair(
        node=context.assets_def.node_def.name,
        stream=StreamId(metadata[NAME], metadata[VERSION]),
        keys={metadata[ROLE]: key for key, metadata in metadata_by_key.items()},
        partitions=cast("dg.TimeWindowPartitionsDefinition | None", context.assets_def.partitions_def),
    )
