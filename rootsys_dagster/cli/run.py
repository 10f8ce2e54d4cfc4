"""``rootsys run``: the command line of the reference, and runs by name through the commit log."""

from collections.abc import Callable
from typing import Any

import click

from rootsys_dagster.cli.output import report, warn
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.cli.run_file import run_file
from rootsys_dagster.cli.run_named import run_named
from rootsys_dagster.cli.run_options import RunOptions, Schedule
from rootsys_dagster.cli.stop import Stop
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.paths import is_utf8
from rootsys_dagster.core.policy import TABLE_NAME

ONE_NAME_ONLY = ("output", "input", "source", "dlq", "dlq_sink", "replay_dlq", "format")


def table_name(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Refuse what cannot be written into SQL as it is."""
    if not TABLE_NAME.fullmatch(value) or value.lower().startswith("sqlite_"):
        raise click.BadParameter("must start with a letter or '_' and hold only letters, digits and '_'")
    return value


def text(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse what cannot stand in a record."""
    if value is not None and not is_utf8(value):
        raise click.BadParameter("is not UTF-8")
    return value


def options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several decorators as one, in the order of the help."""

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


@click.command()
@click.argument("names", nargs=-1)
@options(
    click.option("--all", "everything", is_flag=True, help="Every enabled interface, then every fabric."),
    click.option("--group", help="The members of a group, in its order; those that are switched off are left out."),
    click.option("--interface", type=PATH, help="An interface file, with or without a project around it."),
    click.option("--output", type=PATH, help="JSON lines of the records; required with --interface alone."),
    click.option("--input", help="What to read instead of driver.input; - is standard input. File kinds only."),
    click.option(
        "--format",
        type=click.Choice(["auto", "jsonl", "text", "binary"]),
        default="auto",
        show_default=True,
        help="Read with this file driver, whatever the kind of the interface.",
    ),
    click.option("--source", callback=text, help="The source that records name; the name of the interface by default."),
    click.option("--contract-registry", type=PATH, help="contracts/allowlist.json by default."),
    click.option("--dlq-sink", type=click.Choice(["file", "sqlite"]), help="Where dead letters go.  [default: file]"),
    click.option("--dlq", type=PATH, help="File of the dead letters; named after --output by default."),
    click.option("--dlq-table", default="dead_letters", show_default=True, callback=table_name),
    click.option(
        "--schedule-mode",
        type=click.Choice(["once", "interval"]),
        default="once",
        show_default=True,
        help="Once, or --max-runs times with --interval-seconds between.",
    ),
    click.option("--interval-seconds", type=click.IntRange(min=1)),
    click.option("--max-runs", type=click.IntRange(min=1)),
    click.option("--every-s", type=click.IntRange(min=1), help="Short for interval mode with so many seconds."),
    click.option("--replay-dlq", type=PATH, help="Run these dead letters again instead of reading the source."),
    click.option("--replay-dlq-source", type=click.Choice(["file", "sqlite"]), default="file", show_default=True),
    click.option("--replay-dlq-table", default="dead_letters", show_default=True, callback=table_name),
    click.option("--enable-product-flow", is_flag=True, help="Not part of this product; accepted with a warning."),
    click.option("--product-output-dir", type=PATH, help="Accepted with --enable-product-flow, and not used."),
    click.option("--state-root", type=PATH, help="Where commit logs are; each run then goes on from the last commit."),
    click.option("--project", type=PATH, help="Project folder; the nearest one with interfaces/ by default."),
    click.option("--json", "json_only", is_flag=True, help="Only JSON lines on standard output."),
)
@click.pass_context
def run(ctx: click.Context, **given: Any) -> None:
    """Fetch, normalise and commit what sources have now; merge fabrics.

    \b
    rootsys run mes qms defects        by name, in a project: on from the last commit
    rootsys run --all                  all of them, fabrics last
    rootsys run --group nightly        the members of a group, in its order
    rootsys run --interface F --output O                  everything from the beginning into O
    rootsys run --interface F --state-root D [--output O] on from the last commit in D

    Exit codes: 0 done (dead letters are no failure), 1 failed, 2 a file or the command line is wrong,
    3 refused because it is paused, 130 interrupted. With --interface a wrong file is 1 too.
    """
    mode, seconds, runs = given.pop("schedule_mode"), given.pop("interval_seconds"), given.pop("max_runs")
    if (every_s := given.pop("every_s")) is not None:
        if seconds is not None:
            raise click.UsageError("--every-s and --interval-seconds are one; give one of them")
        mode, seconds = "interval", every_s
    chosen = RunOptions(**given, schedule=schedule(mode, seconds, runs))
    check_combination(chosen)
    if chosen.enable_product_flow:
        warn("the product flow is not part of this version; the run goes on without it", "PRODUCT_FLOW.NOT_INCLUDED")
    with Stop().listening() as stop:
        if chosen.interface is None:
            ctx.exit(run_named(chosen, stop) or stop.exit_code)
        try:
            code = run_file(chosen, stop)
        except RootsysError as error:
            # The reference knows only one exit code for errors.
            report(error)
            ctx.exit(1)
        ctx.exit(code or stop.exit_code)


def schedule(mode: str, interval_seconds: int | None, max_runs: int | None) -> Schedule:
    """How often to run.

    Raises:
        UsageError: interval mode without both numbers, or numbers without interval mode.
    """
    if mode == "interval":
        if interval_seconds is None or max_runs is None:
            raise click.UsageError("--schedule-mode interval needs --interval-seconds and --max-runs, both above 0")
        return Schedule(max_runs, interval_seconds)
    if interval_seconds is not None or max_runs is not None:
        raise click.UsageError("--interval-seconds and --max-runs belong to --schedule-mode interval")
    return Schedule(1, None)


def check_combination(chosen: RunOptions) -> None:
    """Refuse options that contradict each other."""
    ways = [bool(chosen.names), chosen.everything, chosen.group is not None, chosen.interface is not None]
    if sum(ways) != 1:
        raise click.UsageError("name what to run: NAME..., --all, --group NAME, or --interface FILE")
    if chosen.interface is not None and chosen.output is None and chosen.state_root is None:
        raise click.UsageError("--interface needs --output FILE, or --state-root DIR to go on from the last commit")
    if chosen.interface is not None and chosen.project is not None:
        raise click.UsageError("--project belongs to runs by name; with --interface there is no project")
    if len(chosen.names) != 1 and chosen.interface is None:
        for name in ONE_NAME_ONLY:
            if getattr(chosen, name) not in (None, "auto"):
                raise click.UsageError(f"--{name.replace('_', '-')} is for one interface; name only one")
    if chosen.dlq_sink is not None and chosen.dlq is None and chosen.output is None:
        raise click.UsageError("--dlq-sink needs --dlq FILE, or --output to name it after")
    if chosen.output is not None and chosen.output == chosen.dlq:
        raise click.UsageError("--output and --dlq are the same file")
