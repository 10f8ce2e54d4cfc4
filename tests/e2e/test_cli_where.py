"""``rootsys where``: back from a record to its source, and forward from a place to its records."""

import json

import pytest

from tests.command import json_lines, rootsys
from tests.conftest import ProjectFolder


@pytest.fixture
def shop(project: ProjectFolder) -> ProjectFolder:
    """Two interfaces and a fabric; one record is a duplicate, one was replayed."""
    project.interface("mes", required_paths=["/n"], record_id_paths=["/id"])
    project.interface("qms", record_id_paths=["/id"])
    project.fabric("defects", ["mes", "qms"], dedupe=True)
    project.data("mes.jsonl", [{"id": "a", "n": 1}, {"id": "b"}, {"id": "a", "n": 2}])
    project.data("qms.jsonl", [{"id": "c", "text": '"record_id":"a"'}])
    assert rootsys("run", "mes", "qms", cwd=project.root).returncode == 0
    project.interface("mes", record_id_paths=["/id"])
    assert rootsys("dead-letters", "replay", "mes", cwd=project.root).returncode == 0
    assert rootsys("run", "defects", cwd=project.root).returncode == 0
    return project


def test_a_record_leads_back_to_its_line_and_through_the_merge(shop: ProjectFolder) -> None:
    found = json_lines(rootsys("where", "a", "--json", cwd=shop.root).stdout)
    assert [(one["stream"], one["outcome"], one["position"]["line"]) for one in found] == [
        ("defects@v1", "record", 1),
        ("defects@v1", "duplicate", 3),
        ("mes@v1", "record", 1),
        ("mes@v1", "record", 3),
    ]
    assert {one["locator"] for one in found} == {"data/mes.jsonl"}
    text = rootsys("where", "a", "--in", "mes", cwd=shop.root).stdout
    assert "  source      file data/mes.jsonl\n" in text
    assert '  at          {"line": 1, "byte": 0, "length": 16}\n' in text


def test_a_replayed_record_names_its_dead_letter_and_the_place_names_both(shop: ProjectFolder) -> None:
    (record,) = json_lines(rootsys("where", "b", "--in", "mes", "--json", cwd=shop.root).stdout)
    (letter,) = json_lines(rootsys("dead-letters", "list", "mes", "--json", cwd=shop.root).stdout)
    assert (record["mode"], record["commit"], record["dead_letter_id"]) == ("replay", 2, letter["id"])
    place = ("--from", "data/mes.jsonl", "--at", "line=2", "--in", "mes", "--json")
    found = json_lines(rootsys("where", *place, cwd=shop.root).stdout)
    assert [(one["outcome"], one["commit"], one["dead_letter_id"]) for one in found] == [
        ("dead_letter", 1, letter["id"]),
        ("record", 2, letter["id"]),
    ]
    everything = json_lines(rootsys("where", "--from", "data/mes.jsonl", "--in", "mes", "--json", cwd=shop.root).stdout)
    assert len(everything) == 4


@pytest.mark.parametrize(
    ("arguments", "code"), [(["nobody"], 1), ([], 2), (["a", "--from", "x"], 2), (["a", "--at", "line=1"], 2)]
)
def test_what_is_not_there_or_not_asked_is_said(shop: ProjectFolder, arguments: list[str], code: int) -> None:
    assert rootsys("where", *arguments, cwd=shop.root).returncode == code
    assert json.loads((shop.root / "contracts" / "allowlist.json").read_text())
