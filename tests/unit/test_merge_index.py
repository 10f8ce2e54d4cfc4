"""The key index against sets of bytes: which keys are new, whatever their ties, chunks and runs."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootsys_dagster.log.key_index import KeyHalves, KeyIndex, KeyRun, KeyRunDamagedError
from rootsys_dagster.pipeline.merge_index import SeenKeys

# Few values, so that keys are equal, or tie in their first 8 bytes, all the time.
halves = st.integers(0, 5).map(lambda value: (value << 61).to_bytes(8, "little"))
keys = st.tuples(halves, halves).map(b"".join)
STAMPS = {seq: f"{seq:064x}" for seq in range(1, 100)}


def open_keys(folder: Path, block_keys: int = 3) -> SeenKeys:
    return SeenKeys(KeyIndex(folder, block_keys), STAMPS.get)


def first_ones(chunks: list[list[bytes]]) -> list[list[bool]]:
    seen: set[bytes] = set()
    return [[key not in seen and not seen.add(key) for key in chunk] for chunk in chunks]


@given(
    chunks=st.lists(st.lists(keys, max_size=40), max_size=12),
    block_keys=st.integers(1, 7),
    seal=st.sets(st.integers(0, 11)),
)
def test_a_key_is_new_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[list[bytes]], block_keys: int, seal: set[int]
) -> None:
    seen = open_keys(tmp_path_factory.mktemp("index"), block_keys)
    answers: list[list[bool]] = []
    for number, chunk in enumerate(chunks):
        answers.append(seen.add(b"".join(chunk)).tolist())
        if number in seal:
            seen.seal(seen.covered + 1)
    assert answers == first_ones(chunks)


def test_the_number_of_runs_grows_with_the_logarithm_of_the_commits(tmp_path: Path) -> None:
    seen = open_keys(tmp_path)
    for seq in range(1, 65):
        seen.add(b"".join((seq << 32 | n).to_bytes(16, "big") for n in range(10)))
        seen.seal(seq)
        assert len(seen.runs) <= 7
    assert sum(run.count for run in seen.runs) == 640


def test_sealed_keys_are_found_again_and_unsealed_ones_forgotten(tmp_path: Path) -> None:
    seen = open_keys(tmp_path)
    seen.add(b"a" * 16 + b"b" * 16)
    seen.seal(1)
    seen.add(b"c" * 16)
    again = open_keys(tmp_path)
    assert again.covered == 1
    assert again.add(b"a" * 16 + b"c" * 16).tolist() == [False, True]


def test_runs_of_another_history_are_removed(tmp_path: Path) -> None:
    seen = open_keys(tmp_path)
    for seq, size in ((1, 100), (2, 10)):
        seen.add(b"".join((seq << 32 | n).to_bytes(16, "big") for n in range(size)))
        seen.seal(seq)
    restored = SeenKeys(KeyIndex(tmp_path), {1: STAMPS[1], 2: "f" * 64}.get)
    assert restored.covered == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_commit_without_keys_is_covered_too(tmp_path: Path) -> None:
    seen = open_keys(tmp_path)
    for seq in (1, 2, 3):
        seen.seal(seq)
    assert open_keys(tmp_path).covered == 3
    assert seen.add(b"a" * 16).tolist() == [True]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data + b"x"])
def test_a_run_of_the_wrong_length_counts_as_missing(tmp_path: Path, damage: object) -> None:
    seen = open_keys(tmp_path)
    seen.add(bytes(range(160)))
    seen.seal(1)
    (run,) = tmp_path.iterdir()
    run.write_bytes(damage(run.read_bytes()))  # type: ignore[operator]
    assert open_keys(tmp_path).covered == 0


def test_no_changed_byte_of_a_run_goes_unnoticed(tmp_path: Path) -> None:
    seen = open_keys(tmp_path, block_keys=4)
    asked = bytes(range(160))
    seen.add(asked)
    seen.seal(1)
    (run,) = tmp_path.iterdir()
    good = run.read_bytes()
    name = run.name
    for at in range(len(good)):
        (tmp_path / name).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        again = open_keys(tmp_path, block_keys=4)
        if again.covered:
            with pytest.raises(KeyRunDamagedError):
                again.add(asked)
        again.close()


def test_looking_up_a_few_keys_reads_a_few_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = open_keys(tmp_path, block_keys=16)
    for seq in range(1, 20):
        seen.add(b"".join(hashlib.md5(b"%d-%d" % (seq, n)).digest() for n in range(1000)))
        seen.seal(seq)
    assert sum(run.blocks for run in seen.runs) > 1000
    good = KeyRun.block
    read: list[int] = []

    def count(run: KeyRun, number: int) -> tuple[KeyHalves, KeyHalves]:
        read.append(number)
        return good(run, number)

    monkeypatch.setattr(KeyRun, "block", count)
    asked = [hashlib.md5(text).digest() for text in (b"3-7", b"new", b"19-999")]
    assert seen.add(b"".join(asked)).tolist() == [False, True, False]
    assert 0 < len(read) <= len(asked) * len(seen.runs)
