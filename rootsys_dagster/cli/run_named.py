"""``rootsys run NAME...`` and ``--all``: interfaces and fabrics of a project, each on from its last commit."""

import sys
from contextlib import nullcontext
from dataclasses import dataclass, field

import click

from rootsys_dagster.cli.events import Totals
from rootsys_dagster.cli.ingest import Outcome, ingest_interface, report_followers
from rootsys_dagster.cli.output import exit_code_of, note, report
from rootsys_dagster.cli.run_file import pause
from rootsys_dagster.cli.run_options import RunOptions
from rootsys_dagster.cli.stop import Stop
from rootsys_dagster.cli.streams import Entry, find_entry
from rootsys_dagster.cli.summary import summarise
from rootsys_dagster.core.errors import RefusedError, RootsysError
from rootsys_dagster.core.order import in_order, is_enabled, upstream_of
from rootsys_dagster.core.project import FabricFile, InterfaceFile, Project, load_project
from rootsys_dagster.log.trigger import asked_by
from rootsys_dagster.pipeline.admission import group_refusal


@dataclass(slots=True)
class Failures:
    """What went wrong so far; one failed run does not stop the others."""

    codes: set[int] = field(default_factory=set[int])

    def add(self, error: RootsysError, name: str) -> None:
        """Report *error* and remember it."""
        report(error, name)
        self.codes.add(exit_code_of(error))

    @property
    def exit_code(self) -> int:
        """0 when nothing failed, 3 when all that did was refused, 2 when a file is wrong besides, else 1."""
        return min(self.codes, default=0)


def run_named(chosen: RunOptions, stop: Stop) -> int:
    """Run what was named in the order in which records flow; returns the exit code."""
    project = load_project(chosen.project, chosen.state_root, chosen.contract_registry)
    group = project.group(chosen.group).require() if chosen.group is not None else None
    if group is not None and (refused := group_refusal(project, group.name)):
        raise RefusedError(refused)
    entries = wanted(project, chosen)
    for entry in entries:
        elsewhere = chosen.input or chosen.source or chosen.replay_dlq or chosen.format != "auto"
        if isinstance(entry, FabricFile) and (elsewhere or chosen.dlq or chosen.dlq_sink):
            raise click.UsageError(f"{entry.name} is a fabric: it reads commits only, and has no dead letters")
    failures = Failures()
    events = chosen.json_only or not sys.stdout.isatty()
    totals = Totals(lines=False)
    for index in range(chosen.schedule.runs):
        if index and not pause(chosen, stop):
            break
        for entry in entries:
            if stop.requested:
                break
            try:
                with asked_by(f"group:{group.name}") if group is not None else nullcontext():
                    outcome = run_entry(entry, project, chosen, stop, events)
            except RootsysError as error:
                failures.add(error, entry.name)
                if group is not None and group.stop_on_failure:
                    break
                continue
            report_followers(outcome)
            if events:
                totals.add(outcome.source, outcome.report.counts, **outcome.members())
            if not chosen.json_only:
                (note if events else click.echo)(summarise(outcome, chosen.state_root))
            if outcome.failed:
                failures.codes.add(1)
                if group is not None and group.stop_on_failure:
                    break
    if events:
        totals.finish()
    if len(entries) > 1 and failures.codes:
        note("not everything ran; see the errors above")
    return failures.exit_code


def run_entry(entry: Entry, project: Project, chosen: RunOptions, stop: Stop, events: bool) -> Outcome:
    """One run of one interface or fabric, with the files named on the command line behind it."""
    if isinstance(entry, FabricFile):
        from rootsys_dagster.cli.merge_named import merge

        return merge(entry, project, chosen, stop, events=events)
    return ingest_interface(entry, project, chosen, stop, events=events)


def wanted(project: Project, chosen: RunOptions) -> list[Entry]:
    """What to run: the members of a group in its order; else interfaces first, and each behind what it needs.

    Raises:
        ConfigError: a name is not known, or not unique.
    """
    if chosen.group is not None:
        members = project.members(project.group(chosen.group))
        return [file for _, file in members if is_enabled(file)]
    if chosen.everything:
        files: list[Entry] = [file for file in (*project.interfaces, *project.fabrics) if is_enabled(file)]
    else:
        named = [find_entry(project, name) for name in dict.fromkeys(chosen.names)]
        files = [file for kind in (InterfaceFile, FabricFile) for file in named if isinstance(file, kind)]
    return in_order(files, upstream_of([*project.interfaces, *project.fabrics]))
