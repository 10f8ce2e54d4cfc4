"""What every command says the same way: errors, tables, JSON lines, numbers. ``NO_COLOR`` and pipes get plain text."""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import click

from rootsys_dagster.core.errors import ConfigError, InvalidFileError, RefusedError, RootsysError
from rootsys_dagster.secrets import redact


def coloured() -> bool:
    """Whether standard error is a terminal that wants colours. Source: https://no-color.org."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def report(error: RootsysError, about: str | None = None) -> None:
    """Print *error* with its code on standard error; the problems of a file bring their own codes."""
    text = redact(str(error))
    if about is not None and not text.startswith(f"{about}:"):
        text = f"{about}: {text}"
    if not isinstance(error, InvalidFileError):
        text = f"{text} [{error.code}]"
    label = click.style("error:", fg="red", bold=True) if coloured() else "error:"
    click.echo(f"{label} {text}", err=True, color=coloured())


def exit_code_of(error: RootsysError) -> int:
    """2 for a file to fix, 3 for what a person or a budget holds back, else 1."""
    if isinstance(error, RefusedError):
        return 3
    return 2 if isinstance(error, ConfigError) else 1


def warn(message: str, code: str) -> None:
    """Print a warning with its code on standard error."""
    label = click.style("warning:", fg="yellow", bold=True) if coloured() else "warning:"
    click.echo(f"{label} {message} [{code}]", err=True, color=coloured())


def note(message: str) -> None:
    """Print a line for people on standard error."""
    click.echo(message, err=True)


def event(name: str, payload: dict[str, Any]) -> None:
    """Print one event line. Source: spec/1-reference.md 1.13."""
    emit({"event": name, "ts_unix_ms": time.time_ns() // 1_000_000, "payload": payload})


def emit(document: Any) -> None:
    """Print *document* as one JSON line at once, so that whoever reads along is never behind."""
    say(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def say(line: str) -> None:
    """Print a line of progress. A reader that went away must not end the run whose progress it read."""
    try:
        click.echo(line)
    except BrokenPipeError:
        silence_stdout()


def silence_stdout() -> None:
    """Send standard output nowhere from now on, so that nothing fails again when it is closed at the end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def write_lines(lines: Iterable[bytes]) -> None:
    """Copy lines that end with a newline to standard output."""
    out = sys.stdout.buffer
    for line in lines:
        out.write(line)
    out.flush()


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print rows under headings; on a pipe the columns are as wide as they need to be and nothing is cut off.

    Args:
        rows: one that holds only its first cell is a heading of its own, and as wide as it likes.
        right: the columns that hold numbers.
    """
    rows = [[cell if cell.isprintable() else ascii(cell) for cell in row] for row in rows]
    measured = [row for row in rows if any(row[1:])]
    widths = [max(len(cell) for cell in column) for column in zip(headings, *measured, strict=True)]
    for row in (headings, *rows):
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def bytes_text(count: float) -> str:
    """``12.3 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def seconds_text(seconds: float) -> str:
    """``0.3 s``, ``4 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plural(count: int, noun: str) -> str:
    """``1 record``, ``1,200 records``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
