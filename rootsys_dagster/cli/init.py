"""``rootsys init``: a project to start from."""

import shlex
from pathlib import Path

import click

from rootsys_dagster.cli.path import PATH
from rootsys_dagster.examples import write_example_project


@click.command()
@click.argument("folder", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
def init(folder: Path, overwrite: bool) -> None:
    """Write an example project into FOLDER: interface files, a fabric, contracts, and data to run them on."""
    written = write_example_project(folder, overwrite=overwrite)
    click.echo(f"{len(written)} files in {folder}; next:")
    click.echo(f"  cd {shlex.quote(str(folder))} && rootsys check && rootsys run --all")
