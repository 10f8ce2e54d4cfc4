"""``rootsys show``: what is configured, and where each interface and fabric stands."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rootsys_dagster.cli.lag import unread_bytes
from rootsys_dagster.cli.output import bytes_text, emit, plural, seconds_text, table, warn
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.run_options import RunOptions, open_driver
from rootsys_dagster.cli.streams import Entry, find_entry, position_text
from rootsys_dagster.cli.watch import again_and_again
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.order import is_enabled
from rootsys_dagster.core.place import place_of
from rootsys_dagster.core.project import FabricFile, Project, load_project
from rootsys_dagster.core.schedule import Schedule, next_run
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.find import find_logs
from rootsys_dagster.log.followers import follower_states
from rootsys_dagster.log.history import runs_of
from rootsys_dagster.log.shared_state import circuit_state


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON line each, with everything.")
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--every-s", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="How often, with --watch."
)
@click.option("--state-root", type=PATH, help="Where commit logs are.")
@click.option("--project", type=PATH, help="Project folder.")
def show(
    name: str | None, as_json: bool, watch: bool, every_s: float, state_root: Path | None, project: Path | None
) -> None:
    """Where each interface and fabric stands, by source; NAME shows one with everything that is known of it."""
    if watch:
        again_and_again(lambda: print_states(name, as_json, state_root, project), every_s)
    else:
        print_states(name, as_json, state_root, project)


def print_states(name: str | None, as_json: bool, state_root: Path | None, project: Path | None) -> None:
    """What is so now."""
    loaded = load_project(project, state_root)
    clocks = schedules_of(loaded)
    states = [state_of(file, loaded, clocks) for file in (*loaded.interfaces, *loaded.fabrics)]
    states += unconfigured(loaded)
    if name is not None:
        states = [state for state in states if name in (state["name"], f"{state['name']}@{state['version']}")]
        if not states:
            # Says which names there are.
            find_entry(loaded, name)
    if as_json:
        for state in states:
            emit(state)
    elif name is not None:
        for state in states:
            describe(state)
    else:
        overview(states, loaded)


def state_of(file: Entry, project: Project, clocks: Mapping[Path, Sequence[Schedule]] = {}) -> dict[str, Any]:
    """One file and its commit log; an error that keeps either from being read is part of the answer."""
    state: dict[str, Any] = {
        "name": file.name,
        "version": file.version,
        "kind": "fabric" if isinstance(file, FabricFile) else file.interface.driver.kind if file.interface else "",
        "file": str(file.path),
        "asset": file.asset,
        "source": source_of(file),
        "problems": [str(problem) for problem in file.problems],
    }
    if file.model is None:
        return state
    log = CommitLog(project.state_root, StreamId(file.name, file.version))
    state |= committed(log)
    due = next_run(clocks.get(file.path, ()), datetime.now(UTC)) if is_enabled(file) else None
    state["next_run"] = due.isoformat(timespec="minutes") if due is not None else None
    if isinstance(file, FabricFile):
        state["inputs"] = list(file.fabric.inputs if file.fabric else ())
        state["unmerged_commits"] = unmerged(file, project, state.get("position"))
    elif file.interface is not None:
        state["enabled"] = file.interface.enabled
        state["input"] = file.interface.driver.input
        state["circuit"] = circuit_state(project.state_root, log.stream).read().get("state")
        try:
            driver = open_driver(file.interface, RunOptions(), project)
            state["unread_bytes"] = unread_bytes(driver, state.get("position"))
            state["unread_units"] = driver.unread_units(state.get("position"))
        except RootsysError as error:
            state["lag_unknown"] = str(error)
    return state


def unmerged(file: FabricFile, project: Project, position: dict[str, Any] | None) -> int | None:
    """Commits of the inputs that the fabric has not merged; None when it cannot be told."""
    if file.problems:
        return None
    merged = (position or {}).get("inputs", {})
    streams = [StreamId(source.name, source.version) for source in project.inputs(file)]
    try:
        return sum(CommitLog(project.state_root, stream).last_seq() - merged.get(str(stream), 0) for stream in streams)
    except RootsysError:
        return None


def committed(log: CommitLog) -> dict[str, Any]:
    """What the newest manifest says."""
    try:
        head = log.head()
        followers = {name: state.seq for name, state in follower_states(log).items()}
    except RootsysError as error:
        return {"folder": str(log.folder), "damaged": str(error)}
    if head is None:
        return {"folder": str(log.folder), "seq": 0, "position": None}
    return {
        "folder": str(log.folder),
        "seq": head.seq,
        "committed_at": head.committed_at,
        "position": head.end,
        "records": head.totals.accepted,
        "dead_letters": head.totals.dead_letters,
        "duplicates": head.totals.duplicates,
        "skipped": head.totals.skipped,
        "reasons": head.totals.reasons,
        "warnings": head.totals.warnings,
        "followers": followers,
        "last_run": last_run(log),
    }


def last_run(log: CommitLog) -> dict[str, Any] | None:
    """The newest run that has committed something."""
    try:
        run = next(runs_of(log), None)
    except RootsysError:
        return None
    if run is None:
        return None
    counts = run.counts
    return {
        "run_id": run.run_id,
        "ended_at": run.ended_at.isoformat(),
        "duration_s": round((run.ended_at - run.started_at).total_seconds(), 3),
        "records": counts.accepted,
        "dead_letters": counts.dead_letters,
        "triggered_by": run.triggered_by,
    }


def source_of(file: Entry) -> str:
    """What its line stands under."""
    if isinstance(file, FabricFile):
        return "fabrics"
    if file.interface is None:
        return "broken files"
    kind, *parts = place_of(file.interface)
    return f"{kind} {'/'.join(parts)}"


def schedules_of(project: Project) -> dict[Path, list[Schedule]]:
    """The schedules by which each file runs: its own, and those of its groups."""
    found = defaultdict[Path, list[Schedule]](list)
    for file in project.interfaces:
        if file.interface is not None and file.interface.schedule is not None:
            found[file.path].append(file.interface.schedule)
    for group in project.groups:
        if group.group is not None and not group.problems:
            for _, file in project.members(group):
                found[file.path] += group.group.schedules
    return found


def unconfigured(project: Project) -> list[dict[str, Any]]:
    """Logs that no file of the project stands behind any more: their data is still there."""
    known = {StreamId(file.name, file.version) for file in (*project.interfaces, *project.fabrics) if file.model}
    try:
        logs = find_logs(project.state_root)
    except RootsysError as error:
        warn(error.message, error.code)
        return []
    return [
        {
            "name": log.stream.name,
            "version": log.stream.version,
            "kind": "(no file)",
            "source": "without a file",
            "problems": [],
            **committed(log),
        }
        for log in logs
        if log.stream not in known
    ]


LAST = ("fabrics", "broken files", "without a file")
HEADINGS = (
    "NAME", "KIND", "COMMIT", "RECORDS", "DEAD LETTERS", "LAG", "LAST RUN", "ROWS", "TOOK", "NEXT RUN", "STATE",
)  # fmt: skip


def overview(states: list[dict[str, Any]], project: Project) -> None:
    """A table, the lines of one source together."""
    by_source = defaultdict[str, list[dict[str, Any]]](list)
    for state in states:
        by_source[state["source"]].append(state)
    lines: list[list[str]] = []
    for source, found in sorted(by_source.items(), key=lambda item: (item[0] in LAST, item[0])):
        lines.append([source, *([""] * (len(HEADINGS) - 1))])
        lines += map(row, found)
    table(HEADINGS, lines, right=[2, 3, 4, 5, 7, 8])
    click.echo(f"\nproject {project.root}, state root {project.state_root}")


def row(state: dict[str, Any]) -> list[str]:
    last = state.get("last_run") or {}
    return [
        f"  {state['name']} {state['version']}".rstrip(),
        state["kind"],
        str(state.get("seq", "")),
        f"{state.get('records', 0):,}",
        f"{state.get('dead_letters', 0):,}",
        lag(state),
        minute(last.get("ended_at")),
        f"{last['records']:,}" if last else "",
        seconds_text(last["duration_s"]) if last else "",
        minute(state.get("next_run")),
        condition(state),
    ]


def minute(instant: str | None) -> str:
    """A time as the clock of this machine shows it."""
    return "" if instant is None else datetime.fromisoformat(instant).astimezone().strftime("%m-%d %H:%M")


def lag(state: dict[str, Any]) -> str:
    """What is there and not committed: bytes of an input, commits of a fabric's inputs."""
    if (behind := state.get("unmerged_commits")) is not None:
        return plural(behind, "commit")
    if (units := state.get("unread_units")) is not None:
        return plural(units, "row")
    return "" if (unread := state.get("unread_bytes")) is None else bytes_text(unread)


def condition(state: dict[str, Any]) -> str:
    """In a word or two."""
    if state["problems"]:
        return f"{plural(len(state['problems']), 'problem')}, see rootsys check"
    if "damaged" in state:
        return "damaged, see rootsys verify"
    if state.get("enabled") is False:
        return "switched off"
    if "lag_unknown" in state:
        return "source not readable, see rootsys check"
    behind = state.get("unread_bytes") or state.get("unread_units") or state.get("unmerged_commits")
    if not state.get("seq"):
        return "not run yet"
    if state.get("circuit") in ("open", "half_open"):
        return "left alone after failures"
    if "unread_bytes" in state and state["unread_bytes"] is None and state.get("unread_units") is None:
        return "committed"
    return "new data" if behind else "up to date"


def last_run_text(run: dict[str, Any]) -> str:
    """In one line."""
    counts = f"{plural(run['records'], 'record')}, {plural(run['dead_letters'], 'dead letter')}"
    asker = f", asked for by {run['triggered_by']}" if run["triggered_by"] else ""
    return f"{run['ended_at']}: {counts} in {seconds_text(run['duration_s'])}{asker} ({run['run_id']})"


def describe(state: dict[str, Any]) -> None:
    """Everything about one, a member per line."""
    click.echo(f"{state['name']} {state['version']}: {condition(state)}")
    for key, value in state.items():
        if key in ("name", "version") or value in (None, {}, []):
            continue
        if key == "position":
            click.echo(f"  {key:14}{position_text(value)}")
        elif key == "last_run":
            click.echo(f"  {'last run':14}{last_run_text(value)}")
        elif isinstance(value, dict):
            click.echo(f"  {key}")
            for code, count in sorted(value.items(), key=lambda item: -item[1]):
                click.echo(f"    {count:>12,}  {code}")
        elif isinstance(value, list):
            click.echo(f"  {key}")
            for item in value:
                click.echo(f"    {item}")
        else:
            text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
            click.echo(f"  {key.replace('_', ' '):14}{text}")
