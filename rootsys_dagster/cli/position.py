"""``rootsys position``: where an interface is read from next, and the only way to change that by hand."""

from pathlib import Path

import click

from rootsys_dagster.cli.ingest import new_run_id
from rootsys_dagster.cli.output import emit
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.streams import find_log, position_text
from rootsys_dagster.core.ports import Place
from rootsys_dagster.core.project import load_project
from rootsys_dagster.pipeline.reset import reset_position

PLACES = ("earliest", "latest", "offset")


@click.group()
def position() -> None:
    """Show where an interface is read from next, or set it, which is kept in the log."""


@position.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The position and the commit that it is in, as one JSON line.")
@click.option("--state-root", type=PATH, help="Where commit logs are.")
@click.option("--project", type=PATH, help="Project folder.")
def show(name: str, as_json: bool, state_root: Path | None, project: Path | None) -> None:
    """The position of an interface and the commit that it is in."""
    log = find_log(name, state_root, project)
    head = log.head()
    if as_json:
        about = {"seq": head.seq, "mode": head.mode, "committed_at": head.committed_at} if head else {"seq": 0}
        emit({"interface": log.stream.name, "version": log.stream.version, "position": head and head.end, **about})
    elif head is None:
        click.echo(f"{log.stream}: nothing is committed yet")
    else:
        click.echo(
            f"{log.stream}: {position_text(head.end)}, by commit {head.seq} ({head.mode}) of {head.committed_at}"
        )


@position.command()
@click.argument("name")
@click.option("--to", "to", type=click.Choice(PLACES), required=True, help="The first message, the next, or --offset.")
@click.option("--partition", type=click.IntRange(min=0), help="Only this partition; the others stay where they are.")
@click.option("--offset", type=click.IntRange(min=0), help="With --to offset: the next one to be read.")
@click.option("--reason", required=True, help="Why; it is kept in the commit with who and when.")
@click.option("--state-root", type=PATH, help="Where commit logs are.")
@click.option("--project", type=PATH, help="Project folder.")
def reset(
    name: str,
    to: str,
    partition: int | None,
    offset: int | None,
    reason: str,
    state_root: Path | None,
    project: Path | None,
) -> None:
    """Say where a source is read from next. A commit of its own kind: nothing is removed, and the log tells of it.

    What lies behind an earlier position comes once more, and a fabric keeps the first of each; what a later one passes
    over is never read.
    """
    if (to == "offset") != (offset is not None):
        raise click.UsageError("--to offset and --offset N belong together")
    if to == "offset" and partition is None:
        raise click.UsageError("--offset is that of one partition; name it with --partition")
    loaded = load_project(project, state_root)
    place = Place(to if offset is None else offset, partition)  # pyright: ignore[reportArgumentType]
    commit = reset_position(loaded.interface(name), loaded, place, run_id=new_run_id(), reason=reason)
    before = position_text(commit.start)
    click.echo(f"{commit.interface}@{commit.version}: commit {commit.seq}: {before} → {position_text(commit.end)}")
