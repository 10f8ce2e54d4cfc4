"""A small real source system per driver kind, and a small real target per sink kind, for the conformance suites."""

import json
import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import orjson

from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.incremental import Incremental
from rootsys_dagster.core.ports import DeadLetterSink, Driver, DriverContext, SinkPlace
from rootsys_dagster.core.registry import DRIVERS, SINKS
from rootsys_dagster.core.stream_config import KafkaServer
from tests.databases import MariaDb, Postgres, shared
from tests.http_server import Answer, Asked, HttpServer, json_answer
from tests.services import free_port
from tests.topics import shared_kafka


class DriverWorld(ABC):
    """A source that can grow, and that knows by itself what it holds."""

    kind: str
    source_type: str
    has_head = True
    """Whether there is a cheaper way than reading to see that something is new."""

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
        context = DriverContext(self.root, (self.root,), 1 << 20, incremental=self.incremental())
        return DRIVERS.get(self.kind)(self.config(), context)

    def incremental(self) -> Incremental | None:
        """How it is read on, where the interface file has to say so."""
        return None

    def close(self) -> None:  # noqa: B027  (most run on nothing)
        """End what the source runs on."""


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


class StreamWorld(DriverWorld):
    """A topic of one partition on a real Kafka, which the tests share."""

    kind = "stream"
    source_type = "stream/kafka"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.kafka = shared_kafka()
        self.topic = self.kafka.topic()
        self.added: list[bytes] = []

    def config(self) -> DriverConfig:
        return self.kafka.driver(self.topic)

    def grow(self) -> None:
        first = len(self.added)
        new = [json.dumps({"n": n, "fill": "x" * (n % 700)}).encode() for n in range(first, first + 700)]
        self.added += new
        self.kafka.send(self.topic, new)

    def units(self) -> list[bytes]:
        return self.added

    def vanish(self) -> None:
        self.kafka.delete(self.topic)


class DatabaseWorld(DriverWorld):
    """A growing table, read on behind its last row."""

    kind = "db"
    database: Literal["sqlite", "postgres", "mysql"]
    statement = "INSERT INTO {table} VALUES (%s, %s, %s)"
    instant = "2026-01-01T00:00:{:02d}Z"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.added: list[bytes] = []
        self.table = f"t{uuid.uuid4().hex}"
        self.source_type = f"db/{self.database}"
        with closing(self.connect()) as connection:
            connection.cursor().execute(
                f"CREATE TABLE {self.table} (n integer PRIMARY KEY, at {self.time_type}, fill varchar(1000))"
            )

    time_type = "timestamp"

    @abstractmethod
    def connect(self) -> Any:
        """A connection that commits every statement."""

    @property
    @abstractmethod
    def connection(self) -> str:
        """What the interface file names."""

    def config(self) -> DriverConfig:
        return DriverConfig(kind="db", db=DbConfig(kind=self.database, connection=self.connection, table=self.table))

    def incremental(self) -> Incremental:
        return Incremental(field="at", tie_breaker=("n",))

    def grow(self) -> None:
        first = len(self.added)
        rows = [(n, self.instant.format(n // 100), "x" * (n % 700)) for n in range(first, first + 700)]
        with closing(self.connect()) as connection:
            connection.cursor().executemany(self.statement.format(table=self.table), rows)
        self.added += [orjson.dumps({"n": n, "at": at, "fill": fill}) for n, at, fill in rows]

    def units(self) -> list[bytes]:
        return self.added

    def vanish(self) -> None:
        with closing(self.connect()) as connection:
            connection.cursor().execute(f"DROP TABLE {self.table}")


class SqliteTable(DatabaseWorld):
    database = "sqlite"
    statement = "INSERT INTO {table} VALUES (?, ?, ?)"

    @property
    def connection(self) -> str:
        return "source.db"

    def connect(self) -> Any:
        return sqlite3.connect(self.root / self.connection, isolation_level=None)


class PostgresTable(DatabaseWorld):
    database = "postgres"
    time_type = "timestamptz"
    instant = "2026-01-01T00:00:{:02d}+00:00"

    @property
    def connection(self) -> str:
        return shared(Postgres).url

    def connect(self) -> Any:
        return shared(Postgres).connect()


class MariaDbTable(DatabaseWorld):
    database = "mysql"
    statement = "INSERT INTO {table} VALUES (%s, TRIM('Z' FROM %s), %s)"
    time_type = "datetime"

    @property
    def connection(self) -> str:
        return shared(MariaDb).url

    def connect(self) -> Any:
        return shared(MariaDb).connect()


class RestWorld(DriverWorld):
    """An API of rows that can be asked for those from a number on, page by page."""

    kind = "rest"
    source_type = "rest"
    has_head = False
    page_size = 200

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.added: list[bytes] = []
        self.server = HttpServer(self.play)

    def play(self, asked: Asked) -> Answer:
        first = max(int(asked.query.get("from", 0)), int(asked.query.get("after", -1)) + 1)
        rows = self.added[first : first + self.page_size]
        last = first + len(rows) - 1
        following = b"%d" % last if last + 1 < len(self.added) else b"null"
        return json_answer(b'{"rows": [%b], "next": %b}' % (b", ".join(rows), following))

    def config(self) -> DriverConfig:
        rest = {
            "url": f"{self.server.url}/rows",
            "items_pointer": "/rows",
            "pagination": {"kind": "cursor", "cursor": {"cursor_param": "after", "cursor_path": "/next"}},
            "inject": [{"param": "from", "from": "watermark"}],
            "retry": {"max_attempts": 1},
        }
        return DriverConfig.model_validate_json(json.dumps({"kind": "rest", "rest": rest}))

    def incremental(self) -> Incremental:
        return Incremental(field="/n")

    def grow(self) -> None:
        first = len(self.added)
        self.added += [json.dumps({"n": n, "fill": "x" * (n % 700)}).encode() for n in range(first, first + 700)]

    def units(self) -> list[bytes]:
        return self.added

    def vanish(self) -> None:
        self.server.close()

    def close(self) -> None:
        self.server.close()


class SinkWorld(ABC):
    """A place that a sink writes to, read back without the sink."""

    kind: str

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def place(self) -> SinkPlace:
        """What the interface file would name."""

    @abstractmethod
    def letters(self) -> list[bytes]:
        """The payloads that are kept, in order."""

    @abstractmethod
    def lose(self) -> None:
        """Remove all that was written, as a person or a dead disk would."""

    @abstractmethod
    def take_away(self) -> None:
        """Nothing can be written here any more."""

    table: str
    """Of a sink that has one."""

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        """Those columns of every row of the table, in order."""
        raise NotImplementedError

    def execute(self, statement: str) -> None:
        """Change the table without the sink."""
        raise NotImplementedError

    def sink(self) -> DeadLetterSink:
        """A new sink on this place."""
        return SINKS.get(self.kind)(self.place())


class FileWorld(SinkWorld):
    kind = "file"
    ending = "jsonl"

    @property
    def path(self) -> Path:
        return self.root / "kept" / f"letters.{self.ending}"

    def place(self) -> SinkPlace:
        return SinkPlace(path=self.path, table="dead_letters")

    def letters(self) -> list[bytes]:
        lines = self.path.read_bytes().split(b"\n")[:-1]
        return [json.dumps(json.loads(line)["payload"]).encode() for line in lines]

    def lose(self) -> None:
        self.path.unlink()

    def take_away(self) -> None:
        self.path.parent.write_text("a file where the folder should be")


class SqliteWorld(FileWorld):
    kind = "sqlite"
    ending = "db"
    table = "dead_letters"

    def letters(self) -> list[bytes]:
        return [json.dumps(json.loads(payload)).encode() for (payload,) in self.rows("payload_json")]

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(f"SELECT {', '.join(columns)} FROM dead_letters ORDER BY id").fetchall()

    def execute(self, statement: str) -> None:
        self.path.parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement)


class PostgresWorld(SinkWorld):
    kind = "postgres"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.table = f"letters_{uuid.uuid4().hex}"
        self.connection = shared(Postgres).url

    def place(self) -> SinkPlace:
        return SinkPlace(connection=self.connection, table=self.table)

    def letters(self) -> list[bytes]:
        return [json.dumps(json.loads(payload)).encode() for (payload,) in self.rows("payload_json")]

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        return shared(Postgres).rows(f"SELECT {', '.join(columns)} FROM {self.table} ORDER BY id")

    def execute(self, statement: str) -> None:
        shared(Postgres).execute(statement)

    def lose(self) -> None:
        self.execute(f"DROP TABLE {self.table}")

    def take_away(self) -> None:
        self.connection = f"postgresql://app@127.0.0.1:{free_port()}/postgres"


class KafkaWorld(SinkWorld):
    kind = "kafka"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.kafka = shared_kafka()
        self.address = self.kafka.broker.address
        self.topic = self.kafka.topic()

    def place(self) -> SinkPlace:
        return SinkPlace(
            kafka=KafkaServer(brokers=(self.address,), topic=self.topic, request_timeout_ms=5000), root=self.root
        )

    def letters(self) -> list[bytes]:
        return [json.dumps(json.loads(value)["payload"]).encode() for value in self.kafka.values(self.topic)]

    def lose(self) -> None:
        self.kafka.delete(self.topic)
        self.kafka.topic(name=self.topic)

    def take_away(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"


DRIVER_WORLDS: dict[str, Callable[[Path], DriverWorld]] = {
    "jsonl": JsonlWorld,
    "text": TextWorld,
    "binary": BinaryWorld,
    "stream": StreamWorld,
    "db sqlite": SqliteTable,
    "db postgres": PostgresTable,
    "db mysql": MariaDbTable,
    "rest": RestWorld,
}
"""By the kind of the driver, and what it reads where that makes a difference."""
SINK_WORLDS: dict[str, Callable[[Path], SinkWorld]] = {
    world.kind: world for world in (FileWorld, SqliteWorld, PostgresWorld, KafkaWorld)
}
