"""Controls in Dagster: transitions show on the assets that they hold, and a terminated run ends at its next batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._utils.interrupts import capture_interrupts, check_captured_interrupt

from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.project import Project
from rootsys_dagster.defs.pairs import AssetPair
from rootsys_dagster.log.commit import StreamId
from rootsys_dagster.log.controls import HELD, Controls, Entry
from rootsys_dagster.pipeline.admission import scopes_of
from rootsys_dagster.pipeline.run import Line

TRANSITIONS = (*HELD, "resume")


def run_name(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> str:
    """How the audit names a run of Dagster."""
    return f"Dagster run {context.run.run_id}"


@contextmanager
def terminated_between_batches(line: Line) -> Iterator[Line]:
    """*line* for a step that commits: a run that is terminated meanwhile commits what it has, and ends then.

    Everywhere else Dagster interrupts a step at once; nothing is committed there that could be cut in two.
    """
    with capture_interrupts():

        def ends() -> str | None:
            return "the termination of its run" if check_captured_interrupt() else line.ends and line.ends()

        yield replace(line, ends=ends)
        terminated = check_captured_interrupt()
    if terminated:
        raise DagsterExecutionInterruptedError


def controls_sensor(project: Project, pairs: Sequence[AssetPair]) -> dg.SensorDefinition:
    """Tells Dagster what was paused, drained and resumed, as observations of the assets that this holds back."""
    by_stream = {pair.stream: pair for pair in pairs}

    @dg.sensor(
        name="controls",
        description="Shows on each asset who has paused, drained or resumed it, when and why.",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        asset_selection=dg.AssetSelection.assets(*(pair.keys["records"] for pair in pairs)),
    )
    def controls(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        told = int(context.cursor or 0)
        try:
            entries = list(Controls(project.state_root).entries())
        except RootsysError as error:
            context.log.error(str(error))
            return dg.SensorResult(skip_reason=dg.SkipReason(str(error)))
        new = [entry for entry in entries[told:] if entry.outcome == "done" and entry.action in TRANSITIONS]
        observed = 0
        for entry in new:
            for file in (*project.interfaces, *project.fabrics):
                pair = by_stream.get(StreamId(file.name, file.version))
                if pair is not None and entry.scope in scopes_of(project, file):
                    context.instance.report_runless_asset_event(_observation(entry, pair))
                    observed += 1
        reason = f"told Dagster of {observed} transitions" if observed else "Dagster knows every transition"
        return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=str(len(entries)))

    return controls


def _observation(entry: Entry, pair: AssetPair) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key=pair.keys["records"],
        description=f"{entry.scope}: {entry}",
        metadata={
            "control": HELD.get(entry.action, "running"),
            "what": str(entry.scope),
            "by": entry.by,
            "since": entry.at,
            "reason": entry.reason,
        },
    )
