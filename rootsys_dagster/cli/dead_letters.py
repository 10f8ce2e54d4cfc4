"""``rootsys dead-letters``: see what was rejected and why, replay it when it is mended, or discard it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from rootsys_dagster.cli.letter_options import chosen_letters, letter_options
from rootsys_dagster.cli.output import emit, plural, table, write_lines
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.streams import find_log, find_logs_of, place
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.controls import this_user
from rootsys_dagster.log.letters import Letter, LetterFilter, open_letters
from rootsys_dagster.pipeline.export import export_lines

SHORT_ID = 12
Grouping = Literal["reason", "pointer", "day", "state"]


@click.group()
def dead_letters() -> None:
    """See what was rejected and why, replay it when it is mended, or discard it."""


def stream_options(function: Any) -> Any:
    """Where the log is."""
    for option in (
        click.option("--project", type=PATH, help="Project folder."),
        click.option("--state-root", type=PATH, help="Where commit logs are, without a project."),
    ):
        function = option(function)
    return function


@dead_letters.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(min=0), help="At most so many.")
@stream_options
def export(name: str, limit: int | None, state_root: Path | None, project: Path | None) -> None:
    """Print the dead letters of NAME (or NAME@VERSION) as JSON lines, oldest first: what --replay-dlq reads."""
    write_lines(export_lines(find_log(name, state_root, project), "dead_letters", limit=limit))


@dead_letters.command(name="list")
@click.argument("name")
@letter_options(states=True)
@click.option("--limit", type=click.IntRange(min=0), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of a table.")
@stream_options
def list_letters(
    name: str, limit: int | None, as_json: bool, state_root: Path | None, project: Path | None, **choice: Any
) -> None:
    """One line for each dead letter of NAME: what became of it, where its source has it, and why it was rejected."""
    with open_letters(find_log(name, state_root, project)) as letters:
        found = letters.select(chosen_letters(**choice), limit)
        if as_json:
            for letter in found:
                emit(shown(letter))
            return
        table(["ID", "STATE", "COMMIT", "SOURCE", "AT", "REASONS", "FIRST MESSAGE"], map(cells, found), right=[2])


def shown(letter: Letter) -> dict[str, Any]:
    """One letter as a JSON line."""
    members = letter.to_json()
    message = members["errors"][0]["message"] if members["errors"] else ""
    return {"id": letter.id, "state": letter.state, "commit": letter.commit_seq, "message": message} | members


def cells(letter: Letter) -> list[str]:
    """One row of the table."""
    row = shown(letter)
    reasons = ", ".join(row["reason_codes"])
    where = [str(letter.commit_seq), letter.locator or "", place(row["position"])]
    return [letter.id[:SHORT_ID], letter.state, *where, reasons, row["message"]]


@dead_letters.command()
@click.argument("name")
@click.argument("letter_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="As JSON: what became of it, and the dead letter as committed.")
@stream_options
def show(name: str, letter_id: str, as_json: bool, state_root: Path | None, project: Path | None) -> None:
    """One dead letter of NAME by ID (or its first characters): its payload with what is wrong marked in it."""
    from rootsys_dagster.cli.letter_view import letter_text

    with open_letters(find_log(name, state_root, project)) as letters:
        found = list(letters.select(LetterFilter(ids=[letter_id]), 2))
        if len(found) != 1:
            many = f"more than one dead letter of {name} begins with {letter_id!r}; write more of its id"
            none = f"{name} has no dead letter {letter_id!r}; see 'rootsys dead-letters list {name}'"
            raise ConfigError(many if found else none, code="LETTERS.UNKNOWN")
        for letter, line in letters.lines(found):
            if as_json:
                emit(letter.to_json() | {"dead_letter": msgspec.json.decode(line)})
            else:
                click.echo("\n".join(letter_text(letter, line)))


@dead_letters.command()
@click.argument("name", required=False)
@letter_options(states=True)
@click.option("--by", "by", type=click.Choice(["reason", "pointer", "day", "state"]), help="Only this grouping.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of tables.")
@stream_options
def stats(
    name: str | None, by: Grouping | None, as_json: bool, state_root: Path | None, project: Path | None, **choice: Any
) -> None:
    """How many dead letters there are, by interface and state, reason, pointer and day; of NAME or of all."""
    logs = [find_log(name, state_root, project)] if name else find_logs_of(state_root, project)
    rows = list(counted(logs, chosen_letters(**choice), [by] if by else ["state", "reason", "pointer", "day"]))
    if as_json:
        for row in rows:
            emit(row)
        return
    table(["INTERFACE", "BY", "VALUE", "COUNT"], ([*map(str, row.values())] for row in rows), right=[3])


def counted(logs: list[CommitLog], wanted: LetterFilter, groupings: list[Grouping]) -> Iterator[dict[str, Any]]:
    """One row for each log, grouping and value that some letter has."""
    for log in logs:
        with open_letters(log) as letters:
            for grouping in groupings:
                for value, count in letters.by(grouping, wanted):
                    yield {"interface": str(log.stream), "by": grouping, "value": value, "count": count}


@dead_letters.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--interface", "interfaces", multiple=True, metavar="NAME", help="The same as NAME. Repeatable.")
@letter_options(states=False)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many of each interface, the oldest first.")
@click.option("--dry-run", is_flag=True, help="Say what would become of them; commit nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per interface.")
@stream_options
@click.pass_context
def replay(
    ctx: click.Context,
    names: tuple[str, ...],
    interfaces: tuple[str, ...],
    limit: int | None,
    dry_run: bool,
    as_json: bool,
    state_root: Path | None,
    project: Path | None,
    **choice: Any,
) -> None:
    """Put open dead letters through their interface as it is now: those of NAME, or of every interface.

    They start from the bytes as fetched, the position of the source does not move, and replaying again changes
    nothing. Exit code 1 when a dead-letter sink could not follow; letters that still fail are no error.
    """
    from rootsys_dagster.cli.replay import replay_named

    wanted = chosen_letters(**choice)
    ctx.exit(replay_named((*names, *interfaces), wanted, limit, dry_run, as_json, state_root, project))


@dead_letters.command()
@click.argument("name")
@letter_options(states=False)
@click.option("--why", required=True, help="The reason; it stands in the log.")
@click.option("--who", default=this_user, show_default="the user of this shell", help="Who decides.")
@click.option("--all", "everything", is_flag=True, help="Every open dead letter; else at least one filter is needed.")
@stream_options
def discard(
    name: str, why: str, who: str, everything: bool, state_root: Path | None, project: Path | None, **choice: Any
) -> None:
    """Close open dead letters of NAME without a record. Nothing is deleted; who and why is committed."""
    from rootsys_dagster.cli.ingest import new_run_id
    from rootsys_dagster.pipeline.mend import discard_letters

    if not everything and not any(choice.values()):
        raise click.UsageError("say which with --id, --reason, --pointer, --since or --until; or --all")
    log = find_log(name, state_root, project)
    head = log.head()
    count = discard_letters(
        log,
        chosen_letters(**choice),
        run_id=new_run_id(),
        by=who,
        note=why,
        interface_sha256=head.interface_sha256 if head else "",
    )
    click.echo(f"{log.stream}: {plural(count, 'dead letter')} discarded")
