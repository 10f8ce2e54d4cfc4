"""The checkpoint file of the reference, without a broker: RS-56 and RS-57."""

import json
from pathlib import Path

import pytest

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.stream_config import KafkaConfig
from rootsys_dagster.drivers.kafka.checkpoint_file import CheckpointFile

BLOCK = {
    "brokers": ["b:9092"], "topic": "t", "group_id": "g", "format": "json", "mode": "live", "checkpoint_file": "o.json",
}  # fmt: skip


def file(root: Path) -> CheckpointFile:
    return CheckpointFile(KafkaConfig.model_validate_json(json.dumps(BLOCK)), DriverContext(root, (root,), 1 << 20))


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    """RS-56: the file holds the last offset that is done, a position the next one."""
    file(tmp_path).write({0: 121, 1: 89, 2: 0})
    assert json.loads((tmp_path / "o.json").read_bytes())["offsets"] == {"0": 120, "1": 88}
    assert file(tmp_path).read() == {0: 121, 1: 89}


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """RS-57."""
    assert file(tmp_path).read() == {}


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"topic":"t","group_id":"g","offsets":{}}'])
def test_what_is_no_checkpoint_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "o.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"o\.json cannot be read as one"):
        file(tmp_path).read()
