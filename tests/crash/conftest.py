"""What the crash tests share: a worker to kill, a source to read, and no silent skip."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from crash.pool import Pool
from crash.source import Source


def unavailable(what: str) -> NoReturn:
    """Skip, or fail where a skip would let a release pass untested."""
    message = f"this test needs {what}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROOTSYS_PROJECT", "ROOTSYS_STATE_ROOT", "ROOTSYS_DATA_ROOTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def started_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """A worker with everything imported."""
    with Pool(tmp_path_factory.mktemp("worker")) as started:
        yield started


@pytest.fixture
def pool(started_pool: Pool) -> Iterator[Pool]:
    """The worker, without children."""
    yield started_pool
    started_pool.kill_all()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A project with an empty input."""
    return Source(tmp_path / "project")


@pytest.fixture
def strace() -> None:
    """Needs strace, and the right to trace."""
    if shutil.which("strace") is None:
        unavailable("strace (apt-get install strace)")
    if Path("/proc/sys/kernel/yama/ptrace_scope").exists() and os.geteuid() != 0:
        unavailable("root, to attach strace to a process")


@pytest.fixture
def root() -> None:
    """Needs root, to mount."""
    if os.geteuid() != 0:
        unavailable("root, to mount file systems")
