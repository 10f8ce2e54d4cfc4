"""Connections that give up when a broker will never let us in; the client itself goes on until its time is up."""

# kafka-python has no types for these modules.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false

import ssl
from typing import Any, Final

from kafka import errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

__all__ = ["KafkaNetClient", "network_client"]

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


def network_client(**settings: Any) -> KafkaNetClient:
    """What kafka-python calls a client: the connections of one consumer, and the thread that serves them."""
    network = NetworkSelector(**settings)
    return KafkaNetClient(net=network, manager=Connections(network, **settings), **settings)
