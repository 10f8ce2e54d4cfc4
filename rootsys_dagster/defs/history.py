"""Runs as Dagster keeps them, for ``rootsys runs``: also those that have committed nothing, and why they failed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import RunRecord

from rootsys_dagster.defs.groups import GROUP_TAG
from rootsys_dagster.defs.jobs import INTERFACE_TAG
from rootsys_dagster.defs.pairs import LINE
from rootsys_dagster.defs.storage import DEFAULT_FOLDER, POSTGRES_URL_VARIABLE
from rootsys_dagster.defs.triggers import trigger_of
from rootsys_dagster.secrets import redact

PAGE = 200


@dataclass(frozen=True, slots=True)
class KeptRun:
    """One run of Dagster. ``failures`` is what its steps failed with, by the asset or the step."""

    run_id: str
    job: str
    status: str
    """As Dagster writes it, in lower case."""
    started_at: datetime | None
    ended_at: datetime | None
    triggered_by: str
    about: str
    """The interface, group or job that was run."""
    failures: dict[str, str] = field(default_factory=dict[str, str])


def kept_runs(root: Path, since: datetime | None, limit: int) -> Iterator[KeptRun]:
    """The newest runs of the instance that the project in *root* uses; none where there is no instance.

    Args:
        since: leave out those that were created before.
        limit: look at no more than so many.
    """
    if not _has_instance(root):
        return
    os.environ.setdefault("DAGSTER_HOME", str(root))
    with dg.DagsterInstance.get() as instance:
        left, cursor = limit, None
        while left > 0:
            page = instance.get_run_records(dg.RunsFilter(created_after=since), limit=min(left, PAGE), cursor=cursor)
            for record in page:
                yield _kept(record, instance)
            if len(page) < PAGE:
                return
            left, cursor = left - len(page), page[-1].dagster_run.run_id


def _has_instance(root: Path) -> bool:
    """Whether there is a history already: looking for one must not begin one."""
    home = Path(os.environ.get("DAGSTER_HOME") or root)
    if not (home / "dagster.yaml").is_file():
        return False
    return bool(os.environ.get(POSTGRES_URL_VARIABLE)) or (home / DEFAULT_FOLDER).is_dir()


def _kept(record: RunRecord, instance: dg.DagsterInstance) -> KeptRun:
    run = record.dagster_run
    failures: dict[str, str] = {}
    if run.status == dg.DagsterRunStatus.FAILURE:
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            event = entry.dagster_event
            if event is not None and event.step_key is not None:
                error = event.step_failure_data.error
                reason = error.message.removeprefix("dagster._core.definitions.events.Failure: ") if error else ""
                failures[asset_of(event.step_key)] = redact(reason.strip())
    name = run.tags.get(INTERFACE_TAG) or run.tags.get(GROUP_TAG)
    if name is None and run.asset_selection:
        name = min(key.to_user_string() for key in run.asset_selection)
    return KeptRun(
        run_id=run.run_id,
        job=run.job_name,
        status=run.status.value.lower(),
        started_at=_instant(record.start_time),
        ended_at=_instant(record.end_time),
        triggered_by=trigger_of(run),
        about=name or run.job_name,
        failures=failures,
    )


def asset_of(step: str) -> str:
    """The asset that a step belongs to: ``mes`` of ``mes__line.fetch`` and of ``02_mes``."""
    if LINE in step:
        return step.partition(LINE)[0]
    place, _, asset = step.partition("_")
    return asset if place.isdigit() and asset else step


def _instant(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
