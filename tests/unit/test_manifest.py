"""A manifest vouches for itself: no byte of it can change unnoticed."""

import pytest

from rootsys_dagster.core.errors import LogDamagedError
from rootsys_dagster.log.manifest import Counts, Manifest, SegmentFile, manifest_bytes, parse_manifest

MANIFEST = Manifest(
    format=1,
    seq=3,
    prev_sha256="0" * 64,
    interface="mes",
    version="v1",
    interface_sha256="1" * 64,
    run_id="run",
    mode="ingest",
    start={"files": {"data/mes.jsonl": {"byte": 10}}},
    end={"files": {"data/mes.jsonl": {"byte": 20}}},
    counts=Counts(fetched=2, accepted=1, dead_letters=1),
    totals=Counts(fetched=4, accepted=3, dead_letters=1),
    files=(SegmentFile(kind="records", name="records/00000003-run.jsonl", sha256="2" * 64, bytes=9, records=1),),
    source_fingerprint=None,
    started_at="2026-01-01T00:00:00.000+00:00",
    committed_at="2026-01-01T00:00:01.000+00:00",
    tool_version="0.1.0",
)


def test_a_manifest_comes_back_as_it_was() -> None:
    data = manifest_bytes(MANIFEST)
    back = parse_manifest(data, "3")
    assert manifest_bytes(back) == data
    assert back.end == MANIFEST.end


@pytest.mark.parametrize("flip", [1, 2, 4, 0x20])
def test_a_flipped_bit_anywhere_is_noticed(flip: int) -> None:
    data = manifest_bytes(MANIFEST)
    for place in range(len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= flip
        with pytest.raises(LogDamagedError):
            parse_manifest(bytes(changed), "3")


def test_a_cut_manifest_is_noticed() -> None:
    data = manifest_bytes(MANIFEST)
    for length in range(len(data) - 1):
        with pytest.raises(LogDamagedError):
            parse_manifest(data[:length], "3")
