"""Connections that give up when a broker will never let us in; the client itself goes on until its time is up."""

# kafka-python has no types for these modules.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false

import ssl
from functools import partial
from typing import Any, Final

from kafka import errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

__all__ = ["KafkaNetClient", "network_client"]

RECEIVE_BYTES: Final = 1 << 18

FINAL: Final = (
    errors.SaslAuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
    ssl.SSLCertVerificationError,
)


class Connections(KafkaConnectionManager):
    """Remembers a refusal and does not ask again."""

    def __init__(self, network: Any, **settings: Any) -> None:
        super().__init__(network, **settings)
        self._refusal: BaseException | None = None

    def get_connection(self, node_id: Any, *arguments: Any, **options: Any) -> Any:
        """The connection to a broker; raises what ended the one before when that was a refusal."""

        def remember(error: BaseException) -> None:
            # What is wrong with a certificate is told in a text, and in the error behind that.
            for cause in (error, error.__context__):
                if isinstance(cause, FINAL):
                    self._refusal = cause

        if self._refusal is not None:
            raise self._refusal
        connection = super().get_connection(node_id, *arguments, **options)
        connection.init_future.add_errback(remember)
        return connection

    async def _build_transport(self, *arguments: Any, **options: Any) -> Any:
        transport: Any = await super()._build_transport(*arguments, **options)
        transport._sock_recv = partial(_received, transport)  # pyright: ignore[reportAttributeAccessIssue]
        return transport


def _received(transport: Any) -> tuple[bytes, Exception | None]:
    """What a broker has sent, and what ended the connection; never both.

    The client's own way throws away what came just before the end of a connection, which may be the refusal that says
    why it ends, and takes 4 KiB at a time.
    """
    try:
        data = transport._sock.recv(RECEIVE_BYTES)
    except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return b"", None
    except OSError as error:
        return b"", errors.KafkaConnectionError(error)
    return data, None if data else errors.KafkaConnectionError("the broker closed the connection")


def network_client(**settings: Any) -> KafkaNetClient:
    """What kafka-python calls a client: the connections of one consumer, and the thread that serves them."""
    network = NetworkSelector(**settings)
    return KafkaNetClient(net=network, manager=Connections(network, **settings), **settings)
