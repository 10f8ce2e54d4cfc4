"""A file that takes the place of another is on disk before it does, and its name after."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

RECORD = (
    b'{"source":"mes","interface":{"name":"mes","version":"v1"},"record_id":"1","ingested_at_unix_ms":1,'
    b'"payload":{"kind":"Json","data":{}},"metadata":{},"warnings":[]}\n'
)


@pytest.mark.parametrize("old", [None, b"old\n"], ids=["new", "replaced"])
def test_a_merged_file_is_synced_before_it_takes_its_name(tmp_path: Path, strace: None, old: bytes | None) -> None:
    (tmp_path / "in.jsonl").write_bytes(RECORD)
    if old is not None:
        (tmp_path / "out.jsonl").write_bytes(old)
    trace = tmp_path / "trace"
    merge = [Path(sys.executable).with_name("rootsys"), "merge", "--inputs", "in.jsonl", "--output", "out.jsonl"]
    command = ["strace", "-f", "-y", "-o", trace, "-e", "trace=fsync,rename,renameat,renameat2", *merge]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    folder = re.escape(str(tmp_path))
    steps = (
        rf"fsync\(\d+<{folder}/[^>]*/output>",
        rf'rename\("[^"]*/output", "{folder}/out.jsonl"',
        rf"fsync\(\d+<{folder}>",
    )
    assert re.search(".*".join(steps), trace.read_text(), re.DOTALL), trace.read_text()
    assert (tmp_path / "out.jsonl").read_bytes() == RECORD
