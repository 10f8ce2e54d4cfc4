"""One interface file, two assets: ``mes`` (accepted records) and ``mes_dead_letters``, from one graph."""

import hashlib
from collections.abc import Callable, Mapping

import dagster as dg

from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.defs import checks
from rootsys_dagster.defs.letters import OPEN_DEAD_LETTERS
from rootsys_dagster.defs.metadata import code_reference
from rootsys_dagster.defs.ops import emit_dead_letters, publish, validate
from rootsys_dagster.defs.pairs import AssetPair, Role
from rootsys_dagster.defs.sources import source_spec
from rootsys_dagster.defs.windows import partitions_of

GROUP = "interfaces"
SpecOf = Callable[[Project, InterfaceFile, AssetPair, Role], dg.AssetSpec]

FETCH, VALIDATE, EMIT, PUBLISH = "fetch", "validate", "emit_dead_letters", "publish"
OUTPUTS = {
    "records": PUBLISH,
    checks.CONSERVATION: PUBLISH,
    checks.CONTRACT: PUBLISH,
    "dead_letters": EMIT,
    OPEN_DEAD_LETTERS: EMIT,
}
SHOWN: Mapping[Role, str] = {"records": "Accepted records", "dead_letters": "Dead letters"}


def interface_spec(project: Project, entry: InterfaceFile, pair: AssetPair, role: Role) -> dg.AssetSpec:
    """One asset of an interface, as its file describes it."""
    interface = entry.require()
    return dg.AssetSpec(
        pair.keys[role],
        deps=[source_spec(interface).key],
        description=f"{SHOWN[role]} of {pair.stream}. {interface.description or ''}".strip(),
        metadata={**pair.metadata(role), "dagster/code_references": code_reference(entry.path, project.root)},
        group_name=GROUP,
        code_version=code_version(entry, interface),
        owners=interface.owners,
        tags=interface.tags,
        kinds={interface.driver.kind},
        partitions_def=partitions_of(interface),
    )


def interface_assets(
    fetch: dg.OpDefinition, pair: AssetPair, specs: Mapping[Role, dg.AssetSpec], *, with_columns: bool = False
) -> dg.AssetsDefinition:
    """The graph ``fetch -> validate -> emit_dead_letters | publish`` behind both assets.

    Args:
        with_columns: whether the source declares columns, whose changes are then a check.
    """
    outputs = OUTPUTS | ({checks.COLUMNS: PUBLISH} if with_columns else {})
    key = {role: spec.key for role, spec in specs.items()}
    graph = dg.GraphDefinition(
        name=pair.node,
        node_defs=[fetch, validate, emit_dead_letters, publish],
        dependencies={
            dg.NodeInvocation(fetch.name, alias=FETCH): {},
            dg.NodeInvocation(validate.name, alias=VALIDATE): {"spool": dg.DependencyDefinition(FETCH, "spool")},
            dg.NodeInvocation(emit_dead_letters.name, alias=EMIT): {
                "commit": dg.DependencyDefinition(VALIDATE, "commit")
            },
            dg.NodeInvocation(publish.name, alias=PUBLISH): {"commit": dg.DependencyDefinition(VALIDATE, "commit")},
        },
        output_mappings=[
            dg.OutputMapping(graph_output_name=name, mapped_node_name=node, mapped_node_output_name=name)
            for name, node in outputs.items()
        ],
    )
    by_window = any(spec.partitions_def is not None for spec in specs.values())
    return dg.AssetsDefinition(
        node_def=graph,
        # Neighbouring windows are one interval to the source, so a backfill asks it once.
        backfill_policy=dg.BackfillPolicy.single_run() if by_window else None,
        keys_by_output_name=dict(key),
        specs=list(specs.values()),
        check_specs_by_output_name={
            checks.CONSERVATION: checks.check_spec(checks.CONSERVATION, key["records"]),
            checks.CONTRACT: checks.check_spec(checks.CONTRACT, key["records"]),
            **({checks.COLUMNS: checks.check_spec(checks.COLUMNS, key["records"])} if with_columns else {}),
            OPEN_DEAD_LETTERS: checks.check_spec(OPEN_DEAD_LETTERS, key["dead_letters"]),
        },
    )


def why_not_executable(interface: Interface) -> str | None:
    """Why Dagster shows this interface but does not run it; None when it does."""
    if not interface.enabled:
        return 'switched off: "enabled" is false in the interface file'
    if interface.driver.input == "-":
        return "reads standard input, so it runs from the command line only; its commits are shown here"
    return None


def code_version(entry: InterfaceFile, interface: Interface) -> str:
    """Changes with the interface file, its record contract or its place on the allowlist; the assets are stale then."""
    return hashlib.sha256(
        f"{entry.sha256}{entry.contract_sha256 or ''} {interface.name}@{interface.version}".encode()
    ).hexdigest()[:16]
