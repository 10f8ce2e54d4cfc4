"""Kill at every system call that changes the state root, and let every one of them fail."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from crash.faults import CHANGING, LOCKING, Call, strike, trace
from crash.oracle import check, check_complete
from crash.pool import Child, Outcome, Pool
from crash.source import Source

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
}
NAMED = {"STATE.WRITE_FAILED", "STATE.UNUSABLE", "LOG.DAMAGED"}
FORMS = [
    pytest.param(True, id="short"),
    pytest.param(False, id="all", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
]


class Runs:
    """The same run again and again, each in a state root of its own and with the same system calls."""

    def __init__(self, source: Source, pool: Pool, *, continued: bool) -> None:
        self.source = source
        self.pool = pool
        self.count = 0
        self.template = source.root / "template"
        source.grow(40_000)
        if continued:
            pool.run("run", source.root, state_root=self.template).require_success()
        source.grow(60_000)

    def start(self) -> tuple[Child, Path]:
        """A run that waits for its fault, and its state root."""
        self.count += 1
        state_root = self.source.root / f"state-{self.count}"
        if self.template.exists():
            shutil.copytree(self.template, state_root)
        return self.pool.start("run", self.source.root, state_root=state_root, fixed_names=True, wait=True), state_root

    def calls(self, names: str) -> list[Call]:
        """Every such call on anything below the state root in an undisturbed run."""
        child, state_root = self.start()
        calls = trace(child, state_root, names)
        assert sum(call.name == "link" and "log/" in call.path for call in calls) == (
            1 if self.template.exists() else 2
        )
        return calls

    def strike(self, call: Call, fault: str) -> Iterator[Outcome]:
        """Run into *fault*, judge what is left, then finish undisturbed and judge again."""
        child, state_root = self.start()
        struck = strike(child, state_root, call, fault)
        assert struck.fired, f"the fault did not happen: {struck.outcome}"
        folder = state_root / "mes" / "v1"
        check(folder, self.source.lines)
        yield struck.outcome
        self.pool.run("run", self.source.root, state_root=state_root).require_success()
        check_complete(folder, self.source.lines)
        shutil.rmtree(state_root)


def judge(runs: Runs, aims: Iterable[tuple[Call, str]], verdict: Callable[[Outcome], str | None]) -> None:
    """Strike at each aim; report every one after which a promise is broken, not only the first."""
    broken: list[str] = []
    for call, fault in aims:
        try:
            for outcome in runs.strike(call, fault):
                if problem := verdict(outcome):
                    broken.append(f"{fault} at {call}: {problem}")
        except AssertionError as error:
            broken.append(f"{fault} at {call}: {error}")
    assert not broken, f"{len(broken)} broken:\n" + "\n".join(broken)


def around_commits(calls: list[Call], every: int) -> list[Call]:
    """Each link of a manifest with the three calls before it and after it, and of the others one in *every*."""
    links = [n for n, call in enumerate(calls) if call.name == "link" and "log/" in call.path]
    near = {n for link in links for n in range(link - 3, link + 4)}
    return [call for n, call in enumerate(calls) if n in near or n % every == 0]


@pytest.mark.parametrize("continued", [False, True], ids=["first run", "later run"])
@pytest.mark.parametrize("short", FORMS)
def test_a_kill_at_any_system_call_leaves_the_old_state_or_the_new(
    source: Source, pool: Pool, strace: None, short: bool, continued: bool
) -> None:
    runs = Runs(source, pool, continued=continued)
    calls = [call for call in runs.calls(CHANGING) if call.creates]
    if short:
        calls = around_commits(calls, every=6)
    assert {"write", "fsync", "openat", "link", "unlink"} <= {call.name for call in calls}

    judge(runs, [(call, "signal=SIGKILL") for call in calls], lambda outcome: None if outcome.killed else str(outcome))


def named_or_done(outcome: Outcome) -> str | None:
    """What is wrong with how a run ended that met an error of the operating system; None when nothing is."""
    if "Traceback" in outcome.printed:
        return outcome.printed.strip().splitlines()[-1]
    if outcome.status == 0 or outcome.code in NAMED:
        return None
    return str(outcome)


@pytest.mark.parametrize("continued", [False, True], ids=["first run", "later run"])
@pytest.mark.parametrize("short", FORMS)
def test_an_error_of_any_system_call_is_named_and_loses_nothing(
    source: Source, pool: Pool, strace: None, short: bool, continued: bool
) -> None:
    runs = Runs(source, pool, continued=continued)
    calls = runs.calls(f"{CHANGING},{LOCKING}")
    aims = [(call, f"error={error}") for call in calls for error in ERRORS[call.name]]
    if short:
        near = set(around_commits(calls, every=10))
        aims = [
            (call, f"error={ERRORS[call.name][n % len(ERRORS[call.name])]}")
            for n, call in enumerate(calls)
            if call in near
        ]

    judge(runs, aims, named_or_done)
