"""The body of a response: read within limits of size and time, unpacked in bounded memory, complete or refused."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import httpcore

from rootsys_dagster.core.errors import PermanentError, TransientError
from rootsys_dagster.drivers.rest.errors import deadline_passed, shown, transport_errors
from rootsys_dagster.resilience import Deadline

ACCEPT_ENCODING: Final = "gzip, deflate"


@dataclass(frozen=True, slots=True)
class Response:
    """A response that is complete, as far as that can be told.

    Attributes:
        headers: by lower-case name; several of one name are joined by commas. Source: RFC 9110 section 5.3.
        body: unpacked.
        wire_bytes: what the body took on its way.
        framed: whether the source said where the body ends; without that a cut looks like the end.
    """

    url: str
    status: int
    headers: dict[str, str]
    body: bytes
    wire_bytes: int
    framed: bool


class Unpacker(Protocol):
    """Undoes one content encoding."""

    def feed(self, data: bytes, room: int) -> Iterator[bytes]:
        """What *data* unpacks to, in pieces, and no more than about *room* bytes of it."""
        ...

    def is_complete(self) -> bool:
        """Whether the packed data has come to its own end."""
        ...


class Plain:
    """No encoding."""

    def feed(self, data: bytes, room: int) -> Iterator[bytes]:
        yield data

    def is_complete(self) -> bool:
        return True


class Zlib:
    """gzip with any number of members, or deflate with or without its header."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    def feed(self, data: bytes, room: int) -> Iterator[bytes]:
        while data:
            if self._inflater.eof:
                if self._encoding != "gzip":
                    return
                self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
            piece = self._inflate(data, room + 1)
            self._begun = True
            room -= len(piece)
            yield piece
            if room < 0:
                return
            data = self._inflater.unconsumed_tail or self._inflater.unused_data

    def is_complete(self) -> bool:
        return self._inflater.eof

    def _inflate(self, data: bytes, most: int) -> bytes:
        try:
            return self._inflater.decompress(data, most)
        except zlib.error:
            if self._begun or self._encoding != "deflate":
                raise
            # Some servers send deflate without the header that it should have.
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._inflater.decompress(data, most)


def read_response(
    method: str, url: str, response: httpcore.Response, *, deadline: Deadline, most_wire: int, most_decoded: int
) -> Response:
    """The whole response.

    Raises:
        TransientError: it is cut short, damaged, or not there before the deadline.
        PermanentError: it is larger than it may be, or packed in a way that was not asked for.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    unpacker = _unpacker(method, url, headers.get("content-encoding", ""))
    parts: list[bytes] = []
    wire_bytes = decoded_bytes = 0
    with transport_errors(method, url, reading=True):
        for chunk in response.iter_stream():
            wire_bytes += len(chunk)
            if wire_bytes > most_wire:
                raise _too_large(method, url, "max_body_bytes", most_wire)
            if deadline.left_s() <= 0:
                raise deadline_passed(method, url)
            try:
                for piece in unpacker.feed(chunk, most_decoded - decoded_bytes):
                    decoded_bytes += len(piece)
                    if decoded_bytes > most_decoded:
                        raise _too_large(method, url, "max_decoded_bytes", most_decoded)
                    parts.append(piece)
            except zlib.error as error:
                raise _truncated(method, url) from error
    if wire_bytes and not unpacker.is_complete():
        raise _truncated(method, url)
    framed = "content-length" in headers or "transfer-encoding" in headers or response.status in (204, 304)
    return Response(url, response.status, headers, b"".join(parts), wire_bytes, framed)


def _unpacker(method: str, url: str, encoding: str) -> Unpacker:
    name = encoding.strip().lower().removeprefix("x-")
    if name in ("", "identity"):
        return Plain()
    if name in ("gzip", "deflate"):
        return Zlib(name)
    message = f"{method} {shown(url)}: the body is packed in a way that was not asked for ({ACCEPT_ENCODING} was)"
    raise PermanentError(message, code="REST.ENCODING_UNKNOWN")


def _too_large(method: str, url: str, limit: str, most: int) -> PermanentError:
    message = (
        f"{method} {shown(url)}: the response is larger than driver.rest.{limit} ({most:,} bytes); nothing of it was "
        "used, ask for smaller pages or raise the limit"
    )
    return PermanentError(message, code="REST.BODY_TOO_LARGE")


def _truncated(method: str, url: str) -> TransientError:
    message = f"{method} {shown(url)}: the packed body is damaged or cut short; nothing of it was used"
    return TransientError(message, code="REST.BODY_TRUNCATED")
