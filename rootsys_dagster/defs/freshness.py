"""A check of what waits at the source. It can be asked by itself: what it looks for is a run that was never started."""

import dagster as dg

from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.defs.errors import told_to_dagster
from rootsys_dagster.defs.pairs import AssetPair
from rootsys_dagster.pipeline.run import open_line

MAX_LAG = "max_lag"


def max_lag_of(interface: Interface) -> int | None:
    """How many units may wait, where the interface file says so."""
    stream = interface.driver.stream
    return stream.kafka.max_lag if stream is not None and stream.kafka is not None else None


def lag_check(entry: InterfaceFile, pair: AssetPair) -> dg.AssetChecksDefinition | None:
    """The check ``max_lag`` on the records of an interface; None when its file sets no limit."""
    limit = max_lag_of(entry.require())
    if limit is None:
        return None

    @dg.asset_check(
        asset=pair.keys["records"],
        name=MAX_LAG,
        description=f"At most {limit} messages wait at the source behind what is committed.",
        required_resource_keys={"project"},
    )
    def max_lag(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        project: Project = context.resources.project.project
        with told_to_dagster(context.op_execution_context):
            line = open_line(project.interface(pair.stream.name, pair.stream.version), project)
            head = line.log.head()
            waiting = line.driver.unread_units(head.end if head else None)
        return dg.AssetCheckResult(
            passed=waiting is None or waiting <= limit,
            description="cannot be told without reading" if waiting is None else f"{waiting} waiting, {limit} allowed",
            metadata={"waiting": waiting or 0, MAX_LAG: limit},
        )

    return max_lag
