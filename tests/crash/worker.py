"""The process under fire. One JSON request per line on standard input; each is carried out by a forked child.

The children share what was imported, so that a kill a few milliseconds after the start hits the work and not the
interpreter's start-up. Everything else is as in a process of its own: own descriptors, own locks, own threads.
"""

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rootsys_dagster.drivers
import rootsys_dagster.sinks  # noqa: F401  (registers the sinks; the line above the drivers)
from rootsys_dagster.cli.main import execute
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.project import Project, load_project
from rootsys_dagster.log import commit as log_commit
from rootsys_dagster.log import store
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.gc import collect
from rootsys_dagster.log.letters import LetterFilter
from rootsys_dagster.log.manifest import Counts
from rootsys_dagster.pipeline import merge
from rootsys_dagster.pipeline.mend import replay_letters
from rootsys_dagster.pipeline.publish import publish
from rootsys_dagster.pipeline.run import open_line, run_interface

NAMED_ERROR = 3
CRASHED = 1


def carry_out(request: dict[str, Any]) -> dict[str, Any]:
    """Do one request and say what was done."""
    if request["do"] == "command":
        places = ["--project", request["root"], "--state-root", request["state_root"]]
        return {"exit_code": execute(["run", request["name"], *places])}
    project = load_project(Path(request["root"]), Path(request["state_root"]))
    run_id = f"run-{os.getpid()}"
    match request["do"]:
        case "run":
            report = run_interface(
                project.interface(request["name"]), project, run_id=run_id, progress=acknowledge(request.get("ack"))
            )
            return {"fetched": report.counts.fetched, "commits": [manifest.seq for manifest in report.manifests]}
        case "run and publish":
            run_interface(project.interface(request["name"]), project, run_id=run_id)
            return publish_all(project, request["name"])
        case "publish":
            return publish_all(project, request["name"])
        case "replay":
            mended = replay_letters(
                open_line(project.interface(request["name"]), project), LetterFilter(), run_id=run_id
            )
            return {"resolved": mended.resolved, "failing": mended.failing}
        case "gc":
            log = CommitLog(project.state_root, StreamId(request["name"], "v1"))
            return {"removed": len(collect(log, older_than_s=0))}
        case "merge":
            merged = merge.merge_fabric(project.fabric(request["name"]), project, run_id=run_id)
            return {"fetched": merged.counts.fetched, "commits": [manifest.seq for manifest in merged.manifests]}
        case other:
            raise ValueError(other)


def publish_all(project: Project, name: str) -> dict[str, Any]:
    """Bring the sinks up to date; one that is behind is an error here."""
    reports = publish(project.interface(name), project)
    for report in reports:
        if report.error is not None:
            raise report.error
    return {"written": sum(report.written for report in reports)}


def acknowledge(path: str | None) -> Callable[[Counts], None] | None:
    """Note outside the state root how many units are committed: with a commit after each batch, all that were taken."""
    if path is None:
        return None
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return lambda counts: void(os.write(descriptor, b"%d\n" % counts.fetched))


def void(*_: object) -> None:
    """Do nothing."""


def set_up(request: dict[str, Any]) -> None:
    """Make the child what the request asks for, before it touches anything."""
    if not request.get("sync", True):
        os.fsync = os.fdatasync = void
    if "descriptors" in request:
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + request["descriptors"],) * 2)
    if not request.get("lock", True):
        store.fcntl.flock = void  # as on a file system that grants every lock
    merge.COMMIT_RECORDS = request.get("merge_commit_records", merge.COMMIT_RECORDS)
    if request.get("fixed_names"):
        # The same names in every run, so that a fault can be aimed at one file.
        log_commit.secrets.token_hex = lambda nbytes=None: "0" * 8
        os.getpid = lambda: 7
    if request.get("wait"):
        os.kill(
            os.getpid() if not request.get("fixed_names") else int(Path("/proc/self").readlink().name), signal.SIGSTOP
        )


def child(request: dict[str, Any]) -> int:
    """Carry out a request in this process; the outcome goes to a file, whatever is printed beside it."""
    path = Path(request["outcome"])
    # Opened before there can be too few descriptors left.
    printed, outcome = path.with_suffix(".txt").open("wb"), path.open("w")
    os.dup2(printed.fileno(), 1)
    os.dup2(printed.fileno(), 2)
    status = 0
    try:
        set_up(request)
        report = carry_out(request)
    except RootsysError as error:
        report = {"code": error.code, "error": type(error).__name__, "message": str(error)}
        status = NAMED_ERROR
    except BaseException:  # noqa: BLE001  (whatever it is, it is what the test wants to see)
        traceback.print_exc()
        status, report = CRASHED, {}
    sys.stdout.flush()
    sys.stderr.flush()
    outcome.write(json.dumps(report))
    outcome.flush()
    return status


def main() -> None:
    """Serve requests until standard input ends: ``{"wait_for": pid}`` answers with a status, all others with a pid."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait_for" in request:
            _, status = os.waitpid(request["wait_for"], 0)
            answer = {"status": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if pid == 0:
                os._exit(child(request))
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
