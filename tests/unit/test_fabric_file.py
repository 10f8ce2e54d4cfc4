"""Fabric files: defaults, codes and shape."""

import json
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.core.errors import InvalidFileError
from rootsys_dagster.core.fabric import RECORD_KEY, load_fabric, parse_fabric


def fabric(**members: Any) -> bytes:
    return json.dumps({"name": "defects", "inputs": ["mes", "qms"], **members}).encode()


def test_a_fabric_dedupes_by_the_record_key_and_keeps_the_first(tmp_path: Path) -> None:
    path = tmp_path / "defects.fabric.json"
    path.write_bytes(fabric())
    loaded = load_fabric(path)
    assert (loaded.name, loaded.version, loaded.inputs) == ("defects", "v1", ("mes", "qms"))
    assert (loaded.dedupe, loaded.key, loaded.keep) == (True, RECORD_KEY, "first")
    assert RECORD_KEY == ("source", "interface.name", "interface.version", "record_id")


def test_dedupe_can_be_switched_off() -> None:
    assert parse_fabric(fabric(dedupe=False), "x").dedupe is False


@pytest.mark.parametrize(
    ("members", "code", "pointer"),
    [
        ({"name": " "}, "FABRIC_NAME_EMPTY", "/name"),
        ({"version": ""}, "FABRIC_VERSION_EMPTY", "/version"),
        ({"inputs": []}, "FABRIC_INPUTS_EMPTY", "/inputs"),
        ({"inputs": ["mes", ""]}, "FABRIC_INPUT_EMPTY", "/inputs/1"),
        ({"inputs": ["mes", "qms", "mes"]}, "FABRIC_INPUT_REPEATED", "/inputs/2"),
        ({"key": ["record_id"]}, "FABRIC_KEY_INVALID", "/key"),
        ({"keep": "last"}, "FILE_VALUE_INVALID", "/keep"),
        ({"inputs": "mes"}, "FILE_TYPE_INVALID", "/inputs"),
        ({"key": "record_id"}, "FILE_TYPE_INVALID", "/key"),
        ({"key": [1]}, "FILE_TYPE_INVALID", "/key/0"),
        ({"output": "x.jsonl"}, "FILE_MEMBER_UNKNOWN", "/output"),
        ({"asset": ""}, "ASSET_NAME_INVALID", "/asset"),
        ({"owners": ["nobody"]}, "OWNER_INVALID", "/owners/0"),
    ],
)
def test_a_fabric_with_one_fault_gets_its_code_at_its_pointer_and_nothing_else(
    members: dict[str, Any], code: str, pointer: str
) -> None:
    with pytest.raises(InvalidFileError) as caught:
        parse_fabric(fabric(**members), "interfaces/defects.fabric.json")
    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == [(code, pointer)]
