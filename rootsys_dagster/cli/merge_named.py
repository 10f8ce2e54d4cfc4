"""One run of one fabric. Apart from the rest, because the merge imports what no interface needs."""

from rootsys_dagster.cli.events import commit_event
from rootsys_dagster.cli.ingest import Outcome, exports, new_run_id, spare
from rootsys_dagster.cli.progress import LiveLine
from rootsys_dagster.cli.run_options import RunOptions
from rootsys_dagster.cli.stop import Stop
from rootsys_dagster.core.project import FabricFile, Project
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.controls import this_person
from rootsys_dagster.log.manifest import Counts
from rootsys_dagster.pipeline.admission import require_admission
from rootsys_dagster.pipeline.merge import merge_fabric


def merge(entry: FabricFile, project: Project, chosen: RunOptions, stop: Stop, *, events: bool) -> Outcome:
    """Merge what the inputs of a fabric have committed since the last merge."""
    fabric = entry.require()
    files = exports(chosen, is_merge=True)
    spare([files.records], [entry.path])
    require_admission(project, entry, by=this_person())
    live = LiveLine(fabric.name, wanted=not chosen.json_only, merged=True)

    def progress(counts: Counts) -> None:
        stop.raise_if_requested()
        live(counts)

    log = CommitLog(project.state_root, StreamId(fabric.name, fabric.version))
    try:
        report = merge_fabric(entry, project, run_id=new_run_id(), progress=progress)
    finally:
        live.clear()
    if events:
        for manifest in report.manifests:
            commit_event(manifest)
    outcome = Outcome(fabric.name, fabric.name, log, report, is_merge=True)
    files.follow(outcome)
    return outcome
