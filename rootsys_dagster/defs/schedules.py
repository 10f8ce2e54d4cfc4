"""What starts jobs: schedules by the clock, and sensors that run a group again and again.

A tick is known by its name and the time that it stands for. Both are tags of its run, by which a daemon that was
stopped in the middle of a tick knows what it has asked for already.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG

from rootsys_dagster.core.group import Interval
from rootsys_dagster.core.schedule import Schedule
from rootsys_dagster.defs.triggers import TRIGGERED_BY


def schedule_of(
    schedule: Schedule,
    name: str,
    job: str,
    refusal: Callable[[], str | None],
    *,
    asset_selection: Sequence[dg.AssetKey] | None = None,
    tags: Mapping[str, str] | None = None,
) -> dg.ScheduleDefinition:
    """The schedule *name* of a job, switched on when its file says so.

    Args:
        refusal: asked at each tick: why nothing may run now.
        asset_selection: what of the job is run; None: all of it.
    """

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if refused := refusal():
            return dg.SkipReason(refused)
        return dg.RunRequest(
            run_key=f"{name}:{context.scheduled_execution_time.isoformat()}",
            asset_selection=asset_selection,
            tags={**(tags or {}), TRIGGERED_BY: f"schedule:{name}"},
        )

    return dg.ScheduleDefinition(
        name=name,
        cron_schedule=schedule.cron,
        job_name=job,
        execution_timezone=schedule.timezone,
        execution_fn=request,
        default_status=dg.DefaultScheduleStatus.RUNNING if schedule.enabled else dg.DefaultScheduleStatus.STOPPED,
    )


def interval_sensor(interval: Interval, name: str, job: str, refusal: Callable[[], str | None]) -> dg.SensorDefinition:
    """Runs *job* again and again, so long after the end of its last run. Switched off and on it counts anew."""
    most = f", {interval.max_runs} times from when it is switched on" if interval.max_runs else ""

    @dg.sensor(
        name=name,
        job_name=job,
        minimum_interval_seconds=interval.every_s,
        default_status=dg.DefaultSensorStatus.RUNNING if interval.enabled else dg.DefaultSensorStatus.STOPPED,
        description=f"Runs {job} every {interval.every_s} s{most}.",
    )
    def again(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if refused := refusal():
            return dg.SkipReason(refused)
        started = round(context.last_sensor_start_time or 0)
        cursor = json.loads(context.cursor or "{}")
        asked = cursor.get("runs", 0) if cursor.get("started") == started else 0
        if asked and (waiting := _wait(context.instance, f"{name}:{started}:{asked}", interval.every_s)):
            return dg.SkipReason(waiting)
        if interval.max_runs is not None and asked >= interval.max_runs:
            return dg.SkipReason(f"all {asked} runs were made; switch the sensor off and on for as many again")
        return dg.SensorResult(
            # The same key again when the cursor was not kept: Dagster runs one key once.
            run_requests=[
                dg.RunRequest(run_key=f"{name}:{started}:{asked + 1}", tags={TRIGGERED_BY: f"sensor:{name}"})
            ],
            cursor=json.dumps({"started": started, "runs": asked + 1}),
        )

    return again


def _wait(instance: dg.DagsterInstance, run_key: str, every_s: int) -> str | None:
    """Why the run after *run_key* is not due; None when it is."""
    records = instance.get_run_records(dg.RunsFilter(tags={RUN_KEY_TAG: run_key}), limit=1)
    if not records:
        return None
    if not records[0].dagster_run.is_finished:
        return "the last run has not ended"
    left_s = (records[0].end_time or 0) + every_s - time.time()
    return f"the next run is due in {left_s:.0f} s" if left_s > 0 else None
