"""Kill at every system call that changes the state root, and let every one of them fail."""

import re
from pathlib import Path

import pytest

from crash.faults import CHANGING, LOCKING
from crash.oracle import check, check_complete
from crash.pool import NAMED_ERROR, Outcome, Pool
from crash.runs import Runs, around_commits, killed
from crash.source import Source

STATE = Path(".rootsys/mes/v1")
ERRORS = {
    "write": ("ENOSPC", "EIO", "EDQUOT"),
    "pwrite64": ("ENOSPC", "EIO", "EDQUOT"),
    "ftruncate": ("EIO",),
    "fsync": ("EIO", "ENOSPC", "EDQUOT"),
    "fdatasync": ("EIO", "ENOSPC", "EDQUOT"),
    "openat": ("EMFILE", "ENOSPC", "EIO", "EDQUOT", "EACCES"),
    "mkdir": ("ENOSPC", "EIO", "EDQUOT", "EMLINK"),
    "link": ("ENOSPC", "EIO", "EDQUOT", "EMLINK"),
    "linkat": ("ENOSPC", "EIO", "EDQUOT", "EMLINK"),
    "rename": ("ENOSPC", "EIO"),
    "unlink": ("EIO", "EACCES"),
    "flock": ("EIO", "ENOLCK"),
    "read": ("EIO",),
    "pread64": ("EIO",),
}
NAMED = {"STATE.WRITE_FAILED", "STATE.UNUSABLE", "LOG.DAMAGED"}
CODE = re.compile(r"\[[A-Z]+[A-Z_.]+\]")
FORMS = [
    pytest.param(True, id="short"),
    pytest.param(False, id="all", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
]
BEFORE = [pytest.param(False, id="first run"), pytest.param(True, id="later run")]


def two_commits(source: Source, pool: Pool, *, continued: bool, do: str = "run") -> Runs:
    """Runs of two commits into a new state root, or of one into a log that begins already."""
    source.grow(40_000)
    if continued:
        pool.run("run", source.root).require_success()
    source.grow(60_000)
    return Runs(
        pool,
        source.root,
        do,
        check=lambda root: check(root / STATE, source.lines),
        check_complete=lambda root: check_complete(root / STATE, source.lines),
    )


@pytest.mark.parametrize("continued", BEFORE)
@pytest.mark.parametrize("short", FORMS)
def test_a_kill_at_any_system_call_leaves_the_old_state_or_the_new(
    source: Source, pool: Pool, strace: None, short: bool, continued: bool
) -> None:
    runs = two_commits(source, pool, continued=continued)
    calls = [call for call in runs.calls(CHANGING) if call.creates]
    assert {"write", "fsync", "openat", "link", "unlink"} <= {call.name for call in calls}
    assert sum(call.name == "link" and "/log/" in call.path for call in calls) == (1 if continued else 2)

    if short:
        calls = around_commits(calls, every=8)
    runs.strike_each([(call, "signal=SIGKILL") for call in calls], killed)


def named_or_done(outcome: Outcome) -> str | None:
    """What is wrong with how a run ended that met an error of the operating system; None when nothing is."""
    if "Traceback" in outcome.printed:
        return outcome.printed.strip().splitlines()[-1]
    if outcome.status == 0 or outcome.code in NAMED:
        return None
    return str(outcome)


@pytest.mark.parametrize("continued", BEFORE)
@pytest.mark.parametrize("short", FORMS)
def test_an_error_of_any_system_call_is_named_and_loses_nothing(
    source: Source, pool: Pool, strace: None, short: bool, continued: bool
) -> None:
    runs = two_commits(source, pool, continued=continued)
    calls = [call for call in runs.calls(f"{CHANGING},{LOCKING}") if call.path.startswith(".rootsys")]
    if short:
        near = around_commits(calls, every=12)
        aims = [(call, f"error={ERRORS[call.name][n % len(ERRORS[call.name])]}") for n, call in enumerate(near)]
    else:
        aims = [(call, f"error={error}") for call in calls for error in ERRORS[call.name]]
    runs.strike_each(aims, named_or_done)


def said_in_words(outcome: Outcome) -> str | None:
    """What is wrong with what the command line told a person about an error; None when nothing is."""
    if "Traceback" in outcome.printed or outcome.status != 0:
        return outcome.printed.strip().splitlines()[-1] if outcome.printed else str(outcome)
    exit_code, said = outcome.report["exit_code"], outcome.printed
    if exit_code not in (0, 1, 2) or (exit_code != 0) != bool(CODE.search(said)):
        return f"exit code {exit_code}: {said[-300:]}"
    return None


@pytest.mark.parametrize("short", FORMS)
def test_the_command_line_has_words_for_every_error(source: Source, pool: Pool, strace: None, short: bool) -> None:
    runs = two_commits(source, pool, continued=True, do="command")
    calls = runs.calls(f"{CHANGING},{LOCKING},read,pread64")
    assert {"read", "openat", "flock"} <= {call.name for call in calls}
    aims = [(call, f"error={error}") for call in calls for error in ERRORS[call.name]]
    runs.strike_each(aims[::12] if short else aims, said_in_words)


@pytest.mark.parametrize(
    "more", [pytest.param(range(8), id="short"), pytest.param(range(40), id="long", marks=pytest.mark.long)]
)
def test_a_process_that_runs_out_of_descriptors_says_so(source: Source, pool: Pool, more: range) -> None:
    source.grow(100_000)
    failed = 0
    for descriptors in more:
        outcome = pool.run("run", source.root, descriptors=descriptors)
        assert "Traceback" not in outcome.printed, f"{descriptors}: {outcome.printed}"
        assert outcome.status in (0, NAMED_ERROR), outcome
        check(source.root / STATE, source.lines)
        failed += outcome.status == NAMED_ERROR

    assert failed > 3, "descriptors did not run out"
    pool.run("run", source.root).require_success()
    check_complete(source.root / STATE, source.lines)
