"""The contract registry: who may run."""

import json
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.core.contract import load_registry
from rootsys_dagster.core.errors import InvalidFileError
from rootsys_dagster.core.interface import parse_interface


def registry_file(folder: Path, document: Any) -> Path:
    path = folder / "allowlist.json"
    path.write_text(json.dumps(document))
    return path


def entry(name: str, version: str = "v1") -> dict[str, str]:
    return {"name": name, "version": version}


@pytest.mark.parametrize(
    ("document", "found"),
    [
        pytest.param({"allowlist": []}, [("CONTRACT_REGISTRY_EMPTY_ALLOWLIST", "/allowlist")], id="no entry"),
        pytest.param(
            {"allowlist": [entry("mes"), entry(" ")]},
            [("CONTRACT_REGISTRY_EMPTY_NAME", "/allowlist/1/name")],
            id="blank name",
        ),
        pytest.param(
            {"allowlist": [entry("mes", "")]},
            [("CONTRACT_REGISTRY_EMPTY_VERSION", "/allowlist/0/version")],
            id="empty version",
        ),
        pytest.param(
            {"allowlist": [entry("mes"), entry("mes", "v2"), entry("mes")]},
            [("CONTRACT_REGISTRY_DUPLICATE_ENTRY", "/allowlist/2")],
            id="repeated pair",
        ),
        pytest.param({}, [("FILE_MEMBER_REQUIRED", "/allowlist")], id="no allowlist"),
        pytest.param(
            {"allowlist": [entry("mes")], "denylist": []}, [("FILE_MEMBER_UNKNOWN", "/denylist")], id="unknown member"
        ),
        pytest.param(
            {"allowlist": [{"name": "mes"}, "qms", entry("")]},
            [
                ("FILE_MEMBER_REQUIRED", "/allowlist/0/version"),
                ("FILE_TYPE_INVALID", "/allowlist/1"),
                ("CONTRACT_REGISTRY_EMPTY_NAME", "/allowlist/2/name"),
            ],
            id="all at once",
        ),
    ],
)  # fmt: skip
def test_a_broken_registry_is_refused_with_code_and_pointer(
    tmp_path: Path, document: Any, found: list[tuple[str, str]]
) -> None:
    with pytest.raises(InvalidFileError) as caught:
        load_registry(registry_file(tmp_path, document))
    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == found


def test_a_missing_registry_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match=r"allowlist\.json: 1 problem") as caught:
        load_registry(tmp_path / "allowlist.json")
    assert caught.value.problems[0].code == "FILE_UNREADABLE"


@pytest.mark.parametrize(
    ("name", "version"), [("mes", "v2"), ("Mes", "v1"), ("mes ", "v1"), ("qms", "v1"), ("mes", "V1"), ("m", "es v1")]
)
def test_only_the_exact_pair_of_name_and_version_may_run(tmp_path: Path, name: str, version: str) -> None:
    registry = load_registry(registry_file(tmp_path, {"allowlist": [entry("mes")]}))
    interface = parse_interface(json.dumps(entry(name, version)).encode(), "interfaces/x.json")
    with pytest.raises(InvalidFileError) as caught:
        registry.require(interface, "interfaces/x.json")
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == ("CONTRACT_NOT_ALLOWLISTED", "/name")
    assert f'add {{"name": "{name}", "version": "{version}"}} to {tmp_path}/allowlist.json' in problem.message


def test_an_allowed_interface_passes(tmp_path: Path) -> None:
    registry = load_registry(registry_file(tmp_path, {"allowlist": [entry("qms"), entry("mes")]}))
    registry.require(parse_interface(json.dumps(entry("mes")).encode(), "interfaces/mes.json"))
