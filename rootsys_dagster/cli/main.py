"""The ``rootsys`` command: which commands there are, and what each kind of error ends in.

A command's module is imported when the command runs, so that ``rootsys --help`` imports nothing but click.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from rootsys_dagster.cli.output import exit_code_of, report, silence_stdout
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.spelling import did_you_mean, shown
from rootsys_dagster.log.trigger import asked_by, user_name

COMMANDS = {
    "run": "Fetch, normalise and commit what sources have now; merge fabrics.",
    "check": "Report every problem of every interface and fabric file.",
    "preview": "Show what a run would ask its source, and what would become of the first units.",
    "discover": "List the tables of a database, and by which columns each could be read on.",
    "connections": "List the connections of the project, or test whether they answer.",
    "propose": "Write an interface file for TABLE.",
    "show": "Where each interface and fabric stands.",
    "runs": "What ran, when, how long, what came of it, and who asked for it; newest first.",
    "position": "Show where an interface is read from next, or set it, which is kept in the log.",
    "records": "Print committed records as JSON lines.",
    "dead-letters": "See what was rejected and why, replay it when it is mended, or discard it.",
    "controls": "Hold back runs and let them go again, each time with a reason; alone: what is held, and who did what.",
    "contract": "What a changed interface or record contract would do to what is committed.",
    "where": "Where a record came from, and what became of what came from a place.",
    "merge": "Merge JSONL files of records into one, the first of each key kept.",
    "verify": "Prove from disk that the commit logs are what was committed.",
    "gc": "Remove files that no commit names.",
    "doctor": "Check this installation, the project and its state root.",
    "init": "Write an example project into a new folder.",
}
"""Name and first line of the help; the module has the same name with ``_`` for ``-``, its command too."""

INTERRUPTED = 130
BROKEN_PIPE = 141


class ReaderGone(Exception):
    """Whoever read standard output has read enough. A broken pipe by another name, which click leaves alone."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and loads only the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        return getattr(import_module(f"rootsys_dagster.cli.{name}"), name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ReaderGone from error
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS) or "; see 'rootsys --help'"
            raise click.UsageError(f"no command is called {shown(args[0])}{hint}", ctx)
        return super().resolve_command(ctx, args)


def print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"rootsys {version('rootsys-dagster')}")
        ctx.exit()


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Print it.")
def cli() -> None:
    """Interface files become committed records and explained dead letters.

    Start with 'rootsys init FOLDER', then 'rootsys run --all' in it.
    Exit codes: 0 done, 1 failed, 2 a file or the command line is wrong,
    3 refused because it is paused or its budget is used up, 130 interrupted.
    """


def execute(arguments: Sequence[str]) -> int:
    """Run the command line *arguments* and return the exit code; only bugs raise."""
    try:
        with asked_by(f"cli:{user_name() or os.getuid()}"):
            code = cli.main(list(arguments), prog_name="rootsys", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was committed stays, running again continues from there", err=True)
        return INTERRUPTED
    except ReaderGone:
        silence_stdout()
        return BROKEN_PIPE
    except RootsysError as error:
        report(error)
        return exit_code_of(error)
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point."""
    sys.exit(execute(sys.argv[1:]))
