"""Real database servers for tests: PostgreSQL in each major version that is here, MariaDB, and how to break them."""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg
import pymysql
import pytest

from tests.services import REPOSITORY, free_port, wait_for

DEBIAN = Path("/usr/lib/postgresql")
FETCHED = REPOSITORY / ".servers" / "postgres"


S = TypeVar("S", bound="Server")


class Server:
    """One server with its data in a scratch folder."""

    kind: str
    url: str
    """Of a database that tests may fill; without a password."""

    def execute(self, *statements: str) -> None:
        """Run statements, each in a transaction of its own."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)

    def connect(self) -> Any:
        """A connection of a client library, which commits every statement."""
        raise NotImplementedError

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(query)
            return list(cursor.fetchall())


class Postgres(Server):
    """A cluster of its own. The server refuses root, so another user runs it then."""

    kind = "postgres"

    def __init__(self, tools: Path, *options: str, encoding: str = "UTF8") -> None:
        # Not below pytest's folders: those are closed to other users.
        self.folder = Path(tempfile.mkdtemp(prefix="rootsys-postgres-"))
        self.port = free_port()
        self.options = options
        self.url = f"postgresql://app@127.0.0.1:{self.port}/postgres"
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            self._as_user = ["runuser", "-u", "postgres", "--"]
            shutil.chown(self.folder, "postgres")
        self.tools = tools
        if self._as_user and tools.is_relative_to(FETCHED):
            # The folders above this repository may be closed to other users.
            self.tools = Path(shutil.copytree(tools.parent, self.folder / "program")) / "bin"
        self._run("initdb", "-D", self._data, "-U", "app", "-A", "trust", "-E", encoding, "--locale=C", "--no-sync")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def give(self, name: str, data: bytes) -> Path:
        """A file that the server may read and nobody else."""
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(0o600)
        self.own(path)
        return path

    def own(self, path: Path) -> None:
        """Give a path to whoever runs the server."""
        if self._as_user:
            shutil.chown(path, "postgres")

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = " ".join([f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off", *self.options])
        self._run("pg_ctl", "-D", self._data, "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop as asked; immediate is what a crash looks like."""
        command = [*self._as_user, str(self.tools / "pg_ctl"), "-D", self._data, "-m", mode, "stop"]
        subprocess.run(command, cwd=self.folder, capture_output=True, check=False)

    def connect(self) -> Any:
        return psycopg.connect(self.url, autocommit=True)

    def remove(self) -> None:
        """Stop, and forget everything."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, tool: str, *arguments: str) -> None:
        run([*self._as_user, str(self.tools / tool), *arguments], self.folder)


class MariaDb(Server):
    """A data folder of its own with one user without password."""

    kind = "mysql"

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rootsys-mariadb-"))
        self.port = free_port()
        self.options = options
        self.url = f"mysql://app@127.0.0.1:{self.port}/ops"
        self._process: subprocess.Popen[bytes] | None = None
        self.user = "nobody" if os.geteuid() == 0 else ""
        if self.user:
            shutil.chown(self.folder, self.user)
        program = shutil.which("mariadb-install-db")
        assert program is not None
        as_user = [f"--user={self.user}"] if self.user else []
        run([program, "--no-defaults", f"--datadir={self.folder}/data", "--auth-root-authentication-method=normal",
             "--skip-test-db", *as_user], self.folder)  # fmt: skip
        self.start()
        with closing(pymysql.connect(host="127.0.0.1", port=self.port, user="root")) as connection:
            cursor = connection.cursor()
            for statement in (
                "CREATE DATABASE ops CHARACTER SET utf8mb4",
                "CREATE USER app@'%' IDENTIFIED BY ''",
                "CREATE USER app@localhost IDENTIFIED BY ''",
                "GRANT ALL ON *.* TO app@'%'",
                "GRANT ALL ON *.* TO app@localhost",
            ):
                cursor.execute(statement)

    def start(self) -> None:
        """Start, and wait until it answers."""
        program = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None
        command = [program, "--no-defaults", f"--datadir={self.folder}/data", f"--port={self.port}",
                   "--bind-address=127.0.0.1", f"--socket={self.folder}/socket", "--skip-log-bin",
                   "--innodb-flush-log-at-trx-commit=0", f"--pid-file={self.folder}/pid", *self.options]  # fmt: skip
        if self.user:
            command.append(f"--user={self.user}")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

        def answers() -> bool | None:
            try:
                pymysql.connect(host="127.0.0.1", port=self.port, user="root").close()
            except pymysql.Error as error:
                return True if error.args[0] == 1045 else None
            return True

        wait_for("MariaDB", answers)

    def stop(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """End the process by a signal."""
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(30)
            self._process = None

    def connect(self) -> Any:
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="app", database=urlsplit(self.url).path[1:], autocommit=True
        )

    def remove(self) -> None:
        """Stop, and forget everything."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def postgres_tools() -> dict[str, Path]:
    """The programs of each major version of PostgreSQL that is here."""
    folders = [*FETCHED.glob("*/bin"), *DEBIAN.glob("*/bin")]
    return {folder.parent.name: folder for folder in folders if (folder / "initdb").exists()}


_shared: dict[type[Server], Any] = {}


def shared(kind: type[S]) -> S:
    """One server for all tests that fill tables of their own, started by the first of them."""
    if kind not in _shared:
        context: Any = postgres_server() if kind is Postgres else mariadb_server()
        _shared[kind] = context.__enter__()
        atexit.register(context.__exit__, None, None, None)
    return _shared[kind]


def require(found: object, what: str) -> None:
    """Skip without a server; where all of them have to be there, fail."""
    if not found:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{what} is missing; .ci/run installs it")
        pytest.skip(f"{what} is not installed")


@contextmanager
def postgres_server(*options: str, version: str | None = None, encoding: str = "UTF8") -> Iterator[Postgres]:
    """A running PostgreSQL, the newest of Debian's unless a version is named."""
    tools = postgres_tools()
    require(version in tools if version else tools, f"PostgreSQL {version or ''}".strip())
    server = Postgres(tools[version or min(tools)], *options, encoding=encoding)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def mariadb_server(*options: str) -> Iterator[MariaDb]:
    """A running MariaDB."""
    require(shutil.which("mariadb-install-db"), "MariaDB")
    server = MariaDb(*options)
    try:
        yield server
    finally:
        server.remove()


def run(command: Sequence[str], folder: Path) -> None:
    """One command that has to succeed."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
