"""``rootsys dead-letters``: committed dead letters as they are, or one line for each that says why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from rootsys_dagster.cli.output import emit, table, write_lines
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.streams import find_log, place
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.pipeline.export import commit_lines, export_lines


class Details(msgspec.Struct):
    """Where the unit came from."""

    locator: str | None = None
    position: Any = None


class Metadata(msgspec.Struct):
    """The part of a dead letter's metadata that is listed."""

    source_details: Details | None = None


class Error(msgspec.Struct):
    """One reason in words."""

    message: str
    path: str | None = None


class Reasons(msgspec.Struct):
    """Everything about a dead letter but its payload, which may be long, binary or secret."""

    metadata: Metadata
    reason_codes: list[str]
    errors: list[Error]


decode = msgspec.json.Decoder(Reasons).decode


@click.group()
def dead_letters() -> None:
    """Print committed dead letters, or list why they were rejected."""


def stream_options(function: Any) -> Any:
    """What both subcommands take."""
    for option in (
        click.option("--project", type=PATH, help="Project folder."),
        click.option("--state-root", type=PATH, help="Where commit logs are, without a project."),
        click.option("--limit", type=click.IntRange(min=0), help="At most so many."),
        click.argument("name"),
    ):
        function = option(function)
    return function


@dead_letters.command()
@stream_options
def export(name: str, limit: int | None, state_root: Path | None, project: Path | None) -> None:
    """Print the dead letters of NAME (or NAME@VERSION) as JSON lines, oldest first: what --replay-dlq reads."""
    write_lines(export_lines(find_log(name, state_root, project), "dead_letters", limit=limit))


@dead_letters.command(name="list")
@stream_options
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of a table.")
def list_reasons(name: str, limit: int | None, state_root: Path | None, project: Path | None, as_json: bool) -> None:
    """One line for each dead letter of NAME: its commit, where its source has it, and why it was rejected."""
    rows = reasons(find_log(name, state_root, project), limit)
    if as_json:
        for row in rows:
            emit(row)
        return
    table(["COMMIT", "SOURCE", "AT", "REASONS", "FIRST MESSAGE"], map(cells, rows), right=[0])


def reasons(log: CommitLog, limit: int | None) -> Iterator[dict[str, Any]]:
    """One row for each dead letter, oldest first."""
    for manifest in log.manifests():
        for line in commit_lines(log, manifest, "dead_letters"):
            if limit is not None and (limit := limit - 1) < 0:
                return
            letter = decode(line)
            details = letter.metadata.source_details or Details()
            yield {
                "commit": manifest.seq,
                "locator": details.locator,
                "position": details.position,
                "reason_codes": letter.reason_codes,
                "message": letter.errors[0].message if letter.errors else "",
            }


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    reasons = ", ".join(row["reason_codes"])
    return [str(row["commit"]), row["locator"] or "", place(row["position"]), reasons, row["message"]]
