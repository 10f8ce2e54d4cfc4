"""``rootsys dead-letters``: seen, understood, mended, replayed, discarded, by the command that a person types."""

import json
from typing import Any

import pytest

from tests.command import json_lines, rootsys
from tests.conftest import ProjectFolder


@pytest.fixture
def shop(project: ProjectFolder) -> ProjectFolder:
    """Two interfaces with three dead letters; one of them has no commit."""
    project.interface("mes", required_paths=["/n"], record_id_paths=["/id"])
    project.interface("qms")
    project.data("mes.jsonl", [{"id": 1, "n": 1}, b'{"id": 2, "n": null, "at": {"x": 1.50}}', {"id": 3}, b"{broken"])
    assert rootsys("run", "mes", cwd=project.root).returncode == 0
    return project


def listed(shop: ProjectFolder, *options: str) -> list[dict[str, Any]]:
    return json_lines(rootsys("dead-letters", "list", "mes", "--json", *options, cwd=shop.root).stdout)


def test_a_list_says_what_became_of_each_letter(shop: ProjectFolder) -> None:
    done = rootsys("dead-letters", "list", "mes", cwd=shop.root)
    headings, *rows = done.stdout.splitlines()
    assert headings.split() == ["ID", "STATE", "COMMIT", "SOURCE", "AT", "REASONS", "FIRST", "MESSAGE"]
    assert [row.split()[1:3] for row in rows] == [["open", "1"]] * 3
    assert [row["position"]["line"] for row in listed(shop)] == [2, 3, 4]
    assert [row["position"]["line"] for row in listed(shop, "--reason", "PAYLOAD_DECODE_FAILED")] == [4]
    assert [row["position"]["line"] for row in listed(shop, "--pointer", "/n", "--limit", "1")] == [2]
    assert listed(shop, "--since", "2100-01-01") == listed(shop, "--until", "1d") == []
    assert len(listed(shop, "--since", "1h")) == 3


def test_show_marks_the_place_that_is_wrong(shop: ProjectFolder) -> None:
    first, second, third = (row["id"] for row in listed(shop))
    shown = rootsys("dead-letters", "show", "mes", first[:8], cwd=shop.root).stdout
    assert "source    data/mes.jsonl at line 2, byte 15" in shown
    assert '\n  "n": null,   ◀ MISSING_REQUIRED_PATH\n' in shown
    assert '    "x": 1.50' in shown
    assert "{   ◀ MISSING_REQUIRED_PATH /n\n" in rootsys("dead-letters", "show", "mes", second, cwd=shop.root).stdout
    assert "\n{broken\n" in rootsys("dead-letters", "show", "mes", third, cwd=shop.root).stdout
    whole = json.loads(rootsys("dead-letters", "show", "mes", first, "--json", cwd=shop.root).stdout)
    assert whole["dead_letter"]["payload"]["data"]["at"] == {"x": 1.5}
    unknown = rootsys("dead-letters", "show", "mes", "nope", cwd=shop.root)
    assert (unknown.returncode, "LETTERS.UNKNOWN" in unknown.stderr) == (2, True)


def test_stats_count_by_interface_reason_pointer_day_and_state(shop: ProjectFolder) -> None:
    rows = json_lines(rootsys("dead-letters", "stats", "--json", cwd=shop.root).stdout)
    assert {(row["interface"], row["by"], row["value"]): row["count"] for row in rows if row["by"] != "day"} == {
        ("mes@v1", "state", "open"): 3,
        ("mes@v1", "reason", "MISSING_REQUIRED_PATH"): 2,
        ("mes@v1", "reason", "PAYLOAD_DECODE_FAILED"): 1,
        ("mes@v1", "pointer", "/n"): 2,
        ("mes@v1", "pointer", "/payload"): 1,
    }
    assert [row["count"] for row in rows if row["by"] == "day"] == [3]
    assert "mes@v1" in rootsys("dead-letters", "stats", "mes", "--by", "reason", cwd=shop.root).stdout
    some = rootsys("dead-letters", "stats", "--id", listed(shop)[0]["id"], "--by", "reason", "--json", cwd=shop.root)
    assert [row["count"] for row in json_lines(some.stdout)] == [1]


def test_a_replay_resolves_what_is_mended_once(shop: ProjectFolder) -> None:
    shop.interface("mes", record_id_paths=["/id"])
    dry = rootsys("dead-letters", "replay", "mes", "--dry-run", cwd=shop.root)
    assert "mes: 2 dead letters would be resolved, 1 still failing\n" in dry.stdout
    assert len(shop.records()) == 1
    done = rootsys("dead-letters", "replay", "--interface", "mes", "--json", cwd=shop.root)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    expected = {"resolved": 2, "still_failing": 1, "reasons": {"PAYLOAD_DECODE_FAILED": 1}, "commits": [2]}
    assert {name: told[name] for name in expected} == expected
    for _ in range(2):
        assert "0 dead letters resolved, 1 still failing" in rootsys("dead-letters", "replay", cwd=shop.root).stdout
    assert [record["record_id"] for record in shop.records()] == ["1", "2", "3"]
    assert [row["state"] for row in listed(shop)] == ["replayed", "replayed", "failing"]
    assert (
        "replayed: record 2 in commit 2"
        in rootsys("dead-letters", "show", "mes", listed(shop)[0]["id"], cwd=shop.root).stdout
    )
    assert rootsys("verify", cwd=shop.root).returncode == 0
    assert rootsys("run", "mes", cwd=shop.root).returncode == 0
    assert len(shop.records()) == 3


def test_a_discard_asks_for_which_and_why(shop: ProjectFolder) -> None:
    assert rootsys("dead-letters", "discard", "mes", "--why", "x", cwd=shop.root).returncode == 2
    assert rootsys("dead-letters", "discard", "mes", "--all", cwd=shop.root).returncode == 2
    chosen = ("--reason", "PAYLOAD_DECODE_FAILED", "--why", "a test of the sensor", "--who", "ann")
    done = rootsys("dead-letters", "discard", "mes", *chosen, cwd=shop.root)
    assert done.stdout == "mes@v1: 1 dead letter discarded\n"
    shown = rootsys("dead-letters", "show", "mes", listed(shop, "--state", "discarded")[0]["id"], cwd=shop.root).stdout
    assert "discarded by ann in commit 2: a test of the sensor" in shown


def test_a_time_that_is_none_is_refused(shop: ProjectFolder) -> None:
    refused = rootsys("dead-letters", "list", "mes", "--since", "yesterday", cwd=shop.root)
    assert (refused.returncode, "write 2026-02-14" in refused.stderr) == (2, True)
