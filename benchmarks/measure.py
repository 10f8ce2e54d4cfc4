"""Whole processes in turn, A B C A B C …, with wall seconds, CPU seconds and peak memory as the kernel counts them."""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

RUNS = 5


@dataclass(frozen=True, slots=True)
class Case:
    """One command; ``prepare`` runs before each run and is not counted."""

    name: str
    command: Sequence[str]
    prepare: Callable[[], None] = lambda: None
    environment: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. Peak memory is that of the largest process of the run."""

    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Result:
    """All runs of one case; ratios are taken run by run against the base case."""

    name: str
    samples: list[Sample]
    wall_ratio: float

    @property
    def wall_s(self) -> float:
        """Median wall seconds."""
        return statistics.median(sample.wall_s for sample in self.samples)

    @property
    def cpu_s(self) -> float:
        """Median CPU seconds, user and system, of the process and what it waited for."""
        return statistics.median(sample.cpu_s for sample in self.samples)

    @property
    def peak_mb(self) -> float:
        """The highest peak of all runs in MB."""
        return max(sample.peak_mb for sample in self.samples)


def run_once(case: Case) -> Sample:
    """Run *case* to its end.

    Raises:
        SystemExit: the command failed; its output is shown.
    """
    case.prepare()
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            case.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | case.environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{case.name} failed with {process.returncode}:\n{output.read()[-2000:].decode(errors='replace')}")
    return Sample(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def interleave(cases: Sequence[Case], runs: int = RUNS) -> list[Result]:
    """Run all cases in turn, *runs* times after one warm-up round; the first case is the base of the ratios."""
    samples: dict[str, list[Sample]] = {case.name: [] for case in cases}
    for number in range(runs + 1):
        for case in cases:
            sample = run_once(case)
            if number:
                samples[case.name].append(sample)
    base = samples[cases[0].name]
    return [
        Result(
            name, found, statistics.median(one.wall_s / other.wall_s for one, other in zip(found, base, strict=True))
        )
        for name, found in samples.items()
    ]


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table."""
    lines = ["| case | wall s | CPU s | peak MB | wall ratio |", "|---|---|---|---|---|"]
    lines += [
        f"| {result.name} | {result.wall_s:.2f} | {result.cpu_s:.2f} | {result.peak_mb:.0f} | {result.wall_ratio:.2f} |"
        for result in results
    ]
    return "\n".join(lines)


def machine() -> str:
    """Processor, memory, kernel, Python and commit, in one line."""
    names = (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
    memory_kb = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return (
        f"{os.cpu_count()} × {next(names, 'unknown processor')}, {memory_kb / 1e6:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, commit {commit.stdout.strip() or 'unknown'}, {time.strftime('%Y-%m-%d')}"
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder below ``bench-data/`` that goes away again."""
    root = Path("bench-data")
    root.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=root.resolve()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
