"""A file that cannot be used keeps its place: its assets say what is wrong, and so does every run that meets them.

It is part of the job ``all``, which ends red then: a typing error must not leave an interface out night after night
unseen. Its steps have the names they had while the file was good, so that a run which was asked for before the file
broke fails with the problems of the file as well.
"""

import re
from collections.abc import Collection, Mapping

import dagster as dg

from rootsys_dagster.core.errors import InvalidFileError
from rootsys_dagster.core.project import FabricFile, Project, ProjectFile
from rootsys_dagster.defs import checks
from rootsys_dagster.defs.assets import interface_assets
from rootsys_dagster.defs.errors import failure, problem_table
from rootsys_dagster.defs.metadata import code_reference
from rootsys_dagster.defs.pairs import PREFIX, AssetPair, Role, pair_named
from rootsys_dagster.log.commit import StreamId

GROUP = "invalid"
STATUS_TAG = "rootsys/status"


def broken_pair(entry: ProjectFile, taken: Collection[dg.AssetKey], nodes: Collection[str]) -> AssetPair:
    """The assets that the file would make, beside their history; others where a good file has one of the two."""
    stream = StreamId(entry.name, entry.version)
    second: Role = "duplicates" if isinstance(entry, FabricFile) else "dead_letters"
    pair = pair_named([], entry.asset, second, stream)
    name = re.sub(r"[^A-Za-z0-9_]", "_", entry.path.name)
    while pair.node in nodes or any(key in taken for key in pair.keys.values()):
        pair = pair_named([GROUP], name, second, stream)
        name += "_"
    return pair


def broken_specs(project: Project, entry: ProjectFile, pair: AssetPair) -> dict[Role, dg.AssetSpec]:
    """How both assets of a broken file look."""
    return {role: _spec(project, entry, key) for role, key in pair.keys.items()}


def broken_assets(project: Project, entry: ProjectFile, pair: AssetPair) -> dg.AssetsDefinition:
    """Both assets of a broken file; to materialize them fails with its problems."""
    specs = broken_specs(project, entry, pair)
    error = InvalidFileError(str(entry.path), entry.problems)
    if isinstance(entry, FabricFile):
        return _merge(error, pair, specs)
    return interface_assets(_fetch(error, pair), pair, specs)


def _fetch(error: InvalidFileError, pair: AssetPair) -> dg.OpDefinition:
    @dg.op(name=f"{PREFIX}refuse_{pair.node}", out={"spool": dg.Out(dict)}, description="Says what is wrong.")
    def refuse():
        raise failure(error)

    return refuse


def _merge(error: InvalidFileError, pair: AssetPair, specs: Mapping[Role, dg.AssetSpec]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=pair.node,
        specs=list(specs.values()),
        check_specs=[checks.check_spec(checks.CONSERVATION, specs["records"].key)],
    )
    def refuse():
        raise failure(error)

    return refuse


def _spec(project: Project, entry: ProjectFile, key: dg.AssetKey) -> dg.AssetSpec:
    count = len(entry.problems)
    problems = "\n".join(f"- {problem}" for problem in entry.problems)
    return dg.AssetSpec(
        key,
        description=f"{entry.path.name} has {count} problem{'' if count == 1 else 's'} and is not run:\n\n{problems}",
        metadata={
            "problems": problem_table(entry.problems),
            "dagster/code_references": code_reference(entry.path, project.root),
        },
        group_name=GROUP,
        tags={STATUS_TAG: "invalid"},
    )
