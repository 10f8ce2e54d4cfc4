"""``rootsys runs``: what ran, when, how long, what came of it, who asked for it and what the source was asked."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rootsys_dagster.cli.letter_options import Instant
from rootsys_dagster.cli.output import emit, seconds_text, table, warn
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.streams import find_entry
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.project import Project, load_project
from rootsys_dagster.log.find import find_logs
from rootsys_dagster.log.history import LoggedRun, runs_of

LOOKED_AT = 1000
ASKED_WIDTH = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run of one interface or fabric; or a run of Dagster as a whole, where it came to neither."""

    name: str
    version: str = ""
    status: str = "done"
    """done, failed, or what Dagster says of a run that has not ended well: queued, started, canceled …"""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    commits: list[int] = field(default_factory=list[int])
    mode: str = ""
    records: int = 0
    dead_letters: int = 0
    triggered_by: str | None = None
    run_id: str
    job: str = ""
    asked: dict[str, Any] | None = None
    error: str | None = None

    @property
    def times(self) -> dict[str, datetime | None]:
        """When it began and ended."""
        return {"started_at": self.started_at, "ended_at": self.ended_at}

    @property
    def duration_s(self) -> float | None:
        """How long it took; None while it goes on."""
        if self.started_at is None or self.ended_at is None:
            return None
        return round((self.ended_at - self.started_at).total_seconds(), 3)

    def to_json(self) -> dict[str, Any]:
        """As a JSON line."""
        times = {name: value and value.isoformat() for name, value in self.times.items()}
        return asdict(self) | times | {"duration_s": self.duration_s}


@click.command()
@click.option("--failed", is_flag=True, help="Only those that failed.")
@click.option("--since", type=Instant(), help="Ended at this time or later (UTC), or 24h, 7d: so long ago.")
@click.option("--interface", "name", metavar="NAME", help="Only those of this interface or fabric.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many, newest first."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line each, with everything.")
@click.option("--state-root", type=PATH, help="Where commit logs are.")
@click.option("--project", type=PATH, help="Project folder.")
def runs(
    failed: bool,
    since: int | None,
    name: str | None,
    limit: int,
    as_json: bool,
    state_root: Path | None,
    project: Path | None,
) -> None:
    """What ran, when, how long, what came of it, and who asked for it; newest first.

    From the commit logs, and from Dagster's storage where the project has one: only there are runs that have committed
    nothing, because there was nothing new, or because they failed.
    """
    loaded = load_project(project, state_root)
    instant = None if since is None else datetime.fromtimestamp(since / 1000, UTC)
    wanted = None if name is None else find_entry(loaded, name)
    rows = sorted(rows_of(loaded, instant), key=when, reverse=True)
    if wanted is not None:
        rows = [row for row in rows if row.name in (wanted.name, wanted.asset) and row.version in ("", wanted.version)]
    if failed:
        rows = [row for row in rows if row.status == "failed"]
    rows = rows[:limit]
    if as_json:
        for row in rows:
            emit(row.to_json())
        return
    headings = ["STARTED", "NAME", "STATUS", "RECORDS", "DEAD LETTERS", "TOOK", "TRIGGER", "COMMITS", "RUN"]
    table(headings, map(cells, rows), right=[3, 4, 5])
    for row in rows:
        if row.error:
            click.echo(f"\n{row.name} {row.run_id}: {row.error.splitlines()[0]}")
    if name is not None:
        for row in rows:
            if row.asked:
                text = json.dumps(row.asked, ensure_ascii=False)
                click.echo(f"\n{row.run_id} asked {text if len(text) <= ASKED_WIDTH else text[:ASKED_WIDTH] + '…'}")


def when(row: Row) -> datetime:
    """By which rows are sorted: one that has not begun is the newest."""
    return row.started_at or row.ended_at or datetime.now(UTC)


def rows_of(project: Project, since: datetime | None) -> Iterator[Row]:
    """Every run that the log or Dagster knows of."""
    from rootsys_dagster.defs.history import kept_runs

    logged = list(logged_runs(project, since))
    kept = {run.run_id: run for run in kept_runs(project.root, since, LOOKED_AT)}
    names = {file.asset: file.name for file in (*project.interfaces, *project.fabrics)}
    told = set[tuple[str, str]]()
    for run in logged:
        told.add((run.run_id, run.stream.name))
        whole = kept.get(run.run_id)
        failures = {names.get(asset, asset): why for asset, why in whole.failures.items()} if whole else {}
        error, counts = failures.get(run.stream.name), run.counts
        yield Row(
            name=run.stream.name,
            version=run.stream.version,
            status="done" if error is None else "failed",
            started_at=run.started_at,
            ended_at=run.ended_at,
            commits=[commit.seq for commit in run.commits],
            mode=run.commits[-1].mode,
            records=counts.accepted,
            dead_letters=counts.dead_letters,
            triggered_by=run.triggered_by or (whole.triggered_by if whole else None),
            run_id=run.run_id,
            job=whole.job if whole else "",
            asked=run.asked,
            error=error,
        )
    committed = {run_id for run_id, _ in told}
    for run in kept.values():
        # A member that failed has a line of its own, beside those that have committed.
        lines: Iterable[tuple[str, str | None]] = [
            (names.get(asset, asset), why)
            for asset, why in run.failures.items()
            if (run.run_id, names.get(asset, asset)) not in told
        ]
        if not lines and run.run_id not in committed:
            lines = [(names.get(run.about, run.about), None)]
        for name, error in lines:
            yield Row(
                name=name,
                status={"success": "done", "failure": "failed"}.get(run.status, run.status),
                started_at=run.started_at,
                ended_at=run.ended_at,
                triggered_by=run.triggered_by,
                run_id=run.run_id,
                job=run.job,
                error=error,
            )


def logged_runs(project: Project, since: datetime | None) -> Iterator[LoggedRun]:
    """What the logs tell; one that cannot be read does not keep the others from being told."""
    for log in find_logs(project.state_root):
        try:
            yield from runs_of(log, since)
        except RootsysError as error:
            warn(error.message, error.code)


def cells(row: Row) -> list[str]:
    """One line of the table."""
    return [
        row.started_at.strftime("%Y-%m-%d %H:%M:%S") if row.started_at else "",
        f"{row.name} {row.version}".strip(),
        row.status if row.mode in ("", "ingest", "merge") else row.mode,
        f"{row.records:,}" if row.commits else "",
        f"{row.dead_letters:,}" if row.commits else "",
        "" if row.duration_s is None else seconds_text(row.duration_s),
        row.triggered_by or "",
        commits_text(row.commits),
        row.run_id,
    ]


def commits_text(seqs: list[int]) -> str:
    """``7``, ``7-9``, or nothing."""
    return "" if not seqs else str(seqs[0]) if len(seqs) == 1 else f"{seqs[0]}-{seqs[-1]}"
