"""Where a database is and how to sign in: a URL, or ``host=… user=…``, with references in the place of secrets."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.paths import inside_roots
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.secret_ref import secret_ref
from rootsys_dagster.secrets import Secrets, remember

WHAT: Final = "driver.db.connection"
URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://")
PAIR: Final = re.compile(r"\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s']*))(?=\s|$)")
MEMBERS: Final = {"username": "user", "dbname": "database", "db": "database", "passwd": "password", "hostaddr": "host"}
SCHEMES: Final = {"postgres": ("postgres", "postgresql"), "mysql": ("mysql", "mariadb")}
Address = dict[str, str]
"""host, port, user, password, database, and whatever else the connection names."""


def database_file(config: DbConfig, context: DriverContext) -> Path:
    """The file of a SQLite database.

    Raises:
        ConfigError: there is none, or it lies outside the folders that may be used.
    """
    name = Secrets(context.secrets_root).filled(config.connection, WHAT)
    path = context.root / name
    if context.data_roots:
        path = inside_roots(name, context.root, context.data_roots, WHAT)
    if not path.is_file():
        message = f"database {name} does not exist or is no file; relative paths start at {context.root}"
        raise ConfigError(message, code="DB.NOT_FOUND")
    return path


def server_address(config: DbConfig, context: DriverContext) -> Address:
    """Where the server of *config* is and how to sign in, every secret in its place.

    Raises:
        ConfigError: the connection cannot be read, or a secret is not there.
    """
    secrets = Secrets(context.secrets_root)
    text = config.connection
    if secret_ref(text) is not None:
        text = secrets.value(text, WHAT)
    try:
        address = from_url(text, config.kind) if URL.match(text) else from_pairs(text)
    except ValueError:
        # The text may hold a password, so it is not shown.
        message = f"{WHAT} is neither a URL such as {SCHEMES[config.kind][0]}://user:${{NAME}}@host/database nor "
        raise ConfigError(f"{message}a list such as host=… user=… dbname=…", code="DB.CONNECTION_INVALID") from None
    host = address.get("host")
    filled = {name: secrets.filled(value, f"{WHAT}: {name}", host) for name, value in address.items()}
    remember(filled.get("password", ""))
    return filled


def from_url(text: str, kind: str) -> Address:
    """The members of a URL.

    Raises:
        ValueError: it is none, or one of another database.
    """
    url = urlsplit(text)
    if url.scheme not in SCHEMES[kind]:
        raise ValueError(text)
    # The host is taken apart by hand: several of them, separated by commas, are allowed in PostgreSQL.
    place = url.netloc.rpartition("@")[2]
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?", place)
    hosts, port = (match[1].strip("[]"), match[2] or "") if match else _several(place)
    named = {
        "host": unquote(hosts),
        "port": port,
        "user": unquote(url.username or ""),
        "password": unquote(url.password or ""),
        "database": unquote(url.path.removeprefix("/")),
        **dict(parse_qsl(url.query)),
    }
    return {MEMBERS.get(name, name): value for name, value in named.items() if value}


def _several(place: str) -> tuple[str, str]:
    pairs = [one.partition(":") for one in place.split(",")]
    if not all(port.isdigit() or not port for _, _, port in pairs):
        raise ValueError(place)
    return ",".join(host for host, _, _ in pairs), ",".join(port for _, _, port in pairs)


def from_pairs(text: str) -> Address:
    """The members of ``host=… user=…``.

    Raises:
        ValueError: it is no such list.
    """
    found: Address = {}
    end = 0
    for match in PAIR.finditer(text):
        if match.start() != end:
            break
        end = match.end()
        value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        found[MEMBERS.get(match[1], match[1])] = value
    if not found or text[end:].strip():
        raise ValueError(text)
    return found
