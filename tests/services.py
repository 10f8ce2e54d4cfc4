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


class KafkaBroker:
    """One Apache Kafka node (broker and controller) on ports that stay the same when it is started again."""

    def __init__(self, folder: Path, properties: Mapping[str, str]) -> None:
        jars = REPOSITORY / ".servers" / "kafka"
        if not any(jars.glob("kafka_*.jar")):
            raise FileNotFoundError("Apache Kafka is not in .servers: make servers")
        if shutil.which("java") is None:
            raise FileNotFoundError("Java is not installed: apt-get install default-jre-headless")
        self.folder = folder
        self._java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
        self.port, controller = free_port(), free_port()
        while controller == self.port:
            controller = free_port()
        self.ports = {"PLAINTEXT": self.port}
        self._settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(folder / "data"),
            "num.partitions": "1",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A broker that was killed may come back when its session is over.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "300",
            # A test that deletes records or compacts waits for these.
            "log.retention.check.interval.ms": "500",
            "log.cleaner.backoff.ms": "200",
            **properties,
        }
        listeners = [f"PLAINTEXT://127.0.0.1:{self.port}"]
        for protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
            if f"listener.name.{protocol.lower()}.sasl.enabled.mechanisms" in properties:
                self.ports[protocol] = free_port()
                listeners.append(f"{protocol}://127.0.0.1:{self.ports[protocol]}")
        self._settings["advertised.listeners"] = ",".join(listeners)
        self._settings["listeners"] = ",".join([*listeners, f"CONTROLLER://127.0.0.1:{controller}"])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``host:port`` without security."""
        return f"127.0.0.1:{self.port}"

    def format(self, *options: str) -> None:
        """Make the empty log folder; *options* are those of StorageTool, such as SCRAM users."""
        lines = "".join(f"{name}={value}\n" for name, value in self._settings.items())
        (self.folder / "server.properties").write_text(lines)
        command = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", "server.properties"]
        _run([*self._java, *command, *options], self.folder)

    def start(self) -> None:
        """Start it on what is in its log folder, and wait until it answers."""
        command = [*self._java, "kafka.Kafka", "server.properties"]
        with (self.folder / "kafka.log").open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        wait_for("Kafka", self._answers)

    def _answers(self) -> bool | None:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "kafka.log").read_text()[-4000:]
        started = b"Kafka Server started" in (self.folder / "kafka.log").read_bytes()[self._begin :]
        return started or None

    _begin = 0

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End it, SIGKILL as a crash would."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, sign)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(20)
        self._begin = (self.folder / "kafka.log").stat().st_size

    @property
    def pid(self) -> int:
        """Of the Java process."""
        assert self._process is not None
        return self._process.pid


@contextmanager
def kafka(*format_options: str, **properties: str) -> Iterator[KafkaBroker]:
    """An Apache Kafka of its own for the length of the block; ``__`` in the name of a property stands for a dot."""
    folder = Path(tempfile.mkdtemp(prefix="rootsys-kafka-"))
    broker = KafkaBroker(folder, {name.replace("__", "."): value for name, value in properties.items()})
    try:
        broker.format(*format_options)
        broker.start()
        yield broker
    finally:
        broker.stop()
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
    with running(web, cwd=home, env=environment, log=home / "webserver.log") as process:

        def answers() -> bool | None:
            assert process.poll() is None, (home / "webserver.log").read_text()
            try:
                return bool(server.ask("{ version }"))
            except OSError:
                return None

        wait_for("the webserver", answers)
        # Only now: two processes that make the tables of an empty storage get into each other's way.
        with running(daemon, cwd=home, env=environment, log=home / "daemon.log"):
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
