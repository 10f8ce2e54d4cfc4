"""``rootsys preview``: what a run would ask its source, and what would become of the first units. Commits nothing."""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from rootsys_dagster.cli.output import emit, plural, table
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.run_options import RunOptions, open_driver
from rootsys_dagster.cli.streams import place, position_text
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.ports import Batch
from rootsys_dagster.core.project import load_project
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.pipeline.validate import Validator
from rootsys_dagster.secrets import redact

PAYLOAD_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Previewed:
    """One unit and what validation says of it."""

    position: dict[str, Any]
    outcome: str
    detail: str
    payload: str

    def to_json(self) -> dict[str, Any]:
        """Every member by its name."""
        return {name: getattr(self, name) for name in self.__slots__}


@click.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="At most so many units.")
@click.option("--from-start", is_flag=True, help="As the first run would, not behind the last commit.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines: the plan, then each unit in full.")
@click.option("--state-root", type=PATH, help="Where commit logs are.")
@click.option("--project", type=PATH, help="Project folder.")
def preview(
    name: str, limit: int, from_start: bool, as_json: bool, state_root: Path | None, project: Path | None
) -> None:
    """Show what a run would ask its source, and what would become of the first units.

    The source of NAME is really asked; secrets are masked and nothing is committed.
    """
    loaded = load_project(project, state_root)
    entry = loaded.interface(name)
    interface = entry.require()
    driver = open_driver(interface, RunOptions(), loaded)
    head = None if from_start else CommitLog(loaded.state_root, StreamId(interface.name, interface.version)).head()
    resume = head.end if head else None
    plan = driver.plan(resume)
    if as_json:
        emit({"plan": plan})
    else:
        click.echo(f"{interface.name} {interface.version}: {position_text(resume)}")
        for member, value in plan.items():
            for text in value if isinstance(value, list) else [value]:
                shown = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
                click.echo(f"  {member:10} {redact(shown)}")
                member = ""
        click.echo()
    units: list[Previewed] = []
    if limit:
        with closing(driver.read(resume)) as batches:  # pyright: ignore[reportArgumentType]  (a generator has close)
            units = list(judged(interface, first_units(batches, limit)))
    if as_json:
        for unit in units:
            emit(unit.to_json())
        return
    table(["AT", "OUTCOME", "", "PAYLOAD"], (cells(unit) for unit in units))
    rejected = sum(unit.outcome == "dead letter" for unit in units)
    click.echo(f"\n{plural(len(units), 'unit')}, {plural(rejected, 'dead letter')}; nothing was committed")


def first_units(batches: Iterable[Batch], limit: int) -> Iterator[Batch]:
    """The batches that hold the first *limit* units, and nothing is read behind them."""
    for batch in batches:
        yield batch if len(batch.units) <= limit else replace(batch, units=batch.units[:limit])
        limit -= len(batch.units)
        if limit <= 0:
            return


def judged(interface: Interface, batches: Iterable[Batch]) -> Iterator[Previewed]:
    """Every unit with its verdict."""
    validator = Validator(interface)
    for batch in batches:
        positions = batch.locators.positions(batch.units)
        for unit, position in zip(batch.units, positions, strict=False):
            verdict = validator.judge(unit, batch.kind, batch.oversized, batch.refused)
            if verdict is None:
                outcome, detail = "skipped", "blank"
            elif verdict.record_id is not None:
                outcome, detail = "record", json.loads(verdict.record_id)
            else:
                first = verdict.errors[0]
                outcome, detail = "dead letter", f"{first.code} {first.path or ''}".strip()
            yield Previewed(json.loads(position), outcome, detail, redact(unit.decode(errors="replace")))


def cells(unit: Previewed) -> list[str]:
    """One row of the table."""
    short = unit.payload if len(unit.payload) <= PAYLOAD_WIDTH else unit.payload[: PAYLOAD_WIDTH - 1] + "…"
    return [place(unit.position), unit.outcome, unit.detail, short]
