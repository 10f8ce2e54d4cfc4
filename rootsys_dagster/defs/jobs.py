"""Jobs by name for CI and the command line: one per interface, one per fabric, and ``all``."""

from collections.abc import Collection, Sequence
from keyword import iskeyword

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.definitions.utils import is_valid_name

from rootsys_dagster.defs.pairs import LINE, PREFIX, AssetPair

ALL = "all"
REPLAY = "replay_dead_letters"
INTERFACE_TAG = "rootsys/interface"
MAX_JOBS = 300
"""Resolving a job looks at every asset, so jobs per interface cost the square of their number."""


def is_wanted(each: bool | None, pairs: Sequence[AssetPair]) -> bool:
    """Whether there is something for each pair that costs the square of their number; None: up to some hundreds."""
    return each if each is not None else len(pairs) <= MAX_JOBS


def jobs(pairs: Sequence[AssetPair], job_per_interface: bool | None = None) -> list[UnresolvedAssetJobDefinition]:
    """The jobs for *pairs*; an empty project has none, because Dagster calls a job without steps a success.

    Args:
        job_per_interface: None switches the jobs per interface and fabric off above some hundreds.
    """
    if not pairs:
        return []
    # A job has one kind of partitions at most, and a run of this one names none.
    keys = [key for pair in pairs if pair.partitions is None for key in pair.keys.values()]
    found: list[UnresolvedAssetJobDefinition] = []
    if keys:
        everything = dg.AssetSelection.assets(*keys)
        description = "Every interface, then every fabric; those that are read by windows have jobs of their own"
        found.append(dg.define_asset_job(ALL, everything, description=description))
    if is_wanted(job_per_interface, pairs):
        names: set[str] = set()
        for pair in pairs:
            name = job_name(pair, names)
            names.add(name)
            selection = dg.AssetSelection.assets(*pair.keys.values())
            description = f"{pair.stream} from source to commit" if pair.stream.version else "Its file has problems"
            found.append(dg.define_asset_job(name, selection, description=description, tags=run_tags(pair)))
    return found


def job_name(pair: AssetPair, names: Collection[str]) -> str:
    """The name of the asset, or one like it where that is taken: an interface may be called ``input`` or ``all``."""
    name = pair.keys["records"].path[-1]
    if is_reserved(name):
        name = f"interface_{name}_job"
    while name in names:
        name += "_job"
    return name


def run_tags(pair: AssetPair) -> dict[str, str]:
    """By which the run queue keeps two runs of one interface apart."""
    return {INTERFACE_TAG: pair.keys["records"].to_user_string()}


def is_reserved(name: str) -> bool:
    """Whether Dagster keeps the word, or one of our nodes has it: node and job names share one space."""
    ours = name in (ALL, REPLAY) or name.endswith(LINE) or name.startswith(PREFIX)
    return ours or name.startswith("__") or iskeyword(name) or not is_valid_name(name)
