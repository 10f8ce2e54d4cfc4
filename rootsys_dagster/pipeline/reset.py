"""A reset: a person says where a source is read from next. A commit without units that tells who did it, and why."""

from rootsys_dagster.core.ports import Place
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.log.controls import this_person
from rootsys_dagster.log.manifest import Counts, Manifest
from rootsys_dagster.pipeline.admission import record
from rootsys_dagster.pipeline.run import open_line


def reset_position(entry: InterfaceFile, project: Project, place: Place, *, run_id: str, reason: str) -> Manifest:
    """Commit the position at *place*; ``asked`` in its manifest says who and why, and so does the audit of controls.

    Raises:
        ConfigError: the source cannot be read from there.
        LockedError: a run of the interface is going on.
    """
    line = open_line(entry, project)
    by = this_person()
    with line.log.writer(run_id) as writer:
        end = line.driver.position_at(place, writer.position)
        asked = {
            "reset": {"to": place.at, "partition": place.partition},
            "reason": reason,
            "by": by,
        }
        commit = writer.commit(
            end=end, counts=Counts(), interface_sha256=line.interface_sha256, mode="reset", asked=asked
        )
    record(project, entry, "reset", by=by, reason=reason, message=f"to {place.at}: commit {commit.seq}")
    return commit
