"""A sink that is down, full or read-only: its follower fails by name, ingestion goes on, and it catches up later."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from crash.mounts import remount, tmpfs
from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.pipeline.publish import FollowerReport, publish
from tests.conftest import ProjectFolder
from tests.databases import Postgres, postgres_server

TEXT = "x" * 900
READ_ONLY = "ALTER DATABASE postgres SET default_transaction_read_only = "


class FileSystem:
    """A file or a SQLite database on a small file system of its own."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.mount = folder.parent
        self.kind = kind
        self.members: dict[str, Any] = {"kind": kind, "path": "out/kept/dead"}

    @contextmanager
    def down(self) -> Iterator[str]:
        """The folder is gone, and something else has its name."""
        away = self.folder.with_name("away")
        self.folder.parent.mkdir(exist_ok=True)
        if self.folder.exists():
            self.folder.rename(away)
        self.folder.write_text("a file where the folder should be")
        yield "File exists"
        self.folder.unlink()
        if away.exists():
            away.rename(self.folder)

    @contextmanager
    def full(self) -> Iterator[str]:
        """No block is left."""
        remount(self.mount, "size=400k")
        yield {"file": "No space left on device", "sqlite": "SQLITE_FULL"}[self.kind]
        remount(self.mount, "size=64m")

    @contextmanager
    def read_only(self) -> Iterator[str]:
        """As a file system is after an error of its disk."""
        remount(self.mount, "ro")
        # Before the first commit the folder cannot even be made.
        begun = self.folder.exists() and self.kind == "sqlite"
        yield "SQLITE_READONLY" if begun else "Read-only file system"
        remount(self.mount, "rw")

    def kept(self) -> list[bytes]:
        """The payloads, in order."""
        path = self.folder / "dead"
        if self.kind == "file":
            return [payload(line) for line in path.read_bytes().split(b"\n")[:-1]]
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT payload_json FROM dead_letters ORDER BY id").fetchall()
        return [compact(json.loads(text)) for (text,) in rows]


class Server:
    """A table of a PostgreSQL whose table space is a small file system of its own."""

    members = {"kind": "postgres", "connection": "env://LETTERS_URL"}

    def __init__(self, server: Postgres, folder: Path) -> None:
        self.server = server
        self.mount = folder
        server.execute(
            f"CREATE TABLESPACE small LOCATION '{folder}'", "ALTER DATABASE postgres SET default_tablespace = small"
        )

    @contextmanager
    def down(self) -> Iterator[str]:
        """Nothing listens."""
        self.server.stop()
        yield "no connection"
        self.server.start()

    @contextmanager
    def full(self) -> Iterator[str]:
        """No block is left for the table."""
        remount(self.mount, "size=400k")
        yield "disk full (53100)"
        remount(self.mount, "size=64m")

    @contextmanager
    def read_only(self) -> Iterator[str]:
        """As a standby is before it takes over."""
        self.server.execute(READ_ONLY + "on")
        yield "read only sql transaction (25006)"
        self.server.execute("SET default_transaction_read_only = off", READ_ONLY + "off")

    def kept(self) -> list[bytes]:
        """The payloads, in order."""
        rows = self.server.rows("SELECT payload_json FROM dead_letters ORDER BY id")
        return [compact(json.loads(text)) for (text,) in rows]


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def payload(line: bytes) -> bytes:
    return compact(json.loads(line)["payload"])


@pytest.fixture(params=["file", "sqlite", "postgres"])
def sink(
    request: pytest.FixtureRequest, project: ProjectFolder, root: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FileSystem | Server]:
    if request.param != "postgres":
        with tmpfs(project.root / "out", "size=64m"):
            yield FileSystem(project.root / "out" / "kept", request.param)
        return
    with postgres_server() as server:
        folder = server.folder / "space"
        with tmpfs(folder, "size=64m"):
            server.own(folder)
            monkeypatch.setenv("LETTERS_URL", server.url)
            yield Server(server, folder)
            server.stop()


def ingest(project: ProjectFolder, first: int, count: int) -> FollowerReport:
    """More units, each a dead letter; committed, then told to the sink."""
    lines = [{"no": n, "text": TEXT} for n in range(first, first + count)]
    project.data("mes.jsonl", lines, append=True)
    assert project.run().counts.dead_letters == count
    loaded = project.load()
    (report,) = publish(loaded.interface("mes"), loaded)
    return report


@pytest.mark.parametrize("fault", ["down", "full", "read_only"])
@pytest.mark.parametrize("had_begun", [True, False], ids=["later", "at the first commit"])
def test_a_sink_that_cannot_be_written_delays_only_itself(
    project: ProjectFolder, sink: FileSystem | Server, fault: str, had_begun: bool
) -> None:
    project.interface(required_paths=["/id"], dead_letters=sink.members)
    if had_begun:
        assert ingest(project, 0, 100).error is None
    break_it: Callable[[], AbstractContextManager[str]] = getattr(sink, fault)
    with break_it() as condition:
        for first in (100, 1100):
            report = ingest(project, first, 1000)
            assert isinstance(report.error, TransientError), report
            assert report.error.code == "SINK.UNAVAILABLE"
            assert condition in report.error.message
            assert report.seq == int(had_begun)
    report = ingest(project, 2100, 1)
    assert (report.error, report.behind) == (None, 0)
    assert sink.kept() == [payload(line) for line in project.lines("dead_letters")]
    assert len(sink.kept()) == (2101 if had_begun else 2001)
