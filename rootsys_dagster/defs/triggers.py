"""Who asked for a run of Dagster, in one tag that every run has: ``rootsys/triggered_by``."""

import dagster as dg
from dagster._core.storage.tags import BACKFILL_ID_TAG, SCHEDULE_NAME_TAG, SENSOR_NAME_TAG

TRIGGERED_BY = "rootsys/triggered_by"
MANUAL = "manual"


def trigger_of(run: dg.DagsterRun) -> str:
    """``schedule:NAME``, ``sensor:NAME``, ``backfill:ID``, or ``manual``: a person in the UI or at a command line."""
    for kind, tag in (("backfill", BACKFILL_ID_TAG), ("schedule", SCHEDULE_NAME_TAG), ("sensor", SENSOR_NAME_TAG)):
        if tag in run.tags:
            return f"{kind}:{run.tags[tag]}"
    return run.tags.get(TRIGGERED_BY) or MANUAL


def tag_run(run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Say on the run itself who asked for it, where whoever asked has not."""
    if run.tags.get(TRIGGERED_BY) != (trigger := trigger_of(run)):
        instance.add_run_tags(run.run_id, {TRIGGERED_BY: trigger})
