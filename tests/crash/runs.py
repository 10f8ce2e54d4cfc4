"""One and the same piece of work again and again, each time in a fresh copy of a project and with one fault."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash.faults import Call, strike, trace
from crash.pool import Child, Outcome, Pool

Verdict = Callable[[Outcome], str | None]
"""What is wrong with how the struck child ended; None when nothing is."""


@dataclass(slots=True)
class Runs:
    """Work *do* on interface or fabric *name*, in copies of the project *template*."""

    pool: Pool
    template: Path
    do: str
    check: Callable[[Path], object]
    """Judges a project folder after the fault."""
    check_complete: Callable[[Path], object]
    """Judges it after an undisturbed run behind the fault."""
    name: str = "mes"
    options: dict[str, Any] | None = None
    count: int = 0

    def start(self) -> tuple[Child, Path]:
        """A child that waits, with the same names and calls every time, and its project folder."""
        self.count += 1
        root = self.template.with_name(f"{self.template.name}-{self.count}")
        shutil.copytree(self.template, root)
        options = self.options or {}
        return self.pool.start(self.do, root, self.name, fixed_names=True, wait=True, **options), root

    def calls(self, names: str) -> list[Call]:
        """Every such call on anything in the project folder in an undisturbed run."""
        child, root = self.start()
        found = trace(child, root, names)
        self.check_complete(root)
        return found

    def strike(self, call: Call, fault: str, verdict: Verdict) -> None:
        """Run into *fault*, judge what is left, then finish undisturbed and judge again."""
        child, root = self.start()
        struck = strike(child, root, call, fault)
        assert struck.fired, f"the fault did not happen: {struck.outcome}"
        problem = verdict(struck.outcome)
        assert problem is None, problem
        self.check(root)
        self.pool.run(self.do, root, self.name).require_success()
        self.check_complete(root)
        shutil.rmtree(root)

    def strike_each(self, aims: Iterable[tuple[Call, str]], verdict: Verdict) -> None:
        """Strike at each aim; report every one after which a promise is broken, not only the first."""
        broken: list[str] = []
        for call, fault in aims:
            try:
                self.strike(call, fault, verdict)
            except AssertionError as error:
                broken.append(f"{fault} at {call}: {error}")
        assert not broken, f"{len(broken)} broken:\n" + "\n".join(broken)


def killed(outcome: Outcome) -> str | None:
    """The child must have died of the fault."""
    return None if outcome.killed else f"it was not killed: {outcome}"


def around_commits(calls: Sequence[Call], every: int) -> list[Call]:
    """Each link of a manifest with the three calls before it and after it, and of the others one in *every*."""
    links = [n for n, call in enumerate(calls) if call.name == "link" and "/log/" in call.path]
    near = {n for link in links for n in range(link - 3, link + 4)}
    return [call for n, call in enumerate(calls) if n in near or n % every == 0]
