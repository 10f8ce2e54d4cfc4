"""kill -9 in a replay: each dead letter is open or resolved, never both, and what is rebuilt is what was kept."""

import time
from collections import Counter
from dataclasses import astuple
from pathlib import Path
from random import Random

import pytest

from crash.pool import Pool
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.letters import LetterFilter, letters_path, open_letters
from rootsys_dagster.log.verify import verify_log
from tests.conftest import ProjectFolder

LETTERS = 6000
HOPELESS = 500
"""Of them no rule will ever accept."""


def check(project: ProjectFolder) -> int:
    """How many letters are resolved; whatever has become of them, nothing is lost and nothing is doubled."""
    log: CommitLog = project.log()
    assert verify_log(log) == []
    ids = Counter(record["record_id"] for record in project.records())
    assert not ids or max(ids.values()) == 1, "a letter was resolved twice"
    with open_letters(log) as letters:
        kept = list(letters.select(LetterFilter()))
    states = Counter(letter.state for letter in kept)
    assert states["replayed"] == len(ids)
    assert states.total() == LETTERS
    assert {letter.record_id for letter in kept if letter.state == "replayed"} == set(ids)
    letters_path(log).unlink()
    with open_letters(log) as letters:
        assert list(map(astuple, letters.select(LetterFilter()))) == list(map(astuple, kept))
    return states["replayed"]


@pytest.mark.parametrize(
    "kills",
    [pytest.param(10, id="10"), pytest.param(100, id="100", marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_a_replay_killed_again_and_again_resolves_every_letter_once(tmp_path: Path, pool: Pool, kills: int) -> None:
    project = ProjectFolder(tmp_path / "project")
    project.interface(required_paths=["/n"], record_id_paths=["/id"])
    broken = [b'{"id": %d' % number for number in range(HOPELESS)]
    project.data("mes.jsonl", [*broken, *({"id": number} for number in range(HOPELESS, LETTERS))])
    project.run()
    every = 10 if kills > 10 else 60
    project.interface(record_id_paths=["/id"], commit_every={"records": every})
    position = project.log().head()
    assert position is not None

    random, hits, resolved = Random(kills), 0, 0
    state = project.root / ".rootsys" / "mes" / "v1"
    for _ in range(kills * 4):
        child = pool.start("replay", project.root)
        child.await_commits(state, project.log().last_seq() + random.randrange(1, 5))
        time.sleep(random.uniform(0, 0.01))
        hits += child.kill().killed
        found = check(project)
        assert found >= resolved
        resolved = found
        if hits == kills or resolved == LETTERS - HOPELESS:
            break
    assert hits == kills, f"all letters were resolved after {hits} kills"
    assert 0 < resolved < LETTERS - HOPELESS, "the kills came before or after the replay"

    report = pool.run("replay", project.root).require_success().report
    assert report == {"resolved": LETTERS - HOPELESS - resolved, "failing": HOPELESS}
    assert check(project) == LETTERS - HOPELESS
    assert pool.run("replay", project.root).require_success().report == {"resolved": 0, "failing": HOPELESS}
    head = project.log().head()
    assert head is not None
    assert head.end == position.end
