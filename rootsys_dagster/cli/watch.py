"""Print the same again and again: in place on a terminal, one below the other anywhere else."""

import io
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout

import click

HOME, REST_OF_LINE, BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def again_and_again(show: Callable[[], None], every_s: float) -> None:
    """Call *show*, which prints, every so often until Ctrl-C, which ends the command and is no failure."""
    if sys.stdout.isatty():
        click.clear()
    try:
        while True:
            # Printed at once: a screen that is filled line by line flickers.
            with redirect_stdout(io.StringIO()) as screen:
                show()
            if sys.stdout.isatty():
                lines = screen.getvalue().splitlines()
                click.echo(HOME + "".join(f"{line}{REST_OF_LINE}\n" for line in lines) + BELOW, nl=False)
            else:
                click.echo(screen.getvalue())
            time.sleep(every_s)
    except KeyboardInterrupt:
        click.echo()
