"""``rootsys dead-letters replay``: open letters of interfaces of a project, each through its file as it is now."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import rootsys_dagster.drivers
import rootsys_dagster.sinks  # noqa: F401  (both register their plugins)
from rootsys_dagster.cli.ingest import new_run_id
from rootsys_dagster.cli.output import emit, note, plural, report
from rootsys_dagster.cli.progress import LiveLine
from rootsys_dagster.cli.run_named import Failures
from rootsys_dagster.cli.stop import Stop
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.project import InterfaceFile, Project, load_project
from rootsys_dagster.log.controls import this_person
from rootsys_dagster.log.letters import LetterFilter
from rootsys_dagster.pipeline.admission import record, require_admission
from rootsys_dagster.pipeline.mend import MendReport, replay_letters, try_letters
from rootsys_dagster.pipeline.publish import publish
from rootsys_dagster.pipeline.run import Line, open_line


def replay_named(
    names: Sequence[str],
    wanted: LetterFilter,
    limit: int | None,
    dry_run: bool,
    as_json: bool,
    state_root: Path | None,
    project_path: Path | None,
) -> int:
    """Replay the letters of *names*, or of every interface that can be used; returns the exit code."""
    project = load_project(project_path, state_root)
    usable = [file for file in project.interfaces if not file.problems]
    entries = [project.interface(name) for name in dict.fromkeys(names)] if names else usable
    return replay_entries(project, entries, wanted, limit=limit, dry_run=dry_run, as_json=as_json, empty=bool(names))


def replay_entries(
    project: Project,
    entries: Sequence[InterfaceFile],
    wanted: LetterFilter,
    *,
    limit: int | None = None,
    dry_run: bool = False,
    as_json: bool = False,
    empty: bool = False,
    reason: str = "",
) -> int:
    """Replay the letters of *entries*, each replay kept in the audit of controls; returns the exit code.

    Args:
        empty: tell of interfaces too that have committed nothing.
        reason: why; with one, an interface that is held is replayed all the same.
    """
    failures = Failures()
    by = this_person()
    with Stop().listening() as stop:
        for entry in entries:
            if stop.requested:
                break
            try:
                line = open_line(entry, project)
                if empty or line.log.has_commits():
                    if not dry_run:
                        require_admission(project, entry, by=by, action="replay", reason=reason)
                    done = tried(line, wanted, limit) if dry_run else replayed(line, wanted, limit, stop)
                    tell(entry, done, dry_run, as_json)
                    if not dry_run:
                        record(project, entry, "replay", by=by, reason=reason, message=outcome_of(done))
                        follow(entry, project, failures)
            except RootsysError as error:
                failures.add(error, entry.name)
    return stop.exit_code or failures.exit_code


def replayed(line: Line, wanted: LetterFilter, limit: int | None, stop: Stop) -> MendReport:
    """The letters of one interface, with a line of progress."""
    live = LiveLine(line.interface.name, wanted=True)
    try:
        return replay_letters(
            line, wanted, run_id=new_run_id(), limit=limit, progress=live, stop=lambda: stop.requested
        )
    finally:
        live.clear()


def tried(line: Line, wanted: LetterFilter, limit: int | None) -> MendReport:
    """What a replay would do."""
    outcomes = [outcome for _, outcome in try_letters(line, wanted, limit)]
    reasons = Counter(code for outcome in outcomes for code in outcome.reason_codes)
    resolved = sum(outcome.outcome == "replayed" for outcome in outcomes)
    return MendReport("", resolved, len(outcomes) - resolved, dict(reasons))


def outcome_of(done: MendReport) -> str:
    """What the audit keeps of a replay."""
    commits = f": commit {done.manifests[-1].seq}" if done.manifests else ""
    return f"{plural(done.resolved, 'dead letter')} resolved, {done.failing:,} still failing{commits}"


def tell(entry: InterfaceFile, done: MendReport, dry_run: bool, as_json: bool) -> None:
    """What was done, for people or as JSON."""
    seqs = [manifest.seq for manifest in done.manifests]
    if as_json:
        members: dict[str, Any] = {"interface": entry.name, "version": entry.version, "dry_run": dry_run}
        counts = {"resolved": done.resolved, "still_failing": done.failing, "reasons": done.reasons}
        emit(members | counts | {"commits": seqs, "run_id": done.run_id, "stopped": done.stopped})
        return
    would = "would be " if dry_run else ""
    where = f": commit {seqs[-1]}" if seqs else ""
    click.echo(
        f"{entry.name}: {plural(done.resolved, 'dead letter')} {would}resolved, {done.failing:,} still failing{where}"
    )
    for code, count in sorted(done.reasons.items(), key=lambda item: (-item[1], item[0])):
        click.echo(f"  {count:>9,}  {code}")
    if done.stopped:
        note(f"{entry.name}: {done.stopped}; the rest is still open, replay again")


def follow(entry: InterfaceFile, project: Project, failures: Failures) -> None:
    """Bring the dead-letter sink of the interface up to date."""
    for follower in publish(entry, project):
        if follower.error is not None:
            report(follower.error, entry.name)
            failures.codes.add(1)
