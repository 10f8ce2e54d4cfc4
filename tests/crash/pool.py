"""Starts, kills and awaits the children of ``worker``."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WORKER = Path(__file__).with_name("worker.py")
NAMED_ERROR = 3
"""Exit code of a child that ended with an error of ours."""


def await_commits(folder: Path, count: int, until: Callable[[], bool]) -> None:
    """Wait until a log holds *count* manifests, or for *until*."""
    while len(list((folder / "log").glob("[0-9]*.json"))) < count and not until():
        time.sleep(0.0005)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended. ``status`` is its exit code, or minus the signal that killed it."""

    status: int
    report: dict[str, Any]
    printed: str

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it; false for one that was done before."""
        return self.status == -signal.SIGKILL

    @property
    def code(self) -> str | None:
        """The code of the named error it ended with."""
        return self.report.get("code")

    def require_success(self) -> "Outcome":
        """Fail unless it did what it was asked to do."""
        assert self.status == 0, f"exit {self.status}: {self.report} {self.printed}"
        return self


@dataclass(slots=True)
class Child:
    """One request under way."""

    pool: "Pool"
    pid: int
    outcome_path: Path

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. The pid cannot belong to another: the worker has not awaited it yet."""
        os.kill(self.pid, number)

    def state(self) -> str:
        """The letter of /proc: R, S, D, T (stopped), Z (ended)."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def await_state(self, states: str, timeout_s: float = 30) -> str:
        """Wait until the child is in one of *states*."""
        deadline_s = time.monotonic() + timeout_s
        while (state := self.state()) not in states:
            assert time.monotonic() < deadline_s, f"still {state}, not {states}"
            time.sleep(0.0005)
        return state

    def await_commits(self, folder: Path, count: int) -> None:
        """Wait until a log holds *count* manifests, or the child has ended."""
        await_commits(folder, count, until=lambda: self.state() == "Z")

    def wait(self) -> Outcome:
        """Wait for its end."""
        status = self.pool.ask({"wait_for": self.pid})["status"]
        # A killed child may have got no further than half of its own report.
        report = json.loads(self.outcome_path.read_text()) if status in (0, NAMED_ERROR) else {}
        printed = self.outcome_path.with_suffix(".txt")
        return Outcome(status, report, printed.read_text(errors="replace") if printed.is_file() else "")

    def kill(self) -> Outcome:
        """Send SIGKILL and wait."""
        self.signal(signal.SIGKILL)
        return self.wait()


@dataclass(slots=True)
class Pool:
    """The worker process; a context manager that also ends what is left of its children."""

    folder: Path
    count: int = 0
    children: list[Child] = field(default_factory=list[Child])
    process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Self:
        self.process = subprocess.Popen([sys.executable, WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_all()
        self.process.communicate()

    def kill_all(self) -> None:
        """End what a failed test left behind."""
        for child in list(self.children):
            child.kill()

    def start(self, do: str, root: Path, name: str = "mes", *, state_root: Path | None = None, **options: Any) -> Child:
        """Begin a request; see ``worker.carry_out`` and ``worker.set_up``."""
        self.count += 1
        outcome = self.folder / f"outcome-{self.count}.json"
        places = {"root": str(root), "state_root": str(state_root or root / ".rootsys"), "outcome": str(outcome)}
        pid = self.ask({"do": do, "name": name, **places, **options})["pid"]
        child = Child(self, pid, outcome)
        self.children.append(child)
        return child

    def run(self, do: str, root: Path, name: str = "mes", **options: Any) -> Outcome:
        """Carry out a request to its end."""
        return self.start(do, root, name, **options).wait()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, one answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        if "wait_for" in request:
            self.children = [child for child in self.children if child.pid != request["wait_for"]]
        return json.loads(self.process.stdout.readline())
