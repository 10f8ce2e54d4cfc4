"""Real servers for tests: each on a free port of this machine, stopped again by process id."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what: str, probe: Callable[[], T | None], timeout_s: float = 60.0) -> T:
    """Ask *probe* again and again until it answers; the wait is bounded and says what it waited for."""
    deadline = time.monotonic() + timeout_s
    while (answer := probe()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(0.1)
    return answer


@contextmanager
def running(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server for the length of the block, in a process group of its own that ends with it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        for sign, wait_s in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            if process.poll() is None:
                os.killpg(process.pid, sign)
                try:
                    process.wait(wait_s)
                except subprocess.TimeoutExpired:
                    continue


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL of its own; yields the URL of a database. The server refuses root, so another user runs it then."""
    tools = _postgres_tools()
    # Not below pytest's folders: those are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="rootsys-postgres-"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    data, port = str(folder / "data"), free_port()
    options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off -c wal_level=logical"
    start = ["-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start"]
    try:
        _run([*as_user, str(tools / "initdb"), "-D", data, "-U", "app", "-A", "trust", "-E", "UTF8"], folder)
        _run([*as_user, str(tools / "pg_ctl"), *start], folder)
        yield f"postgresql://app@127.0.0.1:{port}/postgres"
    finally:
        stop = [*as_user, str(tools / "pg_ctl"), "-D", data, "-m", "immediate", "stop"]
        subprocess.run(stop, cwd=folder, capture_output=True, check=False)
        shutil.rmtree(folder)


def dagster_env(home: Path, **more: str) -> dict[str, str]:
    """The environment of a Dagster command for the project in *home*: nothing of ours and of Dagster's leaks in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER_", "ROOTSYS_"))}
    return kept | {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes", "PYTHONUNBUFFERED": "1"} | more


def dagster_home(home: Path) -> None:
    """Make the project in *home* a Dagster home, with the settings that the product ships and every event shown."""
    shutil.copy(REPOSITORY / "workspace.yaml", home)
    shown = (REPOSITORY / "dagster.yaml").read_text().replace("python_log_level: INFO", "python_log_level: DEBUG")
    (home / "dagster.yaml").write_text(shown)


def dagster(home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """One ``dagster`` command in the project in *home*; its result, whatever that is."""
    return subprocess.run(
        [sys.executable, "-m", "dagster", *arguments],
        cwd=home,
        env=dagster_env(home, **env),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Webserver:
    """Dagster's UI server, asked as the browser asks it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data that a GraphQL query returns."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]


@contextmanager
def dagster_servers(home: Path, **env: str) -> Iterator[Webserver]:
    """A real webserver and a real daemon for the project in *home*."""
    port = free_port()
    arguments = ["-w", str(home / "workspace.yaml")]
    web = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *arguments]
    daemon = [sys.executable, "-m", "dagster._daemon", "run", *arguments]
    environment = dagster_env(home, **env)
    server = Webserver(f"http://127.0.0.1:{port}")
    with (
        running(web, cwd=home, env=environment, log=home / "webserver.log") as process,
        running(daemon, cwd=home, env=environment, log=home / "daemon.log"),
    ):

        def answers() -> bool | None:
            assert process.poll() is None, (home / "webserver.log").read_text()
            try:
                return bool(server.ask("{ version }"))
            except OSError:
                return None

        wait_for("the webserver", answers)
        yield server


def _postgres_tools() -> Path:
    """The newest PostgreSQL that Debian's packages put here, else the one on the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = shutil.which("initdb")
    if not folders and found is None:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    return folders[-1] if folders else Path(str(found)).resolve().parent


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
