"""Traces the system calls of one child, then fails one of them or kills the child at one of them.

strace counts ``when=n`` for each thread on its own, and segments are written by threads of their own. So a fault is
aimed at a system call *on one path* (``-P``): no path is written by two threads, and with ``fixed_names`` every path is
the same in every run. A signal that is injected at a system call kills before the call is carried out.
"""

import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from crash.pool import Child, Outcome

CHANGING = (
    "write,pwrite64,writev,fsync,fdatasync,sync_file_range,openat,mkdir,mkdirat,link,linkat,symlink,symlinkat,rename,"
    "renameat,renameat2,unlink,unlinkat,rmdir,truncate,ftruncate,fallocate,copy_file_range,sendfile,chmod,fchmod"
)
LOCKING = "flock"
CALL = re.compile(r"^(\d+) +(\w+)\((.*)$")
DESCRIPTOR = re.compile(r"^\d+<([^>]*)>")
QUOTED = re.compile(r'"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """The *nth* system call *name* on *path*, which is relative to the folder that was watched."""

    name: str
    path: str
    nth: int
    creates: bool = True
    """False for an openat that only reads."""

    def __str__(self) -> str:
        return f"{self.name}:{self.path or '.'}:{self.nth}"


@dataclass(frozen=True, slots=True)
class Faulted:
    """How a child ended that a fault was aimed at, and what strace saw of it."""

    outcome: Outcome
    log: str

    @property
    def fired(self) -> bool:
        """Whether the fault really happened, by strace's own word."""
        return "(INJECTED)" in self.log or "+++ killed by SIGKILL +++" in self.log or "stopped by SIGSTOP" in self.log


def trace(child: Child, watched: Path, calls: str = CHANGING) -> list[Call]:
    """Let a waiting child do its work and list its system calls on anything in the folder *watched*."""
    log = _strace(child, ["-y", "-e", f"trace={calls}"])
    child.signal(signal.SIGCONT)
    child.wait().require_success()
    seen: Counter[tuple[str, str]] = Counter()
    threads: dict[tuple[str, str], str] = {}
    found: list[Call] = []
    for match in filter(None, map(CALL.match, log.read().splitlines())):
        thread, name, arguments = match.groups()
        named = DESCRIPTOR.match(arguments) or QUOTED.search(arguments)
        if named is None or not Path(named[1]).is_relative_to(watched):
            continue
        path = str(Path(named[1]).relative_to(watched))
        assert threads.setdefault((name, path), thread) == thread, f"two threads call {name} on {path}: cannot aim"
        seen[name, path] += 1
        creates = name != "openat" or "O_CREAT" in arguments
        found.append(Call(name, path, seen[name, path], creates))
    return found


def strike(child: Child, watched: Path, call: Call, fault: str) -> Faulted:
    """Let a waiting child do its work, with *fault* at *call*: ``signal=SIGKILL``, ``error=ENOSPC``, …."""
    log = aim(child, watched, call, fault)
    child.signal(signal.SIGCONT)
    outcome = child.wait()
    return Faulted(outcome, log.read())


def aim(child: Child, watched: Path, call: Call, fault: str) -> "TraceLog":
    """Prepare *fault* without letting the child go on yet."""
    rule = f"inject={call.name}:{fault}:when={call.nth}"
    return _strace(child, ["-P", str(watched / call.path), "-e", f"trace={call.name}", "-e", rule])


@dataclass(slots=True)
class TraceLog:
    """What a strace writes, complete when its child has ended."""

    process: subprocess.Popen[bytes]
    path: Path

    def await_text(self, text: str, *, times: int, timeout_s: float = 30) -> None:
        """Wait until strace has seen *text* so often."""
        deadline_s = time.monotonic() + timeout_s
        while (seen := self.path.read_text(errors="replace")).count(text) < times:
            assert time.monotonic() < deadline_s, f"no {text!r} in {seen}"
            time.sleep(0.001)

    def read(self) -> str:
        """Wait for the end of the trace and read it."""
        self.process.communicate(timeout=30)
        return self.path.read_text(errors="replace")


def _strace(child: Child, options: list[str]) -> TraceLog:
    path = child.outcome_path.with_suffix(".strace")
    child.await_state("T")
    command = ["strace", "-f", "-s", "0", "-o", str(path), *options, "-p", str(child.pid)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    line = process.stderr.readline()
    while b" attached" not in line:
        assert line, f"strace did not attach to {child.pid}"
        line = process.stderr.readline()
    return TraceLog(process, path)
