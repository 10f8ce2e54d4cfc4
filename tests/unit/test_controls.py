"""The audit of controls: what holds is what its entries say, whoever writes and whatever a crash leaves behind."""

import json
import threading
from pathlib import Path

import pytest

from rootsys_dagster.core.errors import ConfigError, LogDamagedError
from rootsys_dagster.log.controls import Controls, Entry, Scope

ALL, MES, QMS = Scope("all"), Scope("interface", "mes"), Scope("interface", "qms")


@pytest.fixture
def controls(tmp_path: Path) -> Controls:
    return Controls(tmp_path / "state")


def change(controls: Controls, action: str, scope: Scope = MES) -> str:
    return controls.change(action, scope, reason="why", by="ann").outcome  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("actions", "outcomes", "held"),
    [
        pytest.param(["pause"], ["done"], "pause", id="pause holds"),
        pytest.param(["drain"], ["done"], "drain", id="drain holds"),
        pytest.param(["drain", "pause"], ["done", "done"], "pause", id="a pause is stricter than a drain"),
        pytest.param(["pause", "drain"], ["done", "refused"], "pause", id="a drain would loosen a pause"),
        pytest.param(["pause", "pause"], ["done", "refused"], "pause", id="who paused first is not forgotten"),
        pytest.param(["pause", "resume"], ["done", "done"], None, id="resume lets go"),
        pytest.param(["resume"], ["refused"], None, id="nothing to resume"),
    ],
)
def test_transitions(controls, actions, outcomes, held):
    assert [change(controls, action) for action in actions] == outcomes
    hold = controls.standing().hold_on([ALL, MES])
    assert (hold and hold.action) == held
    assert [entry.outcome for entry in controls.entries()] == outcomes, "refused ones are kept too"


def test_the_strictest_of_several_holds_counts_and_each_is_taken_back_by_itself(controls):
    change(controls, "drain", ALL)
    change(controls, "pause", MES)
    standing = controls.standing()
    assert [standing.hold_on([ALL, scope]).action for scope in (MES, QMS)] == ["pause", "drain"]
    change(controls, "resume", MES)
    assert controls.standing().hold_on([ALL, MES]).scope == ALL


def test_a_blank_reason_changes_nothing(controls):
    with pytest.raises(ConfigError, match="reason is blank"):
        controls.change("pause", MES, reason=" ", by="ann")
    assert not list(controls.entries())


def test_what_another_process_writes_is_seen_at_once(controls):
    assert controls.standing().hold_on([MES]) is None
    change(Controls(controls.state_root), "pause")
    assert controls.standing().hold_on([MES]) is not None


def test_a_refusal_that_repeats_is_kept_once_until_something_happens(controls):
    refused = Entry(at="now", by="sensor", action="run", scope=MES, reason="", outcome="refused", message="paused")
    other = Entry(at="now", by="schedule", action="run", scope=MES, reason="", outcome="refused", message="paused")
    change(controls, "pause")
    for _ in range(3):
        controls.record(refused, unless_repeated=True)
        controls.record(other, unless_repeated=True)
    assert len(list(controls.entries())) == 3
    change(controls, "resume")
    controls.record(refused, unless_repeated=True)
    assert len(list(controls.entries())) == 5


def test_half_a_line_of_a_killed_writer_counts_for_nothing_and_is_written_over(controls):
    change(controls, "pause")
    with controls.path.open("ab") as stream:
        stream.write(b'{"at":"2026')
    assert controls.standing().hold_on([MES]) is not None
    assert change(controls, "resume") == "done"
    assert [entry.action for entry in controls.entries()] == ["pause", "resume"]


def remove_first(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def change_reason(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b"why", b"wha"), *lines[1:]]


def tear(lines: list[bytes]) -> list[bytes]:
    return [lines[0][:20] + b"\n", *lines[1:]]


@pytest.mark.parametrize("damage", [remove_first, change_reason, tear])
def test_a_damaged_audit_holds_everything_back(controls, damage, tmp_path):
    change(controls, "pause")
    change(controls, "resume")
    damaged = Controls(tmp_path / "damaged")
    damaged.path.parent.mkdir(parents=True)
    damaged.path.write_bytes(b"".join(damage(controls.path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(LogDamagedError, match="restore it from a backup"):
        damaged.standing()


def test_writers_at_once_lose_nothing_and_keep_the_chain(controls):
    scopes = [Scope("interface", f"i{number}") for number in range(40)]
    threads = [threading.Thread(target=change, args=(controls, "pause", scope)) for scope in scopes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.scope for entry in controls.entries()} == set(scopes)
    assert set(controls.standing().holds) == set(scopes)


def test_an_entry_says_who_what_when_and_why(controls):
    change(controls, "pause")
    (line,) = controls.path.read_bytes().splitlines()
    entry = json.loads(line)
    assert {name: entry[name] for name in ("by", "action", "scope", "reason", "outcome")} == {
        "by": "ann",
        "action": "pause",
        "scope": {"kind": "interface", "name": "mes"},
        "reason": "why",
        "outcome": "done",
    }
    assert entry["at"].startswith("20")
