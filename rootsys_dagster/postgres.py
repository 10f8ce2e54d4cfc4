"""PostgreSQL where we write to it: connections that do not hang, and refusals as our errors.

The texts of a server quote rows and connection strings, so none is passed on: the SQLSTATE and its name say enough.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from rootsys_dagster.core.errors import ConfigError, PermanentError, RootsysError, TransientError

SETTINGS: Final = {
    "application_name": "rootsys",
    "connect_timeout": "10",
    "tcp_user_timeout": "60000",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
LOCK_TIMEOUT_MS: Final = 10_000
# What the server says while signing in has no SQLSTATE, so its words have to do; others count as a lost connection.
SIGN_IN_WORDS: Final = (
    "authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "does not exist",
    "not permitted",
)
TLS_WORDS: Final = ("certificate", "SSL", "root.crt")
ROWS_AT_ONCE: Final = 500
# The longest prefix decides; what is not here may pass, such as a full disk or a server that only reads.
OF_CONFIGURATION: Final = ("0A", "28", "3D", "3F", "42", "55000")
OF_VALUES: Final = ("21", "22", "23", "54")


def parse(text: str, what: str) -> dict[str, str]:
    """The members of a URL or of ``host=… user=…``, as libpq calls them; references in them are left as they are.

    Raises:
        ConfigError: it is neither. The text may hold a password, so it is not shown.
    """
    try:
        return {name: str(value) for name, value in conninfo_to_dict(text).items() if value is not None}
    except psycopg.ProgrammingError:
        message = f"{what} is neither a URL such as postgresql://user:${{NAME}}@host/database nor a list host=… user=…"
        raise ConfigError(message, code="POSTGRES.CONNECTION_INVALID") from None


def place_of(members: Mapping[str, str]) -> str:
    """Which database is meant, for messages and to recognise it."""
    host = members.get("host") or members.get("hostaddr") or "localhost"
    return f"{host}:{members.get('port') or 5432}/{members.get('dbname') or members.get('user') or ''}"


def connect(members: Mapping[str, str]) -> psycopg.Connection[Any]:
    """A connection on which each statement is its own transaction, with ``$1`` for values; durable whatever its role.

    Raises:
        psycopg.Error: see :func:`refusal`.
    """
    settings: dict[str, Any] = {**SETTINGS, **members}
    connection = psycopg.connect(**settings, autocommit=True, cursor_factory=psycopg.RawCursor)
    try:
        if connection.info.parameter_status("server_encoding") != "UTF8":
            raise psycopg.errors.CharacterNotInRepertoire
        connection.execute("SELECT set_config('lock_timeout', $1, false)", [str(LOCK_TIMEOUT_MS)])
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    except BaseException:
        connection.close()
        raise
    return connection


def numbered(statement: str) -> str:
    """A statement of SQLite with ``$1`` for ``?1``, and for the first ``?``."""
    count = itertools.count(1)
    return re.sub(r"\?(\d*)", lambda match: f"${match[1] or next(count)}", statement)


def storable(value: Any) -> Any:
    """*value* as a text of PostgreSQL can hold it: every character but one."""
    return value.replace("\0", "\\u0000") if isinstance(value, str) and "\0" in value else value


def execute_many(connection: psycopg.Connection[Any], statement: bytes, rows: Iterable[Sequence[Any]]) -> int:
    """Run *statement* for each of *rows*; returns how many rows of the table it has changed.

    Some at a time: what is sent in one go is kept until the server has answered.
    """
    remaining, changed = iter(rows), 0
    with connection.cursor() as cursor:
        while some := [tuple(map(storable, row)) for row in itertools.islice(remaining, ROWS_AT_ONCE)]:
            cursor.executemany(statement, some)
            changed += cursor.rowcount
    return changed


def condition_name(name: str) -> str:
    """``UndefinedTable`` as ``undefined table``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def refusal(error: psycopg.Error, doing: str, then: str, area: str) -> RootsysError:
    """What *error* means.

    Args:
        doing: what could not be done, with the place. then: what that means for the data.
        area: of the code, as in ``SINK.UNAVAILABLE``.
    """
    state = error.sqlstate
    detail = f"{condition_name(type(error).__name__)} ({state})" if state else "no connection"
    if isinstance(error, psycopg.errors.CharacterNotInRepertoire):
        return ConfigError(f"{doing}: the encoding of the database must be UTF8; {then}", code=f"{area}.REFUSED")
    if state is None and any(word in str(error) for word in SIGN_IN_WORDS + TLS_WORDS):
        message = f"{doing}: the server let us not in; check user, password, database and TLS of the connection; {then}"
        return ConfigError(message, code=f"{area}.REFUSED")
    if state is not None and state.startswith(OF_CONFIGURATION):
        return ConfigError(f"{doing}: {detail}; check names and rights; {then}", code=f"{area}.REFUSED")
    if state is not None and state.startswith(OF_VALUES):
        return PermanentError(f"{doing}: {detail}; {then}", code=f"{area}.REFUSED")
    return TransientError(f"{doing}: {detail}; {then}", code=f"{area}.UNAVAILABLE")
