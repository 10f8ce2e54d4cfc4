"""A plain HTTP server that plays what a test has written, and remembers everything that it was asked.

Real servers cannot be made to send a wrong length or to leave a body half done; this one can.
"""

import json
import ssl
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. ``headers`` are by lower-case name."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        """Without the query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """Decoded; the last one of a name counts."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Answer:
    """One response.

    Attributes:
        body: whole, or in pieces with *pause_s* between them.
        framing: how the end of the body is told; ``none`` tells it by the end of the connection only.
        length: said instead of the true one.
        chunk_end: whether a chunked body gets its last chunk.
        reason: the text behind the status.
    """

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    framing: Literal["length", "chunked", "none"] = "length"
    length: int | None = None
    chunk_end: bool = True
    pause_s: float = 0.0
    reason: str = "Played"


Play = Callable[[Asked], Answer]


def json_answer(document: object, **headers: str) -> Answer:
    """A JSON response; bytes are sent as they are. An underscore in the name of a header stands for a hyphen."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(200, body, {"Content-Type": "application/json", **named})


class HttpServer:
    """Listens on a free port of this machine; ``play`` may be replaced at any time.

    Attributes:
        asked: every request so far, in the order in which they came.
    """

    def __init__(self, play: Play, tls: ssl.SSLContext | None = None) -> None:
        self.play = play
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._connections = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 30

            def setup(self) -> None:
                owner._connections += 1
                self.number = owner._connections
                super().setup()

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self._do
                raise AttributeError(name)

            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body, self.number)
                owner.asked.append(asked)
                self._send(owner.play(asked))

            def _send(self, answer: Answer) -> None:
                pieces = [answer.body] if isinstance(answer.body, bytes) else answer.body
                self.send_response(answer.status, answer.reason)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.framing == "chunked":
                    self.send_header("Transfer-Encoding", "chunked")
                elif answer.framing == "none":
                    self.close_connection = True
                else:
                    pieces = list(pieces)
                    length = sum(map(len, pieces)) if answer.length is None else answer.length
                    self.send_header("Content-Length", str(length))
                    self.close_connection |= length != sum(map(len, pieces))
                self.end_headers()
                if self.command != "HEAD":
                    self._send_body(answer, pieces)

            def _send_body(self, answer: Answer, pieces: Iterable[bytes]) -> None:
                for number, piece in enumerate(pieces):
                    if number and owner.closing.wait(answer.pause_s):
                        return
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.framing == "chunked" else piece)
                if answer.framing == "chunked" and answer.chunk_end:
                    self.wfile.write(b"0\r\n\r\n")
                self.close_connection |= not answer.chunk_end

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def finish_request(self, request: Any, client_address: Any) -> None:
                # A client that goes away in the middle is what many tests are about.
                with suppress(OSError):
                    if tls is not None:
                        request = tls.wrap_socket(request, server_side=True)
                    super().finish_request(request, client_address)
                    if tls is not None:
                        request.unwrap()

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.scheme = "http" if tls is None else "https"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Without a path and without a slash at its end."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many were made."""
        return self._connections

    def close(self) -> None:
        """End everything."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def http_server(play: Play, tls: ssl.SSLContext | None = None) -> Iterator[HttpServer]:
    """A server for the length of the block."""
    server = HttpServer(play, tls)
    try:
        yield server
    finally:
        server.close()


def in_turn(*answers: Answer) -> Play:
    """One answer after the other, the last one again and again."""
    remaining = list(answers)
    return lambda _: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def by_path(**plays: Play | Answer) -> Play:
    """What belongs to the first part of the path; 404 for every other."""

    def play(asked: Asked) -> Answer:
        found = plays.get(asked.path.strip("/").split("/")[0], Answer(404))
        return found if isinstance(found, Answer) else found(asked)

    return play


def packed(data: bytes, encoding: Literal["gzip", "deflate", "raw deflate"] = "gzip") -> bytes:
    """*data* in a content encoding."""
    window = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS, "raw deflate": -zlib.MAX_WBITS}[encoding]
    packer = zlib.compressobj(wbits=window)
    return packer.compress(data) + packer.flush()
