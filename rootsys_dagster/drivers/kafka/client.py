"""The client: what an interface file says, as arguments of kafka-python. Secrets become values here only."""

import logging
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
        "client_id": f"rootsys-{context.name}" if context.name else "rootsys",
        "request_timeout_ms": config.request_timeout_ms,
        "connections_max_idle_ms": max(540_000, 2 * config.request_timeout_ms),
        "bootstrap_timeout_ms": config.request_timeout_ms,
        "reconnect_backoff_max_ms": 1000,
        "metrics_enabled": False,
        "security_protocol": f"{'SASL_' if config.sasl else ''}{'SSL' if config.tls else 'PLAINTEXT'}",
    }
    if config.broker_version is not None:
        arguments["api_version"] = tuple(int(part) for part in config.broker_version.split("."))
    secrets = Secrets(context.secrets_root)
    if config.tls is not None:
        arguments["ssl_context"] = _tls(config.tls, context, secrets)
        arguments["ssl_check_hostname"] = config.tls.check_hostname
    if config.sasl is not None:
        host = config.brokers[0].rpartition(":")[0] if len(config.brokers) == 1 else None
        at = "driver.stream.kafka.sasl"
        arguments["sasl_mechanism"] = config.sasl.mechanism
        arguments["sasl_plain_username"] = secrets.value(config.sasl.username, f"{at}.username", host)
        arguments["sasl_plain_password"] = secrets.value(config.sasl.password, f"{at}.password", host)
    return arguments


def _tls(tls: KafkaTls, context: DriverContext, secrets: Secrets) -> ssl.SSLContext:
    def path(name: str | None, member: str) -> str | None:
        if name is None:
            return None
        roots = (*context.data_roots, context.secrets_root) if context.data_roots else (Path("/"),)
        return str(inside_roots(name, context.root, roots, f"driver.stream.kafka.tls.{member}"))

    found = ssl.create_default_context()
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.check_hostname = tls.check_hostname
    at = "driver.stream.kafka.tls"
    try:
        if tls.ca_file is not None:
            found.load_verify_locations(path(tls.ca_file, "ca_file"))
        if tls.cert_file is not None:
            password = None if tls.key_password is None else secrets.value(tls.key_password, f"{at}.key_password")
            found.load_cert_chain(
                path(tls.cert_file, "cert_file") or "", path(tls.key_file, "key_file"), password=password
            )
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if type(error) is not ssl.SSLError else "it is not PEM, or the password is wrong"
        raise ConfigError(f"{at}: a certificate or key cannot be used: {reason}", code="KAFKA.TLS_FILE") from None
    return found


def use_fast_checksums() -> None:
    """Let kafka-python check messages with a compiled library; without one it does so byte by byte in Python."""
    # The library binds its choice to the argument of this function when it is imported.
    kafka.record.util.calc_crc32c.__defaults__ = (_crc32c,)  # pyright: ignore[reportFunctionMemberAccess]


def _crc32c(data: bytes | memoryview) -> int:
    return google_crc32c.value(bytes(data))
