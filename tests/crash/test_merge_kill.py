"""A fabric's merge, killed at any moment, goes on to the same result: each record once, the first of each key kept."""

import json
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crash.faults import CHANGING
from crash.oracle import Broken, read_manifest, segment_lines
from crash.pool import Pool
from crash.runs import Runs, around_commits, killed
from crash.source import Source

INPUTS = ("a", "b")
STATE = Path(".rootsys")
SMALL: dict[str, Any] = {"merge_commit_records": 300}
"""A commit after each commit of an input, so that there are many to be killed in."""


def committed(folder: Path, kind: str, upto: int | None = None) -> list[bytes]:
    """The committed lines of one kind, of the first *upto* commits; the chain and every file of them checked."""
    seqs = sorted(int(path.stem) for path in (folder / "log").glob("[0-9]*.json"))
    if seqs != list(range(1, len(seqs) + 1)):
        raise Broken(f"manifests are not contiguous: {seqs}")
    lines: list[bytes] = []
    before = None
    for seq in seqs[:upto]:
        manifest, sha256 = read_manifest(folder, seq)
        if manifest["prev_sha256"] != before:
            raise Broken(f"manifest {seq} does not follow from the one before")
        lines += segment_lines(folder, manifest, kind)
        before = sha256
    return lines


def check_merged(root: Path, *, complete: bool) -> int:
    """Compare the fabric with the commits of its inputs that it says are merged; return how many lines those are."""
    folder = root / STATE / "all" / "v1"
    seqs = len(list((folder / "log").glob("[0-9]*.json")))
    merged = read_manifest(folder, seqs)[0]["end"]["inputs"] if seqs else {}
    records, duplicates = (
        [(json.loads(line)["interface"]["name"], line) for line in committed(folder, kind)]
        for kind in ("records", "duplicates")
    )
    total = 0
    for name in INPUTS:
        source = root / STATE / name / "v1"
        upto = None if complete else merged.get(f"{name}@v1", 0)
        first: dict[str, bytes] = {}
        again: list[bytes] = []
        for line in committed(source, "records", upto):
            record_id = json.loads(line)["record_id"]
            if record_id in first:
                again.append(line)
            first.setdefault(record_id, line)
        kept = [line for owner, line in records if owner == name]
        if kept != list(first.values()):
            raise Broken(f"{name}: {len(kept)} records instead of {len(first)}, or others, or in another order")
        if again != [line for owner, line in duplicates if owner == name]:
            raise Broken(f"{name}: the duplicates are not the {len(again)} later records of a key")
        total += len(first) + len(again)
    if total != len(records) + len(duplicates):
        raise Broken("there are records of no input")
    return total


def two_sources(root: Path) -> list[Source]:
    """Two inputs in which a third of the ids come again, and a fabric of both."""
    sources = [Source(root, name, seed, repeats=0.35) for seed, name in enumerate(INPUTS)]
    (root / "interfaces" / "all.fabric.json").write_text(json.dumps({"name": "all", "inputs": list(INPUTS)}))
    return sources


@pytest.mark.parametrize("kills", [pytest.param(12, id="12"), pytest.param(150, id="150", marks=pytest.mark.long)])
def test_a_merge_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    tmp_path: Path, pool: Pool, kills: int
) -> None:
    root = tmp_path / "project"
    sources = two_sources(root)
    random, hits, total, moved = Random(kills), 0, 0, 0
    for _ in range(kills * 5):
        for source in sources:
            source.grow(random.randrange(1, 150_000))
            pool.run("run", root, source.name).require_success()
        merge = pool.start("merge", root, "all", **SMALL)
        merge.await_commits(root / STATE / "all" / "v1", moved + random.randrange(3))
        time.sleep(random.uniform(0, 0.008))
        hits += merge.kill().killed
        total = check_merged(root, complete=False)
        moved = len(list((root / STATE / "all" / "v1" / "log").glob("[0-9]*.json")))
        if hits == kills:
            break

    assert hits == kills, "too many merges were done before the kill"
    assert total > 0
    pool.run("merge", root, "all").require_success()
    assert check_merged(root, complete=True) > total / 2
    assert pool.run("merge", root, "all").require_success().report["commits"] == []


@pytest.mark.parametrize(
    "every",
    [pytest.param(9, id="short"), pytest.param(1, id="all", marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_a_kill_at_any_system_call_of_a_merge_is_made_good(
    tmp_path: Path, pool: Pool, strace: None, every: int
) -> None:
    root = tmp_path / "project"
    for source in two_sources(root):
        source.grow(40_000)
        pool.run("run", root, source.name).require_success()
        source.grow(70_000)
    pool.run("merge", root, "all").require_success()
    for name in INPUTS:
        pool.run("run", root, name).require_success()
    runs = Runs(
        pool,
        root,
        "merge",
        check=lambda copy: check_merged(copy, complete=False),
        check_complete=lambda copy: check_merged(copy, complete=True),
        name="all",
        options=SMALL,
    )
    calls = [call for call in runs.calls(CHANGING) if call.creates]
    assert sum(call.name == "link" and "/log/" in call.path for call in calls) > 1
    assert any("/index/" in call.path for call in calls)
    runs.strike_each([(call, "signal=SIGKILL") for call in around_commits(calls, every)], killed)
