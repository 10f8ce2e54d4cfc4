"""``driver.stream``: a Kafka topic, read live or, for a first try without a broker, from a file."""

from typing import Literal

from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Config, Findings, PayloadFormat, Positive, Text


class KafkaConfig(Config):
    """One topic, one consumer group."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"mode": {"const": "live"}}, "required": ["mode"]},
            "else": {"required": ["mvp_input"]},
        }
    )

    brokers: tuple[Text, ...] = Field(json_schema_extra={"minItems": 1})
    topic: Text
    group_id: Text
    mode: Literal["mvp_file", "live"] = "mvp_file"
    format: PayloadFormat = Field(description="What a message holds; must not be unknown.")
    max_batch_records: Positive = 500
    poll_timeout_ms: Positive = 1000
    start_offset: Literal["earliest", "latest"] = Field(
        default="latest", description="Used only when nothing is committed yet."
    )
    checkpoint_file: Text | None = None
    mvp_input: Text | None = Field(default=None, description="The file that stands in for the topic in mode mvp_file.")

    def check(self, at: str, found: Findings) -> None:
        if not self.brokers:
            found.add("STREAM_KAFKA_BROKERS_REQUIRED", f"{at}/brokers", 'needs at least one "host:port"')
        for index, broker in enumerate(self.brokers):
            found.blank("STREAM_KAFKA_BROKER_EMPTY", f"{at}/brokers/{index}", broker)
        found.blank("STREAM_KAFKA_TOPIC_EMPTY", f"{at}/topic", self.topic)
        found.blank("STREAM_KAFKA_GROUP_ID_EMPTY", f"{at}/group_id", self.group_id)
        if self.format == "unknown":
            found.add("STREAM_KAFKA_FORMAT_REQUIRED", f"{at}/format", "must be json, text or binary")
        found.below_one("STREAM_KAFKA_MAX_BATCH_INVALID", f"{at}/max_batch_records", self.max_batch_records)
        found.below_one("STREAM_KAFKA_POLL_TIMEOUT_INVALID", f"{at}/poll_timeout_ms", self.poll_timeout_ms)
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
