"""``driver.stream``: a Kafka topic, read live or, for a first try without a broker, from a file."""

from typing import Literal

from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Config, Findings, PayloadFormat, Positive, Text, Whole


class StartTime(Config):
    """The first message that is not older than a moment."""

    timestamp: Whole = Field(description="Milliseconds since 1970.")


class KafkaTls(Config):
    """How the connection is encrypted; an empty block trusts the authorities of the system."""

    ca_file: Text | None = Field(default=None, description="PEM, relative to the project root.")
    cert_file: Text | None = Field(default=None, description="Our own certificate, PEM.")
    key_file: Text | None = None
    key_password: Text | None = Field(default=None, description="A reference such as env://NAME.")
    check_hostname: bool = True

    def check(self, at: str, found: Findings) -> None:
        found.blank("STREAM_KAFKA_TLS_FILE_EMPTY", f"{at}/ca_file", self.ca_file)
        found.blank("STREAM_KAFKA_TLS_FILE_EMPTY", f"{at}/cert_file", self.cert_file)
        found.blank("STREAM_KAFKA_TLS_FILE_EMPTY", f"{at}/key_file", self.key_file)
        found.literal_secret(f"{at}/key_password", self.key_password)


class KafkaSasl(Config):
    """Who we are."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    username: Text
    password: Text = Field(description="A reference such as env://NAME.")

    def check(self, at: str, found: Findings) -> None:
        found.blank("STREAM_KAFKA_SASL_USERNAME_EMPTY", f"{at}/username", self.username)
        found.blank("STREAM_KAFKA_SASL_PASSWORD_EMPTY", f"{at}/password", self.password)
        found.literal_secret(f"{at}/password", self.password)


class KafkaServer(Config):
    """Brokers, and how to reach them."""

    brokers: tuple[Text, ...] = Field(json_schema_extra={"minItems": 1})
    topic: Text
    request_timeout_ms: Positive = Field(
        default=30_000, description="A broker that brings nothing for so long has failed."
    )
    broker_version: Text | None = Field(
        default=None, description='Such as "2.3", for a server that does not say what it can.'
    )
    tls: KafkaTls | None = None
    sasl: KafkaSasl | None = None

    def check(self, at: str, found: Findings) -> None:
        if not self.brokers:
            found.add("STREAM_KAFKA_BROKERS_REQUIRED", f"{at}/brokers", 'needs at least one "host:port"')
        for index, broker in enumerate(self.brokers):
            found.blank("STREAM_KAFKA_BROKER_EMPTY", f"{at}/brokers/{index}", broker)
        found.blank("STREAM_KAFKA_TOPIC_EMPTY", f"{at}/topic", self.topic)
        found.below_one("STREAM_KAFKA_REQUEST_TIMEOUT_INVALID", f"{at}/request_timeout_ms", self.request_timeout_ms)
        if self.broker_version is not None and not self.broker_version.replace(".", "").isdigit():
            message = 'must be numbers with points between, such as "2.3"'
            found.add("STREAM_KAFKA_BROKER_VERSION_INVALID", f"{at}/broker_version", message)
        if self.tls is not None:
            self.tls.check(f"{at}/tls", found)
        if self.sasl is not None:
            self.sasl.check(f"{at}/sasl", found)


class KafkaConfig(KafkaServer):
    """One topic, one consumer group."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"mode": {"const": "live"}}, "required": ["mode"]},
            "else": {"required": ["mvp_input"]},
        }
    )

    group_id: Text
    mode: Literal["mvp_file", "live"] = "mvp_file"
    format: PayloadFormat = Field(description="What a message holds; must not be unknown.")
    client: Literal["kafka-python", "confluent"] = Field(
        default="kafka-python", description="The library that reads; confluent is an extra that takes less CPU time."
    )
    max_batch_records: Positive = 500
    max_batch_bytes: Positive = Field(default=16 << 20, description="Of one batch, and of one answer of a broker.")
    poll_timeout_ms: Positive = Field(default=1000, description="How long one look waits for messages.")
    start_offset: Literal["earliest", "latest"] | StartTime = Field(
        default="latest", description="Used only when nothing is committed yet."
    )
    isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        default="read_committed", description="Whether messages of open and aborted transactions are left out."
    )
    tombstones: Literal["record", "skip"] = Field(
        default="record", description="A message without a value is a record, or is counted only."
    )
    max_lag: Positive | None = Field(
        default=None, description="So many messages may wait before the freshness check fails."
    )
    commit_group_offsets: bool = Field(
        default=True, description="Tell the broker after each run how far the group is, for tools that show lag."
    )
    checkpoint_file: Text | None = Field(
        default=None, description="Where a first run begins, and where each run says how far it got."
    )
    mvp_input: Text | None = Field(default=None, description="The file that stands in for the topic in mode mvp_file.")

    def check(self, at: str, found: Findings) -> None:
        super().check(at, found)
        found.blank("STREAM_KAFKA_GROUP_ID_EMPTY", f"{at}/group_id", self.group_id)
        if self.format == "unknown":
            found.add("STREAM_KAFKA_FORMAT_REQUIRED", f"{at}/format", "must be json, text or binary")
        found.below_one("STREAM_KAFKA_MAX_BATCH_INVALID", f"{at}/max_batch_records", self.max_batch_records)
        found.below_one("STREAM_KAFKA_MAX_BATCH_BYTES_INVALID", f"{at}/max_batch_bytes", self.max_batch_bytes)
        found.below_one("STREAM_KAFKA_POLL_TIMEOUT_INVALID", f"{at}/poll_timeout_ms", self.poll_timeout_ms)
        found.below_one("STREAM_KAFKA_MAX_LAG_INVALID", f"{at}/max_lag", self.max_lag)
        mode = f"{at}/mode"
        if self.mode == "live":
            blank = self.checkpoint_file is not None and not self.checkpoint_file.strip()
            if blank:
                message = "must not be blank; leave it out or name a file"
                found.add("STREAM_KAFKA_CHECKPOINT_FILE_EMPTY", f"{at}/checkpoint_file", message, [mode])
        elif not (self.mvp_input or "").strip():
            message = 'mode mvp_file reads a file: name it here, or set "mode": "live"'
            found.add("STREAM_KAFKA_MVP_INPUT_EMPTY", f"{at}/mvp_input", message, [mode])


class StreamConfig(Config):
    """One stream source."""

    model_config = ConfigDict(json_schema_extra={"required": ["source", "kafka"]})

    source: Literal["kafka"]
    kafka: KafkaConfig | None = None

    def check(self, at: str, found: Findings) -> None:
        if self.kafka is None:
            found.add("STREAM_KAFKA_CONFIG_REQUIRED", f"{at}/kafka", "is needed for a kafka stream")
        else:
            self.kafka.check(f"{at}/kafka", found)
