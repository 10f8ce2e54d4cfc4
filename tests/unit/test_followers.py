"""How far a follower got: its lock, and what its file may hold."""

from pathlib import Path

import pytest

from rootsys_dagster.core.errors import LogDamagedError
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.followers import FollowerState, follower_lock, read_state, write_state
from rootsys_dagster.log.store import LockedError


@pytest.fixture
def log(tmp_path: Path) -> CommitLog:
    return CommitLog(tmp_path, StreamId("mes", "v1"))


def test_what_is_remembered_comes_back(log: CommitLog) -> None:
    assert read_state(log, "sink") == FollowerState()
    write_state(log, "sink", FollowerState(7, {"bytes": 3}))
    assert read_state(log, "sink") == FollowerState(7, {"bytes": 3})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"seq":"1"}', b'{"seq":1,"mark":{"\xff":1}}', b"\x00\x00"])
def test_a_state_that_cannot_be_read_is_damage_with_the_way_out(log: CommitLog, content: bytes) -> None:
    write_state(log, "sink", FollowerState(7))
    (log.folder / "followers" / "sink.json").write_bytes(content)
    with pytest.raises(LogDamagedError, match="remove it and the follower starts again"):
        read_state(log, "sink")


def test_a_lock_refused_inside_the_block_is_not_taken_for_the_followers_own(log: CommitLog) -> None:
    with pytest.raises(LockedError, match="another"), follower_lock(log, "sink"):
        raise LockedError("another")
    with follower_lock(log, "sink"):
        pass
