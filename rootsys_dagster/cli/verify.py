"""``rootsys verify``: what is on disk against what was committed."""

from pathlib import Path

import click

from rootsys_dagster.cli.output import emit, plural
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.streams import find_log, find_logs_of
from rootsys_dagster.log.verify import verify_log


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON line per finding.")
@click.option("--state-root", type=PATH, help="Where commit logs are; no project is needed then.")
@click.option("--project", type=PATH, help="Project folder.")
@click.pass_context
def verify(ctx: click.Context, name: str | None, as_json: bool, state_root: Path | None, project: Path | None) -> None:
    """Read every committed byte again: chain, hashes, counts, conservation, positions. Exit code 1 for a finding."""
    logs = [find_log(name, state_root, project)] if name else find_logs_of(state_root, project)
    damaged = 0
    for log in logs:
        findings = verify_log(log)
        damaged += bool(findings)
        for finding in findings:
            if as_json:
                stream = {"name": log.stream.name, "version": log.stream.version}
                emit(stream | {"code": finding.code, "path": finding.path, "message": finding.message})
            else:
                click.echo(f"{log.stream}: {finding.path}: {finding.message} [{finding.code}]")
        if not findings and not as_json:
            click.echo(f"{log.stream}: as committed, {plural(log.last_seq(), 'commit')}")
    if damaged:
        click.echo(f"{damaged} of {len(logs)} logs are not what was committed; restore what is named", err=True)
    ctx.exit(1 if damaged else 0)
