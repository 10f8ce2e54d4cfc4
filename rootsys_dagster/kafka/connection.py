"""What interface files say of brokers, as arguments of kafka-python. Secrets become values here only."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.paths import inside_roots
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.stream_config import KafkaServer, KafkaTls
from rootsys_dagster.secrets import Secrets


def connection(server: KafkaServer, context: DriverContext, at: str) -> dict[str, Any]:
    """Arguments that consumers and producers share: addresses, time limits, TLS and SASL.

    Args:
        at: where the interface file says all this, for messages.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(server.brokers),
        "client_id": client_id(context),
        "request_timeout_ms": server.request_timeout_ms,
        "connections_max_idle_ms": max(540_000, 2 * server.request_timeout_ms),
        "bootstrap_timeout_ms": server.request_timeout_ms,
        "reconnect_backoff_max_ms": 1000,
        "metrics_enabled": False,
        "security_protocol": security_protocol(server),
    }
    if server.broker_version is not None:
        arguments["api_version"] = tuple(int(part) for part in server.broker_version.split("."))
    if server.tls is not None:
        arguments["ssl_context"] = _tls(server.tls, context, at)
        arguments["ssl_check_hostname"] = server.tls.check_hostname
    if server.sasl is not None:
        username, password = sasl_values(server, context, at)
        arguments["sasl_mechanism"] = server.sasl.mechanism
        arguments["sasl_plain_username"] = username
        arguments["sasl_plain_password"] = password
    return arguments


def security_protocol(server: KafkaServer) -> str:
    """What clients call the choice of TLS and SASL."""
    return f"{'SASL_' if server.sasl else ''}{'SSL' if server.tls else 'PLAINTEXT'}"


def fetch_wait_ms(server: KafkaServer) -> int:
    """How long a broker may hold back an answer until it has more; each request has to outlast that."""
    return min(500, server.request_timeout_ms // 2)


def client_id(context: DriverContext) -> str:
    """What brokers see of us."""
    return f"rootsys-{context.name}" if context.name else "rootsys"


def sasl_values(server: KafkaServer, context: DriverContext, at: str) -> tuple[str, str]:
    """User and password."""
    assert server.sasl is not None
    secrets = Secrets(context.secrets_root)
    host = server.brokers[0].rpartition(":")[0] if len(server.brokers) == 1 else None
    return (
        secrets.value(server.sasl.username, f"{at}.sasl.username", host),
        secrets.value(server.sasl.password, f"{at}.sasl.password", host),
    )


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """The files of a ``tls`` block, each below a folder that the project allows."""

    ca: str | None
    cert: str | None
    key: str | None


def tls_paths(tls: KafkaTls, context: DriverContext, at: str) -> TlsPaths:
    """Raise ConfigError for a file outside of what the project allows."""

    def path(name: str | None, member: str) -> str | None:
        if name is None:
            return None
        roots = (*context.data_roots, context.secrets_root) if context.data_roots else (Path("/"),)
        return str(inside_roots(name, context.root, roots, f"{at}.tls.{member}"))

    return TlsPaths(path(tls.ca_file, "ca_file"), path(tls.cert_file, "cert_file"), path(tls.key_file, "key_file"))


def tls_password(tls: KafkaTls, context: DriverContext, at: str) -> str | None:
    """The password of our own key."""
    if tls.key_password is None:
        return None
    return Secrets(context.secrets_root).value(tls.key_password, f"{at}.tls.key_password")


def _tls(tls: KafkaTls, context: DriverContext, at: str) -> ssl.SSLContext:
    paths = tls_paths(tls, context, at)
    found = ssl.create_default_context()
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.check_hostname = tls.check_hostname
    try:
        if paths.ca is not None:
            found.load_verify_locations(paths.ca)
        if paths.cert is not None:
            found.load_cert_chain(paths.cert, paths.key, password=tls_password(tls, context, at))
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if type(error) is not ssl.SSLError else "it is not PEM, or the password is wrong"
        message = f"{at}.tls: a certificate or key cannot be used: {reason}"
        raise ConfigError(message, code="KAFKA.TLS_FILE") from None
    return found
