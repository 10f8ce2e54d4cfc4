"""``rootsys where``: from a record back to its source, and from a place of a source to what became of it."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from rootsys_dagster.cli.output import emit
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.streams import find_log, find_logs_of, place
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.pipeline.provenance import Trace, traces_from, traces_of_record


class NotFoundError(RootsysError):
    """No commit log has it."""

    default_code = "WHERE.NOT_FOUND"


@click.command()
@click.argument("record_id", required=False)
@click.option("--from", "locator", metavar="LOCATOR", help="What came from this file, URL, table or topic.")
@click.option("--at", multiple=True, metavar="NAME=VALUE", help="From this place of it: line=12, page=3, offset=42.")
@click.option("--in", "name", metavar="NAME", help="Only in this interface or fabric; else in all.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.option("--state-root", type=PATH, help="Where commit logs are, without a project.")
@click.option("--project", type=PATH, help="Project folder.")
def where(
    record_id: str | None,
    locator: str | None,
    at: tuple[str, ...],
    name: str | None,
    limit: int,
    as_json: bool,
    state_root: Path | None,
    project: Path | None,
) -> None:
    """Where a record came from, and what became of what came from a place.

    RECORD_ID: its commits, runs, source and place. --from: every record and dead letter of a file, page or offset.
    A fabric shows who was kept and who lost. A record that was replayed names its dead letter.
    """
    if (record_id is None) == (locator is None):
        raise click.UsageError("give a record id, or a place with --from")
    if at and locator is None:
        raise click.UsageError("--at needs --from")
    logs = [find_log(name, state_root, project)] if name else find_logs_of(state_root, project)
    places = dict(map(member, at))
    found = list(islice(traces(logs, record_id, locator, places), limit))
    if not found:
        wanted = (
            f"record {record_id!r}" if record_id is not None else f"anything from {locator} {place(places)}".strip()
        )
        raise NotFoundError(f"no commit has {wanted}; see 'rootsys show' for what there is")
    for trace in found:
        if as_json:
            emit(trace.to_json())
        else:
            click.echo("\n".join(lines(trace)))


def member(text: str) -> tuple[str, Any]:
    """``line=12`` as a member of a position."""
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--at {text!r} has no value; write NAME=VALUE, line=12 for example")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def traces(logs: list[CommitLog], record_id: str | None, locator: str | None, at: dict[str, Any]) -> Iterator[Trace]:
    """What all logs have."""
    for log in logs:
        yield from traces_of_record(log, record_id) if record_id is not None else traces_from(log, locator or "", at)


def lines(trace: Trace) -> Iterator[str]:
    """One line of a log in words."""
    about = trace.to_json()
    what = {"record": "record", "duplicate": "duplicate, another was kept:", "dead_letter": "dead letter"}
    yield f"{about['stream']}: {what[about['outcome']]} {trace.record_id or ', '.join(trace.reason_codes)}"
    manifest = trace.manifest
    yield f"  commit      {manifest.seq}, {manifest.mode}, run {manifest.run_id}, {manifest.committed_at}"
    yield f"  line        {trace.line} of {about['segment']}"
    yield f"  interface   {trace.interface}, file {manifest.interface_sha256[:12]}"
    yield f"  source      {trace.source_type or 'unknown'} {trace.locator or ''}".rstrip()
    if isinstance(trace.position, dict):
        yield f"  at          {json.dumps(trace.position, ensure_ascii=False)}"
    if manifest.asked:
        yield f"  asked       {json.dumps(manifest.asked, ensure_ascii=False)}"
    if trace.dead_letter_id is not None:
        yield f"  dead letter {trace.dead_letter_id}"
