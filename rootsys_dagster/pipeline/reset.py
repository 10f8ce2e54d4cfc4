"""A reset: a person says where a source is read from next. A commit without units that tells who did it, and why."""

import getpass
import socket

from rootsys_dagster.core.ports import Place
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.log.manifest import Counts, Manifest
from rootsys_dagster.pipeline.run import open_line


def reset_position(entry: InterfaceFile, project: Project, place: Place, *, run_id: str, reason: str) -> Manifest:
    """Commit the position at *place*; ``asked`` in its manifest is the audit.

    Raises:
        ConfigError: the source cannot be read from there.
        LockedError: a run of the interface is going on.
    """
    line = open_line(entry, project)
    with line.log.writer(run_id) as writer:
        end = line.driver.position_at(place, writer.position)
        asked = {
            "reset": {"to": place.at, "partition": place.partition},
            "reason": reason,
            "by": f"{_user()}@{socket.gethostname()}",
        }
        return writer.commit(
            end=end, counts=Counts(), interface_sha256=line.interface_sha256, mode="reset", asked=asked
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
