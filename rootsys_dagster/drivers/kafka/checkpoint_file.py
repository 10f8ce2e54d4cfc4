"""The checkpoint file of the reference: where a first run begins, and a follower of our commits ever after.

``{"topic": …, "group_id": …, "updated_at_unix_ms": …, "offsets": {"<partition>": last}}``: the last offset that is
done, not the next one as in our positions.
"""

import time
from pathlib import Path

import msgspec

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.paths import inside_roots
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.stream_config import KafkaConfig
from rootsys_dagster.drivers.kafka.offsets import Offsets
from rootsys_dagster.log.store import replace_durable, storage_errors


class Content(msgspec.Struct, forbid_unknown_fields=True):
    """What the file holds."""

    topic: str
    group_id: str
    updated_at_unix_ms: int
    offsets: dict[int, int]


class CheckpointFile:
    """The file that an interface names, which may not exist yet."""

    def __init__(self, config: KafkaConfig, context: DriverContext) -> None:
        self._config = config
        named = config.checkpoint_file
        assert named is not None
        at = "driver.stream.kafka.checkpoint_file"
        roots = context.data_roots or (Path("/"),)
        self.path = inside_roots(named, context.root, roots, at)

    def read(self) -> Offsets:
        """The next offset of each partition; empty when there is no file.

        Raises:
            ConfigError: it is no checkpoint file, or that of another topic or group.
        """
        try:
            content = msgspec.json.decode(self.path.read_bytes(), type=Content)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"checkpoint_file {self.path} cannot be read as one; mend it, or move it away"
            raise ConfigError(message, code="KAFKA.CHECKPOINT_FILE") from error
        if (content.topic, content.group_id) != (self._config.topic, self._config.group_id):
            message = (
                f"checkpoint_file {self.path} is that of topic {content.topic} and group {content.group_id}; "
                "name another file"
            )
            raise ConfigError(message, code="KAFKA.CHECKPOINT_FILE")
        return {partition: last + 1 for partition, last in content.offsets.items()}

    def write(self, offsets: Offsets) -> None:
        """Say durably that everything before *offsets* is done."""
        done = {partition: offset - 1 for partition, offset in sorted(offsets.items()) if offset > 0}
        content = Content(self._config.topic, self._config.group_id, time.time_ns() // 1_000_000, done)
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_durable(self.path, msgspec.json.encode(content))
