"""What a run did, for people: counts, where the lines are, and what happens next time."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from rootsys_dagster.cli.ingest import Outcome
from rootsys_dagster.cli.output import bytes_text
from rootsys_dagster.cli.progress import progress_text
from rootsys_dagster.cli.streams import position_text

COMMANDS = {"records": "records", "dead_letters": "dead-letters export", "duplicates": "records --kind duplicates"}


def summarise(outcome: Outcome, state_root: Path | None) -> str:
    """Some lines without a newline at the end.

    Args:
        state_root: as typed on the command line; the commands that read the lines need it again.
    """
    return "\n".join(_lines(outcome, state_root))


def _lines(outcome: Outcome, state_root: Path | None) -> Iterator[str]:
    report = outcome.report
    if report.manifests:
        done = progress_text(outcome.name, report.counts, report.elapsed_s, merged=outcome.is_merge)
        yield f"{done}: {_commits(outcome)}"
        yield _member("position", position_text(report.end))
        yield from _places(outcome, state_root)
    else:
        seq = outcome.log.last_seq()
        yield f"{outcome.name}: nothing new since commit {seq}" if seq else f"{outcome.name}: nothing to commit yet"
    for title, counted in (("rejected", report.counts.reasons), ("skipped", report.counts.skipped)):
        for code, count in sorted(counted.items(), key=lambda item: -item[1]):
            yield _member(title, f"{count:>10,}  {code}")
    for follower in outcome.followers:
        if follower.error is None:
            yield _member("follower", f"{follower.name}: {follower.written} new, at commit {follower.seq}")
    if outcome.stopped:
        yield _member("stopped", f"by {outcome.stopped}; running again goes on from here")
    if outcome.waiting:
        text = f'{bytes_text(outcome.waiting)} behind the last whole line; driver.eof "accept" takes an unfinished one'
        yield _member("waiting", text)


def _places(outcome: Outcome, state_root: Path | None) -> Iterator[str]:
    name = shlex.quote(outcome.log.stream.name)
    root = f" --state-root {shlex.quote(str(state_root))}" if state_root else ""
    for kind in ("records", "duplicates" if outcome.is_merge else "dead_letters"):
        yield _member(kind.replace("_", " "), f"rootsys {COMMANDS[kind]} {name}{root}  ({outcome.log.folder / kind})")


def _member(title: str, text: str) -> str:
    return f"  {title:14}{text}"


def _commits(outcome: Outcome) -> str:
    seqs = [manifest.seq for manifest in outcome.report.manifests]
    return f"commit {seqs[0]}" if len(seqs) == 1 else f"commits {seqs[0]} to {seqs[-1]}"
