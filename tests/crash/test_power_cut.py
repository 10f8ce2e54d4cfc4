"""Power cuts: what was acknowledged is on the disk, what is named there is whole, and the run goes on from it.

``kill -9`` leaves the page cache alone and so proves nothing about fsync. Here the state root is an ext4 in a file; the
file is copied at a random instant and the copy mounted, as after a power cut. The writer is stopped for the copy: it is
the only one who could order one write behind another.
"""

import signal
import time
from pathlib import Path
from random import Random

import pytest

from crash.mounts import cut_power, ext4, make_ext4
from crash.oracle import Broken, Checked, check, check_complete
from crash.pool import Pool
from crash.source import Source

STATE = Path("state/mes/v1")


class Disk:
    """A source, and a state root on a disk that loses power again and again."""

    def __init__(self, source: Source, pool: Pool, image: Path, seed: int, *, sync: bool) -> None:
        self.source = source
        self.pool = pool
        self.image = image
        self.random = Random(seed)
        self.sync = sync
        self.cuts = 0
        self.alive = 0
        """Cuts that hit a run before its end."""
        self.finished = Checked()

    def cut(self, delay_s: float) -> Checked:
        """Run, cut the power after *delay_s*, judge what is left on the disk and let the run be finished there.

        Returns what was committed on the disk. The state root is then that of the copy.
        """
        self.cuts += 1
        copy = self.image.with_name(f"cut-{self.cuts}.img")
        acknowledged = self.image.with_name(f"acknowledged-{self.cuts}")
        self.source.grow(600_000, torn=True)
        with ext4(self.image, self.image.with_name(f"mount-{self.cuts}")) as mounted:
            before = check(mounted / STATE, self.source.lines, self.finished)
            run = self.pool.start(
                "run", self.source.root, state_root=mounted / "state", ack=str(acknowledged), sync=self.sync
            )
            run.await_commits(mounted / STATE, before.commits + self.random.randrange(3))
            time.sleep(delay_s)
            run.signal(signal.SIGSTOP)
            self.alive += run.await_state("TZ") == "T"
            cut_power(self.image, copy)
            run.kill()
        safe = before.lines + int((acknowledged.read_text().split() or ["0"])[-1]) if acknowledged.exists() else 0
        with ext4(copy, copy.with_suffix(".mount")) as mounted:
            left = check(mounted / STATE, self.source.lines)
            if left.lines < safe:
                raise Broken(f"lost: {safe} lines were acknowledged, {left.lines} are on the disk")
            self.pool.run("run", self.source.root, state_root=mounted / "state").require_success()
            self.finished = check(mounted / STATE, self.source.lines, left)
        self.image.unlink()
        self.image = copy
        return left


@pytest.mark.parametrize(
    "cuts", [pytest.param(3, id="3"), pytest.param(40, id="40", marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_what_was_acknowledged_survives_a_power_cut(
    source: Source, pool: Pool, tmp_path: Path, root: None, cuts: int
) -> None:
    make_ext4(tmp_path / "disk.img")
    disk = Disk(source, pool, tmp_path / "disk.img", cuts, sync=True)
    left = [disk.cut(disk.random.uniform(0, 0.02)) for _ in range(cuts)]
    source.grow(1)

    assert disk.alive > cuts / 2, "the runs were done before the cuts"
    assert left[-1].commits > cuts, "the cuts came before anything was committed"
    with ext4(disk.image, tmp_path / "last") as mounted:
        pool.run("run", source.root, state_root=mounted / "state").require_success()
        check_complete(mounted / STATE, source.lines)


@pytest.mark.long
def test_the_power_cut_is_real_since_without_fsync_it_is_noticed(
    source: Source, pool: Pool, tmp_path: Path, root: None
) -> None:
    broken: list[str] = []
    for cut in range(6):
        image = tmp_path / f"disk-{cut}.img"
        make_ext4(image)
        try:
            # Longer than the second in which ext4 commits names of its own accord, before the data they stand for.
            Disk(source, pool, image, cut, sync=False).cut(delay_s=0.4 * cut)
        except Broken as error:
            broken.append(str(error))

    assert any("lost" in problem for problem in broken), broken
    assert any("torn" in problem for problem in broken), broken
