"""How far a run is: one line that rewrites itself on a terminal, nothing elsewhere (events tell of commits)."""

import os
import sys
import time

from rootsys_dagster.cli.output import bytes_text, plural
from rootsys_dagster.log.manifest import Counts

EVERY_S = 0.1


class LiveLine:
    """Rewrites one line of standard error, at most ten times a second."""

    def __init__(self, name: str, *, wanted: bool = True, merged: bool = False) -> None:
        self.name = name
        self.merged = merged
        self.wanted = wanted and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.began_s = time.monotonic()
        self._shown_s = 0.0

    def __call__(self, counts: Counts) -> None:
        """Show the sums of the run so far."""
        now_s = time.monotonic()
        if not self.wanted or now_s - self._shown_s < EVERY_S:
            return
        self._shown_s = now_s
        text = progress_text(self.name, counts, now_s - self.began_s, merged=self.merged)
        width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        sys.stderr.write(f"\r\x1b[K{text[: width - 1]}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Make room for what is printed next."""
        if self._shown_s:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown_s = 0.0


def progress_text(name: str, counts: Counts, elapsed_s: float, *, merged: bool) -> str:
    """``mes: 1,200 records, 3 dead letters, 400,000/s, 1.2 MB, 3.0 s``; a fabric has duplicates instead."""
    rate = counts.fetched / elapsed_s if elapsed_s > 0 else 0.0
    other = plural(counts.duplicates, "duplicate") if merged else plural(counts.dead_letters, "dead letter")
    parts = [plural(counts.accepted, "record"), other, f"{rate:,.0f}/s", bytes_text(counts.raw_bytes)]
    return f"{name}: {', '.join(parts)}, {elapsed_s:.1f} s"
