"""The client: what an interface file says, as arguments of kafka-python. Secrets become values here only."""

import logging
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import kafka.record.util
from kafka import KafkaConsumer

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.paths import inside_roots
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.stream_config import KafkaConfig, KafkaTls
from rootsys_dagster.drivers.kafka.errors import kafka_errors
from rootsys_dagster.drivers.kafka.network import KafkaNetClient, network_client
from rootsys_dagster.drivers.kafka.record_batch import use_one_loop
from rootsys_dagster.secrets import Secrets


@contextmanager
def consumer(config: KafkaConfig, context: DriverContext, group_id: str | None = None) -> Iterator[KafkaConsumer]:
    """A connected consumer without a subscription, closed at the end of the block.

    Args:
        group_id: only for what commits group offsets; reading needs none, and a member would be given partitions.
    Raises:
        RootsysError: no broker can be reached, or none lets us in.
    """
    arguments = {**connection(config, context), **reading(config), "group_id": group_id}
    # What the client logs may name users and hosts, and an error that matters comes as an exception as well.
    logging.getLogger("kafka").setLevel(logging.CRITICAL + 1)
    use_fast_checksums()
    use_one_loop()
    with ExitStack() as held:

        def network(**settings: Any) -> KafkaNetClient:
            made = network_client(**settings)
            # What a consumer that cannot be made leaves behind is a thread and its connections.
            held.callback(made.close)
            return made

        with kafka_errors(where(config)):
            client = KafkaConsumer(**arguments, kafka_client=network)
        held.pop_all()
        held.callback(client.close, autocommit=False)
        yield client


def where(config: KafkaConfig) -> str:
    """The topic and its brokers, for messages."""
    return f"kafka topic {config.topic} at {', '.join(config.brokers)}"


def reading(config: KafkaConfig) -> dict[str, Any]:
    """Arguments that only a consumer has."""
    return {
        # A position that the broker no longer has is an error for a person, never a jump.
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        "isolation_level": config.isolation_level,
        # The client wants each request to outlast the longest wait for messages.
        "fetch_max_wait_ms": min(500, config.request_timeout_ms // 2),
        "max_poll_records": config.max_batch_records,
        "fetch_max_bytes": config.max_batch_bytes,
        "max_partition_fetch_bytes": min(config.max_batch_bytes, 1 << 20),
        "allow_auto_create_topics": False,
    }


def connection(config: KafkaConfig, context: DriverContext) -> dict[str, Any]:
    """Arguments that consumers and producers share: addresses, time limits, TLS and SASL."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(config.brokers),
        "client_id": client_id(context),
        "request_timeout_ms": config.request_timeout_ms,
        "connections_max_idle_ms": max(540_000, 2 * config.request_timeout_ms),
        "bootstrap_timeout_ms": config.request_timeout_ms,
        "reconnect_backoff_max_ms": 1000,
        "metrics_enabled": False,
        "security_protocol": f"{'SASL_' if config.sasl else ''}{'SSL' if config.tls else 'PLAINTEXT'}",
    }
    if config.broker_version is not None:
        arguments["api_version"] = tuple(int(part) for part in config.broker_version.split("."))
    if config.tls is not None:
        arguments["ssl_context"] = _tls(config.tls, context)
        arguments["ssl_check_hostname"] = config.tls.check_hostname
    if config.sasl is not None:
        username, password = sasl_values(config, context)
        arguments["sasl_mechanism"] = config.sasl.mechanism
        arguments["sasl_plain_username"] = username
        arguments["sasl_plain_password"] = password
    return arguments


def client_id(context: DriverContext) -> str:
    """What brokers see of us."""
    return f"rootsys-{context.name}" if context.name else "rootsys"


def sasl_values(config: KafkaConfig, context: DriverContext) -> tuple[str, str]:
    """User and password."""
    assert config.sasl is not None
    secrets = Secrets(context.secrets_root)
    host = config.brokers[0].rpartition(":")[0] if len(config.brokers) == 1 else None
    at = "driver.stream.kafka.sasl"
    return (
        secrets.value(config.sasl.username, f"{at}.username", host),
        secrets.value(config.sasl.password, f"{at}.password", host),
    )


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """The files of a ``tls`` block, each below a folder that the project allows."""

    ca: str | None
    cert: str | None
    key: str | None


def tls_paths(tls: KafkaTls, context: DriverContext) -> TlsPaths:
    """Raise ConfigError for a file outside of what the project allows."""

    def path(name: str | None, member: str) -> str | None:
        if name is None:
            return None
        roots = (*context.data_roots, context.secrets_root) if context.data_roots else (Path("/"),)
        return str(inside_roots(name, context.root, roots, f"driver.stream.kafka.tls.{member}"))

    return TlsPaths(path(tls.ca_file, "ca_file"), path(tls.cert_file, "cert_file"), path(tls.key_file, "key_file"))


def tls_password(tls: KafkaTls, context: DriverContext) -> str | None:
    """The password of our own key."""
    if tls.key_password is None:
        return None
    return Secrets(context.secrets_root).value(tls.key_password, "driver.stream.kafka.tls.key_password")


def _tls(tls: KafkaTls, context: DriverContext) -> ssl.SSLContext:
    paths = tls_paths(tls, context)
    found = ssl.create_default_context()
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.check_hostname = tls.check_hostname
    try:
        if paths.ca is not None:
            found.load_verify_locations(paths.ca)
        if paths.cert is not None:
            found.load_cert_chain(paths.cert, paths.key, password=tls_password(tls, context))
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if type(error) is not ssl.SSLError else "it is not PEM, or the password is wrong"
        message = f"driver.stream.kafka.tls: a certificate or key cannot be used: {reason}"
        raise ConfigError(message, code="KAFKA.TLS_FILE") from None
    return found


def use_fast_checksums() -> None:
    """Let kafka-python check messages with a compiled library; without one it does so byte by byte in Python."""
    # The library binds its choice to the argument of this function when it is imported.
    kafka.record.util.calc_crc32c.__defaults__ = (_crc32c,)  # pyright: ignore[reportFunctionMemberAccess]


def _crc32c(data: bytes | memoryview) -> int:
    return google_crc32c.value(bytes(data))
