"""Jobs by name for CI and the command line: one per interface, one per fabric, and ``all``."""

from collections.abc import Sequence
from keyword import iskeyword

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.definitions.utils import is_valid_name

from rootsys_dagster.defs.pairs import AssetPair

ALL = "all"
INTERFACE_TAG = "rootsys/interface"
MAX_JOBS = 300
"""Resolving a job looks at every asset, so jobs per interface cost the square of their number."""


def jobs(pairs: Sequence[AssetPair], job_per_interface: bool | None = None) -> list[UnresolvedAssetJobDefinition]:
    """The jobs for *pairs*; an empty project has none, because Dagster calls a job without steps a success.

    Args:
        job_per_interface: None switches the jobs per interface and fabric off above some hundreds.
    """
    if not pairs:
        return []
    keys = [key for pair in pairs for key in pair.keys.values()]
    found = [
        dg.define_asset_job(ALL, dg.AssetSelection.assets(*keys), description="Every interface, then every fabric")
    ]
    if job_per_interface if job_per_interface is not None else len(pairs) <= MAX_JOBS:
        found += [
            dg.define_asset_job(
                job_name(pair),
                dg.AssetSelection.assets(*pair.keys.values()),
                description=f"{pair.stream} from source to commit",
                tags=run_tags(pair),
            )
            for pair in pairs
        ]
    return found


def job_name(pair: AssetPair) -> str:
    """The name of the asset, or one like it where Dagster or we keep the word: an interface may be called ``input``."""
    name = pair.keys["records"].path[-1]
    taken = name == ALL or name.startswith("__") or iskeyword(name) or not is_valid_name(name)
    return f"{name}_interface" if taken else name


def run_tags(pair: AssetPair) -> dict[str, str]:
    """By which the run queue keeps two runs of one interface apart."""
    return {INTERFACE_TAG: pair.keys["records"].to_user_string()}
