"""What went wrong with an HTTP source, as errors that say what to do. One table for statuses, one for transport errors.

No message holds a query string, a header or anything of a response body.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import httpcore
import httpx

from rootsys_dagster.core.errors import ConfigError, PermanentError, RootsysError, TransientError
from rootsys_dagster.secrets import redact

TRANSIENT_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
WAYS_OUT: Final = {
    400: ("REST.BAD_REQUEST", "the source does not accept the request; see it with 'rootsys preview'"),
    401: ("REST.UNAUTHORIZED", "the credentials were not accepted; see driver.rest.auth"),
    403: ("REST.FORBIDDEN", "the credentials are not allowed to read this"),
    404: ("REST.NOT_FOUND", "check driver.rest.url"),
    407: ("REST.PROXY_REFUSED", "the proxy wants other credentials"),
    410: ("REST.NOT_FOUND", "the source is gone for good"),
}
BROKEN_HANDSHAKES: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""TLS errors that another try may mend: the connection broke while the two were still greeting each other."""


class PaginationLoopError(PermanentError):
    """The pages lead in a circle; what was read before is kept."""

    default_code = "REST.PAGINATION_LOOP"


def shown(url: str) -> str:
    """*url* for people: without the user, password, query and fragment, any of which may hold a secret."""
    parts = urlsplit(url)
    return redact(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def status_error(method: str, url: str, status: int, retry_after_s: float | None) -> RootsysError:
    """What a status that is no success means."""
    where = f"{method} {shown(url)}: HTTP {status}"
    if status in TRANSIENT_STATUSES:
        return TransientError(f"{where}; try again later", retry_after_s=retry_after_s, code="REST.STATUS")
    if 300 <= status < 400:
        message = f"{where} leads elsewhere; set driver.rest.url to where it leads, or see driver.rest.redirects"
        return PermanentError(message, code="REST.REDIRECT")
    code, way_out = WAYS_OUT.get(status, ("REST.STATUS", "trying again will not change that; ask who runs the source"))
    return PermanentError(f"{where}; {way_out}", code=code)


def deadline_passed(method: str, url: str) -> TransientError:
    """The page took longer than it may in all."""
    message = f"{method} {shown(url)}: not done within driver.rest.deadline_ms; try again later or raise it"
    return TransientError(message, code="REST.DEADLINE")


@contextmanager
def transport_errors(method: str, url: str, *, reading: bool = False) -> Iterator[None]:
    """Turn what the connections raise into errors of ours.

    Args:
        reading: the status has come, the body has not.
    """
    where = f"{method} {shown(url)}"
    try:
        yield
    except (httpcore.UnsupportedProtocol, httpcore.LocalProtocolError, httpx.InvalidURL, ValueError) as error:
        message = f"{where}: the request cannot be sent as it is written; check driver.rest url, method and headers"
        raise ConfigError(message, code="REST.REQUEST_INVALID") from error
    except httpcore.TimeoutException as error:
        message = f"{where}: nothing came for driver.rest.timeout_ms; try again later"
        raise TransientError(message, code="REST.TIMEOUT") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
        raise _broken(where, error, reading) from error


def _broken(where: str, error: Exception, reading: bool) -> RootsysError:
    tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        message = f"{where}: the certificate is not trusted: {tls.verify_message}; see driver.rest.ca_file"
        return PermanentError(message, code="REST.TLS")
    if tls is not None and not isinstance(tls, BROKEN_HANDSHAKES):
        reason = (tls.reason or "handshake failed").replace("_", " ").lower()
        return PermanentError(f"{where}: TLS 1.2 or later was not agreed on: {reason}", code="REST.TLS")
    if reading:
        message = f"{where}: the connection ended before the response was complete; nothing of it was used"
        return TransientError(message, code="REST.BODY_TRUNCATED")
    if isinstance(error, httpcore.ProxyError):
        return TransientError(f"{where}: the proxy refused; see driver.rest.proxy", code="REST.PROXY_REFUSED")
    return TransientError(f"{where}: no connection, or it broke; try again later", code="REST.UNREACHABLE")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
