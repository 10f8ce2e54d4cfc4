"""A TCP proxy that breaks connections as networks do, and says how often it has."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

BLOCK_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a connection once the server has sent so many bytes through it.

    ``cut`` ends it as a server that dies, ``reset`` aborts it, ``black_hole`` keeps it open and passes nothing on.
    """

    kind: Literal["cut", "reset", "black_hole"]
    after_bytes: int = 0
    times: int = 1
    """So many connections meet it; those that come later pass."""


class Proxy:
    """Stands in front of one server on a port of its own.

    Attributes:
        fault: what happens to connections from now on; None lets everything pass.
        delay_s: so late every block from the server is passed on.
        fired: how many connections have met a fault.
        connections: how many were made.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.fault: Fault | None = None
        self.delay_s = 0.0
        self.fired = 0
        self.connections = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End everything."""
        self._closing.set()
        for one in (self._listener, *self._open):
            _shut(one)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target)
            except OSError:
                _shut(client)
                continue
            self.connections += 1
            self._open |= {client, server}
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
            threading.Thread(target=self._bring_back, args=(server, client), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(BLOCK_BYTES):
                server.sendall(data)
        _shut(server)

    def _bring_back(self, server: socket.socket, client: socket.socket) -> None:
        sent = 0
        with suppress(OSError):
            while data := server.recv(BLOCK_BYTES):
                if self.delay_s:
                    self._closing.wait(self.delay_s)
                fault = self.fault
                if fault is not None and sent + len(data) > fault.after_bytes and self._takes(fault):
                    client.sendall(data[: max(fault.after_bytes - sent, 0)])
                    self._break(fault, server, client)
                    return
                client.sendall(data)
                sent += len(data)
        _shut(client)

    def _takes(self, fault: Fault) -> bool:
        with self._lock:
            if self.fired >= fault.times:
                return False
            self.fired += 1
            return True

    def _break(self, fault: Fault, server: socket.socket, client: socket.socket) -> None:
        if fault.kind == "black_hole":
            with suppress(OSError):
                while server.recv(BLOCK_BYTES):
                    pass
            return
        if fault.kind == "reset":
            # Without time to linger closing sends a reset; the other thread has to leave the socket first.
            client.shutdown(socket.SHUT_RD)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        _shut(client)
        _shut(server)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def proxy(host: str, port: int) -> Iterator[Proxy]:
    """A proxy for the length of the block."""
    made = Proxy(host, port)
    try:
        yield made
    finally:
        made.close()
