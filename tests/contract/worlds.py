"""A small real source system per driver kind, and a small real target per sink kind, for the conformance suites."""

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.ports import DeadLetterSink, Driver, DriverContext
from rootsys_dagster.core.registry import DRIVERS, SINKS


class DriverWorld(ABC):
    """A source that can grow, and that knows by itself what it holds."""

    kind: str
    source_type: str

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def config(self) -> DriverConfig:
        """What an interface file would say about this source."""

    @abstractmethod
    def grow(self) -> None:
        """Add some units."""

    @abstractmethod
    def units(self) -> list[bytes]:
        """Every unit that was ever added, in order."""

    @abstractmethod
    def vanish(self) -> None:
        """Take the source away."""

    def driver(self) -> Driver[Any]:
        """A new driver on this source."""
        return DRIVERS.get(self.kind)(self.config(), DriverContext(self.root, (self.root,), 1 << 20))


class LinesWorld(DriverWorld):
    """A growing file of lines long enough for several batches."""

    source_type = "file"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.path = root / "lines"
        self.added: list[bytes] = []

    def config(self) -> DriverConfig:
        return DriverConfig(kind=self.kind, input="lines")  # pyright: ignore[reportArgumentType]

    def grow(self) -> None:
        first = len(self.added)
        new = [json.dumps({"n": n, "fill": "x" * (n % 700)}).encode() for n in range(first, first + 700)]
        self.added += new
        with self.path.open("ab") as stream:
            stream.write(b"\n".join(new) + b"\n")

    def units(self) -> list[bytes]:
        return self.added

    def vanish(self) -> None:
        self.path.unlink()


class JsonlWorld(LinesWorld):
    kind = "jsonl"


class TextWorld(LinesWorld):
    kind = "text"


class BinaryWorld(DriverWorld):
    """A folder of files of which more and more appear."""

    kind = "binary"
    source_type = "file"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.folder = root / "scans"
        self.folder.mkdir()
        self.added: list[bytes] = []

    def config(self) -> DriverConfig:
        return DriverConfig(kind="binary", input="scans/*.bin")

    def grow(self) -> None:
        for _ in range(3):
            content = bytes([len(self.added)]) * (1 + len(self.added) * 1000)
            (self.folder / f"{len(self.added):04d}.bin").write_bytes(content)
            self.added.append(content)

    def units(self) -> list[bytes]:
        return self.added

    def vanish(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()


class SinkWorld(ABC):
    """A place that a sink writes to, read back without the sink."""

    kind: str

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def path(self) -> Path:
        """What the interface file would name."""

    @abstractmethod
    def letters(self) -> list[bytes]:
        """The payloads that are kept, in order."""

    def sink(self) -> DeadLetterSink:
        """A new sink on this place."""
        return SINKS.get(self.kind)(self.path(), "dead_letters")


class FileWorld(SinkWorld):
    kind = "file"

    def path(self) -> Path:
        return self.root / "kept" / "letters.jsonl"

    def letters(self) -> list[bytes]:
        lines = self.path().read_bytes().split(b"\n")[:-1]
        return [json.dumps(json.loads(line)["payload"]).encode() for line in lines]


class SqliteWorld(SinkWorld):
    kind = "sqlite"

    def path(self) -> Path:
        return self.root / "kept" / "letters.db"

    def letters(self) -> list[bytes]:
        with closing(sqlite3.connect(self.path())) as connection:
            rows = connection.execute("SELECT payload_json FROM dead_letters ORDER BY id").fetchall()
        return [json.dumps(json.loads(payload)).encode() for (payload,) in rows]


DRIVER_WORLDS: dict[str, Callable[[Path], DriverWorld]] = {
    world.kind: world for world in (JsonlWorld, TextWorld, BinaryWorld)
}
SINK_WORLDS: dict[str, Callable[[Path], SinkWorld]] = {world.kind: world for world in (FileWorld, SqliteWorld)}
