"""A disk that is really full: a named error, what was committed stays, and with more room the run goes on."""

from pathlib import Path

import pytest

from crash.mounts import remount, tmpfs
from crash.oracle import check, check_complete
from crash.pool import NAMED_ERROR, Pool
from crash.source import Source


@pytest.mark.parametrize(
    ("small", "large"),
    [
        pytest.param("size=700k", "size=64m", id="no blocks"),
        pytest.param("size=64m,nr_inodes=40", "nr_inodes=4000", id="no inodes"),
    ],
)
@pytest.mark.parametrize("do", ["run", "command"])
def test_a_full_disk_is_named_and_more_room_is_all_it_takes(
    source: Source, pool: Pool, tmp_path: Path, root: None, small: str, large: str, do: str
) -> None:
    source.grow(1_500_000)
    with tmpfs(tmp_path / "state", small) as state_root:
        folder = state_root / "mes" / "v1"
        committed: list[int] = []
        for _ in range(4):
            outcome = pool.run(do, source.root, state_root=state_root)
            assert "Traceback" not in outcome.printed
            if do == "run":
                assert (outcome.status, outcome.code) == (NAMED_ERROR, "STATE.WRITE_FAILED"), outcome
            else:
                assert outcome.report["exit_code"] == 1
                assert "[STATE.WRITE_FAILED]" in outcome.printed
            committed.append(check(folder, source.lines).commits)
        assert committed[0] > 1, "the disk was full before anything was committed"
        assert committed == sorted(committed)

        remount(state_root, large)
        pool.run("run", source.root, state_root=state_root).require_success()
        check_complete(folder, source.lines)
