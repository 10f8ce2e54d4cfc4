"""``rootsys gc``: what killed runs left behind."""

from pathlib import Path

import click

from rootsys_dagster.cli.output import bytes_text, plural
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.streams import find_logs_of
from rootsys_dagster.log.gc import ORPHAN_AGE_S, collect


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--older-than-hours",
    type=click.FloatRange(min=0),
    default=ORPHAN_AGE_S / 3600,
    show_default=True,
    help="Untouched for so long; 0 takes what a Dagster run has fetched and not committed yet, too.",
)
@click.option("--state-root", type=PATH, help="Where commit logs are; no project is needed then.")
@click.option("--project", type=PATH, help="Project folder.")
def gc(dry_run: bool, older_than_hours: float, state_root: Path | None, project: Path | None) -> None:
    """Remove files that no commit names: segments of killed runs, temporary files, forgotten spools."""
    removed = [
        orphan
        for log in find_logs_of(state_root, project, empty=True)
        for orphan in collect(log, older_than_s=older_than_hours * 3600, dry_run=dry_run)
    ]
    for orphan in removed:
        click.echo(f"{orphan.path}  {bytes_text(orphan.bytes)}")
    total = bytes_text(sum(orphan.bytes for orphan in removed))
    click.echo(f"{'would remove' if dry_run else 'removed'} {plural(len(removed), 'file')}, {total}")
