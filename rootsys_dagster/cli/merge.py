"""``rootsys merge``: JSONL files of records into one. Source: spec/1-reference.md 1.12."""

from pathlib import Path

import click

from rootsys_dagster.cli.path import PATH
from rootsys_dagster.pipeline.merge import merge_files


@click.command()
@click.option("--inputs", type=PATH, multiple=True, required=True, help="Once for each file, in the order to merge.")
@click.option("--output", type=PATH, required=True, help="Replaced when the merge is complete.")
@click.option("--dedupe/--no-dedupe", default=True, show_default=True, help="Keep only the first record of each key.")
def merge(inputs: tuple[Path, ...], output: Path, dedupe: bool) -> None:
    """Merge JSONL files of records, in the order given. The key is source, interface, version and record id.

    A fabric file does the same for committed records, and only with what is new: rootsys run FABRIC.
    """
    stats = merge_files(inputs, output, dedupe)
    click.echo(f"total: {stats.total} | written: {stats.written} | duplicates: {stats.duplicates}")
