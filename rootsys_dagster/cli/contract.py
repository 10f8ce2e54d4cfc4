"""``rootsys contract``: what a changed interface or record contract would do to what is committed."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from rootsys_dagster.cli.output import emit, plural
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.streams import place
from rootsys_dagster.core.document import parse_document, read_file
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.interface import Interface, load_interface
from rootsys_dagster.core.project import Project, load_project, read_interface_file
from rootsys_dagster.core.record_contract import CONTRACT_FILE, RecordContract, bound
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.pipeline.what_if import Flip, WhatIf, what_if

WORDS: dict[Flip, str] = {
    "rejected": "records would be dead letters",
    "renamed": "records would have another id",
    "resolved": "dead letters would be records",
}


@click.group()
def contract() -> None:
    """What a changed interface or record contract would do to what is committed."""


@contract.command(name="try")
@click.argument("path", type=PATH)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many records of each interface, oldest first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per interface.")
@click.option("--state-root", type=PATH, help="Where commit logs are; that of the project by default.")
@click.option("--project", type=PATH, help="Project folder.")
@click.pass_context
def try_(
    ctx: click.Context, path: Path, limit: int | None, as_json: bool, state_root: Path | None, project: Path | None
) -> None:
    """Judge committed records and open dead letters under the interface or contract file PATH; commit nothing.

    A contract is tried on every interface whose schema_ref names it, in whatever version. Exit code 1 when a committed
    record would be rejected or get another id, 0 when only dead letters would change.
    """
    loaded = load_project(project, state_root)
    worse = False
    for interface in candidates(path, loaded):
        log = CommitLog(loaded.state_root, StreamId(interface.name, interface.version))
        found = what_if(interface, log, limit)
        worse = worse or bool(found.flips["rejected"] or found.flips["renamed"])
        if as_json:
            emit(asdict(found))
        else:
            click.echo("\n".join(lines(found)))
    ctx.exit(1 if worse else 0)


def candidates(path: Path, project: Project) -> Iterator[Interface]:
    """The interface in *path*; or each of the project that the contract in *path* binds, under that contract.

    Raises:
        ConfigError: no interface names the contract.
    """
    match = CONTRACT_FILE.fullmatch(path.name)
    if match is None:
        yield read_interface_file(path).require()
        return
    changed = parse_document(RecordContract, read_file(path), str(path))
    named = 0
    for entry in project.interfaces:
        if entry.interface is not None and (entry.interface.schema_ref or "").startswith(f"contracts/{match[1]}@"):
            named += 1
            yield bound(load_interface(entry.path), changed)
    if not named:
        raise ConfigError(f"no interface has a schema_ref to contracts/{match[1]}@…", code="CONTRACT.UNUSED")


def lines(found: WhatIf) -> Iterator[str]:
    """The report for people."""
    yield f"{found.stream}: {plural(found.records, 'record')} and {plural(found.letters, 'open dead letter')} judged"
    for flip, words in WORDS.items():
        yield f"  {found.flips[flip]:>9,}  {words}"
        for example in found.examples[flip]:
            name = example.get("record_id") or example.get("dead_letter_id", "")[:12]
            errors = "; ".join(f"{one['code']} {one.get('path') or ''}".strip() for one in example.get("errors", ()))
            outcome = errors or f"becomes {example.get('new_record_id')}"
            yield f"             {name}, {example['locator']} at {place(example['position'])}: {outcome}"
