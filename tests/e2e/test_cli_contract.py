"""``rootsys contract try``: which committed units would flip each way, and nothing is committed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import json_lines, rootsys
from tests.conftest import ProjectFolder


@pytest.fixture
def shop(project: ProjectFolder) -> ProjectFolder:
    """Two records and a dead letter under a contract."""
    contract(project, "v1.0", {"pointer": "/n", "not_null": True})
    project.interface("mes", record_id_paths=["/id"], schema_ref="contracts/order@v1.0")
    project.data("mes.jsonl", [b'{"id":"a","n":1.50}', {"id": "b", "n": 70}, {"id": "c"}])
    assert rootsys("run", "mes", cwd=project.root).returncode == 0
    return project


def contract(project: ProjectFolder, version: str, *rules: dict[str, Any]) -> Path:
    path = project.root / "contracts" / f"order@{version}.json"
    path.write_text(json.dumps({"rules": rules}))
    return path


def tried(shop: ProjectFolder, path: Path) -> tuple[int, dict[str, Any]]:
    done = rootsys("contract", "try", path, "--json", cwd=shop.root)
    (found,) = json_lines(done.stdout)
    assert shop.log().last_seq() == 1
    return done.returncode, found


def test_a_stricter_contract_is_told_with_examples_and_an_exit_code(shop: ProjectFolder) -> None:
    code, found = tried(shop, contract(shop, "v1.1", {"pointer": "/n", "range": {"max": 60}}))
    assert (code, found["flips"]) == (1, {"rejected": 1, "renamed": 0, "resolved": 1})
    assert found["reasons"] == {"RULE_RANGE": 1}
    (example,) = found["examples"]["rejected"]
    assert (example["record_id"], example["position"]["line"], example["errors"][0]["path"]) == ("b", 2, "/n")
    assert found["examples"]["resolved"][0]["new_record_id"] == "c"
    text = rootsys("contract", "try", "contracts/order@v1.1.json", cwd=shop.root).stdout
    assert "b, data/mes.jsonl at line 2, byte 20: RULE_RANGE /n\n" in text


def test_a_looser_contract_is_fine(shop: ProjectFolder) -> None:
    assert tried(shop, contract(shop, "v2", {"pointer": "/id", "not_null": True})) == (
        0,
        {
            "stream": "mes@v1",
            "records": 2,
            "letters": 1,
            "flips": {"rejected": 0, "renamed": 0, "resolved": 1},
            "reasons": {},
            "examples": tried(shop, contract(shop, "v2", {"pointer": "/id", "not_null": True}))[1]["examples"],
        },
    )


def test_a_changed_interface_file_may_rename_records(shop: ProjectFolder) -> None:
    changed = json.loads((shop.root / "interfaces" / "mes.json").read_text()) | {"record_id_paths": ["/id", "/n"]}
    path = shop.root / "interfaces" / "candidate.json"
    path.write_text(json.dumps(changed))
    code, found = tried(shop, path)
    assert (code, found["flips"]["renamed"]) == (1, 2)
    assert found["examples"]["renamed"][0]["new_record_id"] == "a|1.5"


def test_a_contract_that_nobody_names_is_said(shop: ProjectFolder) -> None:
    path = shop.root / "contracts" / "other@v1.json"
    path.write_text(json.dumps({"rules": [{"pointer": "/a", "not_null": True}]}))
    done = rootsys("contract", "try", path, cwd=shop.root)
    assert (done.returncode, "CONTRACT.UNUSED" in done.stderr) == (2, True)
