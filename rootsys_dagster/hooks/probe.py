"""Whether a named connection answers: ``SELECT 1``, an HTTP request to its URL, ``NOOP`` to a mail server."""

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, replace

from rootsys_dagster.core.connection_config import Connection
from rootsys_dagster.core.errors import PermanentError, RootsysError, TransientError
from rootsys_dagster.core.policy import Retry
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.drivers.db.driver import open_session
from rootsys_dagster.hooks.mail import mail_session
from rootsys_dagster.hooks.service import Surroundings, service

ANSWERS = ("REST.NOT_FOUND", "REST.BAD_REQUEST", "REST.REDIRECT", "REST.STATUS", "REST.BODY_TOO_LARGE")
"""The service is there and has let us in, whatever its first page is."""
ONCE = Retry(max_attempts=1)


@dataclass(frozen=True, slots=True)
class Probed:
    """One connection that was asked; without an error it answers."""

    name: str
    kind: str
    place: str
    detail: str
    elapsed_ms: int
    error: RootsysError | None = None


def probe_all(connections: Iterable[Connection], where: Surroundings, timeout_s: float) -> list[Probed]:
    """Ask all of them at the same time; each has *timeout_s* in all, whatever the client library makes of that."""
    alone = replace(where, state_root=None)
    asked = [(connection, _begun(connection, alone, timeout_s)) for connection in connections]
    until_s = time.monotonic() + timeout_s
    found: list[Probed] = []
    for connection, answer in asked:
        try:
            found.append(answer.result(max(until_s - time.monotonic(), 0.0)))
        except NotInTime:
            message = f"no answer within {timeout_s:g} s; is the server up, and the way to it open?"
            error = TransientError(message, code="CONNECTION.TIMEOUT")
            found.append(Probed(connection.name, connection.kind, connection.place, "", round(timeout_s * 1000), error))
    return found


def _begun(connection: Connection, where: Surroundings, timeout_s: float) -> Future[Probed]:
    answer: Future[Probed] = Future()

    def ask() -> None:
        began_s = time.monotonic()
        try:
            detail, error = probe(connection, where, timeout_s), None
        except RootsysError as caught:
            detail, error = "", caught
        except BaseException as bug:  # noqa: BLE001  (raised again where the answer is waited for)
            answer.set_exception(bug)
            return
        elapsed_ms = round((time.monotonic() - began_s) * 1000)
        answer.set_result(Probed(connection.name, connection.kind, connection.place, detail, elapsed_ms, error))

    # A library that hears of no deadline is left behind, and ends with the process.
    threading.Thread(target=ask, daemon=True).start()
    return answer


def probe(connection: Connection, where: Surroundings, timeout_s: float) -> str:
    """What *connection* answers.

    Raises:
        RootsysError: it does not, or lets us not in.
    """
    match connection.kind:
        case "rest":
            return _ask_service(connection, where, timeout_s)
        case "smtp":
            with mail_session(connection, where, timeout_s) as session:
                code, _ = session.noop()
            return f"NOOP: {code}"
        case "postgres" | "mysql" | "sqlite":
            return _select_one(connection, where, timeout_s)


def _select_one(connection: Connection, where: Surroundings, timeout_s: float) -> str:
    assert connection.db is not None
    limit_ms = int(timeout_s * 1000)
    config = connection.db.model_copy(update={"connect_timeout_ms": limit_ms, "idle_timeout_ms": limit_ms})
    context = DriverContext(where.root, where.data_roots, 1 << 20, secrets_root=where.secrets_root)
    with open_session(config, context) as session:
        row = session.row(("SELECT 1",))
    return f"SELECT 1: {row[0] if row else 'no row'}"


def _ask_service(connection: Connection, where: Surroundings, timeout_s: float) -> str:
    def ask(method: str) -> str:
        with service(connection, "", method, where, timeout_s, ONCE) as (exchange, request):
            return f"{method}: HTTP {exchange.fetch(request, None).status}"

    try:
        return ask("HEAD")
    except PermanentError:
        # Not every service knows HEAD.
        pass
    try:
        return ask("GET")
    except PermanentError as error:
        if error.code not in ANSWERS:
            raise
        return f"GET: answers, with {error.code}"
