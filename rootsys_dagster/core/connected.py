"""An interface with what its connection says put in: that decides where and as whom, the file says the rest."""

from typing import Final, TypeVar
from urllib.parse import urlsplit

from rootsys_dagster.core.config import Config, Findings
from rootsys_dagster.core.connection_config import CONNECTION_NAME, DB_KINDS, Connection
from rootsys_dagster.core.connections import Connections
from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.errors import InvalidFileError, Problem
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.rest_config import RestConfig

C = TypeVar("C", bound=Config)
DB_OF_CONNECTION: Final = ("connection", "postgres_tls_mode", "ca_file")
REST_OF_CONNECTION: Final = ("auth", "ca_file", "proxy")


def connected(interface: Interface, connections: Connections, path: str) -> tuple[Interface, list[Problem]]:
    """*interface* with its driver complete, and what should not be left so in it.

    Args:
        path: for messages.
    Raises:
        InvalidFileError: it names what it cannot use, or says again what its connection says.
    """
    found = Findings()
    driver = interface.driver
    if driver.connection is not None and driver.kind in ("rest", "db"):
        wanted = ("rest",) if driver.kind == "rest" else DB_KINDS
        connections.check_use(driver.connection, wanted, "/driver/connection", found)
        if not found.problems:
            connection = connections.get(driver.connection)
            if driver.db is not None:
                driver = driver.model_copy(update={"db": db_at(connection, driver.db, found)})
            elif driver.rest is not None:
                driver = driver.model_copy(update={"rest": rest_at(connection, driver.rest, found)})
            if not found.problems:
                driver.check_block(driver.db or driver.rest, "/driver", found)
    check_watermarks(interface, connections, found)
    if found.problems:
        raise InvalidFileError(path, found.problems)
    return interface.model_copy(update={"driver": driver}), found.warnings


def names_connections(interface: Interface) -> bool:
    """Whether the file may name entries of connections.json."""
    return interface.driver.connection is not None or bool(interface.watermarks)


def db_at(connection: Connection, db: DbConfig, found: Findings) -> DbConfig:
    """What *db* reads, in the database of *connection*."""
    base = connection.db
    assert base is not None
    refuse_repeats(db, DB_OF_CONNECTION, "/driver/db", connection, found)
    if "kind" in db.model_fields_set and db.kind != base.kind:
        message = f"connection {connection.name!r} is of kind {base.kind}; remove it here"
        found.add("CONNECTION_KIND_WRONG", "/driver/db/kind", message)
    return merged(base, db, leave_out={"kind", *DB_OF_CONNECTION})


def rest_at(connection: Connection, rest: RestConfig, found: Findings) -> RestConfig:
    """The requests of *rest*, made to the service of *connection*."""
    assert connection.rest is not None
    base = connection.rest.config()
    refuse_repeats(rest, REST_OF_CONNECTION, "/driver/rest", connection, found)
    if leaves_service(rest.url):
        message = f'must be a path below {connection.place}, the URL of {connection.name!r}, such as "orders"'
        found.add("CONNECTION_MEMBER_CONFLICT", "/driver/rest/url", message)
    together = merged(base, rest, leave_out={"url", *REST_OF_CONNECTION})
    return together.model_copy(
        update={
            "url": url_below(base.url, rest.url),
            "headers": {**base.headers, **rest.headers},
            "hosts": (*base.hosts, *rest.hosts),
        }
    )


def url_below(base: str, path: str) -> str:
    """*path* below the URL *base*; nothing in it leads to another host, and an empty one is *base* itself."""
    return f"{base.rstrip('/')}/{path.lstrip('/')}" if path and not path.startswith("?") else base + path


def leaves_service(path: str) -> bool:
    """Whether *path* could lead to anything but what lies below the URL of a connection."""
    parts = urlsplit(path)
    return bool(parts.scheme or parts.netloc) or ".." in parts.path.split("/")


def merged(base: C, own: C, leave_out: set[str]) -> C:
    """*base* with what *own* says besides."""
    said = own.model_fields_set - leave_out
    members = {name: getattr(base, name) for name in base.model_fields_set} | {
        name: getattr(own, name) for name in said
    }
    return type(own).model_construct(_fields_set={*members}, **members)


def refuse_repeats(own: Config, members: tuple[str, ...], at: str, connection: Connection, found: Findings) -> None:
    """Report what only the connection may say: where, as whom, how safely."""
    for name in members:
        if name in own.model_fields_set and getattr(own, name) is not None:
            message = f"connection {connection.name!r} says that; remove it here"
            found.add("CONNECTION_MEMBER_CONFLICT", f"{at}/{name}", message)


def check_watermarks(interface: Interface, connections: Connections, found: Findings) -> None:
    """Report watermarks that are asked for at a connection that is none."""
    kind = interface.driver.db.kind if interface.driver.db is not None else "sqlite"
    for index, watermark in enumerate(interface.watermarks):
        name = watermark.connection
        if name is None or not CONNECTION_NAME.fullmatch(name):
            continue
        # For SQLite, a bare word may be a file as well.
        if name in connections.by_name or interface.driver.connection is not None or kind != "sqlite":
            connections.check_use(name, DB_KINDS, f"/watermarks/{index}/connection", found)
