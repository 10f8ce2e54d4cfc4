"""``rootsys records``: committed lines on standard output."""

from pathlib import Path
from typing import Literal

import click

from rootsys_dagster.cli.output import write_lines
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.streams import find_log
from rootsys_dagster.pipeline.export import export_lines


@click.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(["records", "duplicates"]), default="records", show_default=True)
@click.option("--limit", type=click.IntRange(min=0), help="At most so many.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only what was committed after this commit.")
@click.option("--state-root", type=PATH, help="Where commit logs are; no project is needed then.")
@click.option("--project", type=PATH, help="Project folder.")
def records(
    name: str,
    kind: Literal["records", "duplicates"],
    limit: int | None,
    after: int,
    state_root: Path | None,
    project: Path | None,
) -> None:
    """Print the committed records of NAME (or NAME@VERSION) as JSON lines, oldest first."""
    write_lines(export_lines(find_log(name, state_root, project), kind, after=after, limit=limit))
