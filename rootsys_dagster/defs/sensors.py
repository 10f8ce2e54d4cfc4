"""Sensors: run what has more to read than was committed; tell Dagster of commits made elsewhere.

One for each way of looking at a source: a sensor per interface would be more than the daemon can tick.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG, WILL_RETRY_TAG

from rootsys_dagster.core.driver_config import FILE_KINDS
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.project import FabricFile, InterfaceFile, Project
from rootsys_dagster.defs.jobs import run_tags
from rootsys_dagster.defs.mirror import behind, mirror_pair
from rootsys_dagster.defs.pairs import AssetPair
from rootsys_dagster.defs.pools import set_limits
from rootsys_dagster.defs.windows import range_tags, waiting_windows
from rootsys_dagster.log.manifest import Manifest
from rootsys_dagster.pipeline.admission import refusal
from rootsys_dagster.pipeline.merge import unmerged
from rootsys_dagster.pipeline.run import open_line
from rootsys_dagster.secrets import redact

MAX_ATTEMPTS = 5
RETRY_BASE_S = 30.0
THOROUGH_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What the sensor last asked for: from which commit, at which sight of the source, in which try."""

    base_seq: int
    head: str
    attempt: int
    at: float

    def run_key(self, name: str) -> str:
        """Dagster runs one key once, failed or not; so a new try, a new commit and new bytes each make another key."""
        return f"{name}:{self.base_seq}:{self.head}:{self.attempt}"


WATCHES = {
    "new_bytes": "Runs an interface whose files hold more than was committed, and a fabric whose inputs have committed "
    "more than was merged.",
    "new_messages": "Runs an interface whose topic has messages behind the committed offsets.",
    "new_windows": "Runs an interface that is read by windows for those that are complete and not committed.",
    "new_rows": "Runs an interface whose database has rows behind the last one that was committed.",
}
"""The sensors that there may be, and what each one does."""


def watch_of(file: InterfaceFile | FabricFile) -> str | None:
    """The sensor that can tell cheaply whether there is something new for *file*; None when only a run can."""
    if isinstance(file, FabricFile) or file.require().driver.kind in FILE_KINDS:
        return "new_bytes"
    interface = file.require()
    if interface.driver.kind == "stream":
        return "new_messages"
    if interface.incremental is not None and interface.incremental.mode == "window":
        return "new_windows"
    if interface.driver.kind == "db" and interface.incremental is not None:
        return "new_rows"
    return None


def watch_sensor(
    name: str, project: Project, watched: Sequence[tuple[InterfaceFile | FabricFile, AssetPair]]
) -> dg.SensorDefinition:
    """One sensor for everything that is looked at in the same way."""
    targets = dg.AssetSelection.assets(*(key for _, pair in watched for key in pair.keys.values()))

    @dg.sensor(
        name=name,
        description=f"{WATCHES[name]} The cursor says what was asked for; what was done is in the commit log.",
        asset_selection=targets,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.STOPPED,
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        cursor = {name: Dispatched(**members) for name, members in json.loads(context.cursor or "{}").items()}
        requests: list[dg.RunRequest] = []
        troubles: list[str] = []
        held: list[str] = []
        asked: dict[str, Dispatched] = {}
        for entry, pair in watched:
            key = pair.keys["records"].to_user_string()
            try:
                # First of all: who pauses an interface wants its source left alone.
                if refused := refusal(project, entry, by=f"sensor {name}"):
                    held.append(refused)
                    asked |= {key: cursor[key]} if key in cursor else {}
                    continue
                dispatched = _next(project, entry, pair, cursor.get(key), context.instance, time.time())
            except RootsysError as error:
                troubles.append(redact(f"{key}: {error}"))
                continue
            if dispatched is None:
                continue
            asked[key] = dispatched
            if dispatched != cursor.get(key):
                tags = run_tags(pair) | (range_tags(dispatched.head) if pair.partitions is not None else {})
                selection = list(pair.keys.values())
                requests.append(dg.RunRequest(run_key=dispatched.run_key(key), asset_selection=selection, tags=tags))
        for trouble in troubles:
            context.log.warning(trouble)
        reason = "; ".join(troubles + held) or "everything is committed, or its run is on the way"
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(reason),
            cursor=json.dumps({key: asdict(dispatched) for key, dispatched in asked.items()}),
        )

    return watch


def mirror_sensor(project: Project, pairs: Sequence[AssetPair]) -> dg.SensorDefinition:
    """Tells Dagster of commits made elsewhere, once a minute, and looks for gaps in the history once an hour."""

    @dg.sensor(
        name="mirror",
        description="Tells Dagster of commits that it has not heard of: made on the command line, or by a killed run.",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        asset_selection=dg.AssetSelection.assets(*(key for pair in pairs for key in pair.keys.values())),
    )
    def mirror(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = time.time()
        set_limits(project.connections, context.instance)
        thorough = now - float(context.cursor or 0) >= THOROUGH_EVERY_S
        told = 0
        for pair in pairs if thorough else behind(pairs, project, context.instance):
            try:
                told += len(mirror_pair(pair, project, context.instance, thorough=thorough))
            except RootsysError as error:
                context.log.error(f"{pair.stream}: {error}")
        return dg.SensorResult(
            skip_reason=dg.SkipReason(f"told Dagster of {told} events" if told else "Dagster knows every commit"),
            cursor=str(now) if thorough else context.cursor,
        )

    return mirror


def _next(
    project: Project,
    entry: InterfaceFile | FabricFile,
    pair: AssetPair,
    last: Dispatched | None,
    instance: dg.DagsterInstance,
    now: float,
) -> Dispatched | None:
    """What is asked for now: *last* while that stands, another to start a run, None when all is committed."""
    committed = pair.log(project).head()
    head = _head(project, entry, committed, now)
    if head is None:
        return None
    base_seq = committed.seq if committed else 0
    wanted = Dispatched(base_seq, head, 0, now)
    if last is None:
        return wanted
    run = _run_of(last.run_key(pair.keys["records"].to_user_string()), instance)
    if run is not None and (not run.is_finished or run.tags.get(WILL_RETRY_TAG) == "true"):
        return last
    if (last.base_seq, last.head) != (base_seq, head):
        return wanted
    failed = run is not None and not run.is_success
    waited = now - last.at >= RETRY_BASE_S * 2**last.attempt
    if failed and waited and last.attempt + 1 < MAX_ATTEMPTS:
        return Dispatched(base_seq, head, last.attempt + 1, now)
    return last


def _head(project: Project, entry: InterfaceFile | FabricFile, committed: Manifest | None, now: float) -> str | None:
    """What changes when there is more to read than *committed* says; None when there is nothing new.

    The windows that are waiting by name, so that a run can be asked for just these; of all else a hash.
    """
    if isinstance(entry, FabricFile):
        waiting = unmerged(entry, project)
        text = json.dumps(waiting) if waiting else None
    else:
        position = committed.end if committed else None
        if watch_of(entry) == "new_windows":
            return waiting_windows(entry.require(), position, datetime.fromtimestamp(now, UTC))
        text = open_line(entry, project).driver.head(position)
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]


def _run_of(run_key: str, instance: dg.DagsterInstance) -> dg.DagsterRun | None:
    runs = instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: run_key}), limit=1)
    return runs[0] if runs else None
