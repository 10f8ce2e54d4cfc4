"""What bad input gets: a dead letter with code and pointer whose payload can be had back, or a clear error."""

import base64
import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rootsys_dagster.core.errors import ConfigError, InvalidFileError, RootsysError
from rootsys_dagster.log.verify import verify_log

if TYPE_CHECKING:
    from tests.conftest import ProjectFolder

GOOD = b'{"id":"good"}'
MIB = 1 << 20


def payload_bytes(line: dict[str, Any]) -> bytes:
    """The unit that a text or binary payload was made from."""
    data = line["payload"]["data"]
    return data.encode() if line["payload"]["kind"] == "Text" else base64.b64decode(data["data"], validate=True)


@pytest.mark.parametrize(
    ("unit", "says"),
    [
        pytest.param(b'{"id":"a\x00b"}', "control character", id="NUL in a string"),
        pytest.param(b"\x00", "character 0", id="NUL alone"),
        pytest.param(b'{"id":"a"}\x00', "character 10", id="NUL behind"),
        pytest.param(b'{"id":NaN}', "NaN", id="NaN"),
        pytest.param(b'{"x":-Infinity,"id":1}', "-Infinity", id="Infinity"),
        pytest.param(b'{"id":"\xff"}', "UTF-8 at byte 7", id="invalid UTF-8"),
        pytest.param(b'{"id":"a","x":"\xc0\x80"}', "UTF-8", id="overlong UTF-8 in a member nobody asks for"),
        pytest.param('{"id":"a"}'.encode("utf-16"), "UTF-8", id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, "byte order mark", id="BOM"),
        pytest.param(b'{"id":"\\ud800"}', "surrogate", id="lone surrogate"),
        pytest.param(b'{"id":"a","\\udfff":1}', "surrogate", id="lone surrogate in a member name"),
        pytest.param(b'{"id":"a"} {"id":"b"}', "Extra data", id="two documents"),
        pytest.param(b'{"id":"a"', "character 9", id="cut short"),
        pytest.param(b'{"id":"a",}', "character", id="trailing comma"),
        pytest.param(b"{'id':'a'}", "character 1", id="single quotes"),
        pytest.param(b'{"id":+1}', "character 6", id="plus sign"),
        pytest.param(b'{"id":"a\tb"}', "control character", id="raw tab in a string"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, "deeper than 512", id="100,000 levels"),
        pytest.param(b'{"id":' * 100_000, "deeper than 512", id="100,000 levels, unfinished"),
        pytest.param(
            b'{"id":"a","x":' + b"[" * 100_000 + b'"' + b'\\"' * 50_000, "deeper", id="and a string without end"
        ),
        pytest.param(b"id,name\x1f", "character 0", id="CSV"),
        pytest.param(gzip.compress(b"x", mtime=0).replace(b"\n", b""), "UTF-8", id="packed bytes"),
    ],
)
def test_a_bad_line_is_a_dead_letter_and_its_neighbours_are_records(
    project: "ProjectFolder", unit: bytes, says: str
) -> None:
    project.interface(record_id_paths=["/id"])
    project.data("mes.jsonl", [GOOD, unit, GOOD])
    project.run()
    assert [record["record_id"] for record in project.records()] == ["good", "good"]
    (letter,) = project.dead_letters()
    assert letter["reason_codes"] == ["PAYLOAD_DECODE_FAILED"]
    assert letter["errors"][0]["path"] == "/payload"
    assert says in letter["errors"][0]["message"]
    assert payload_bytes(letter) == unit
    assert letter["metadata"]["source_details"]["position"] == {"line": 2, "byte": 14, "length": len(unit)}
    assert verify_log(project.log()) == []


@pytest.mark.parametrize(
    ("unit", "record_id"),
    [
        pytest.param(b'{"id":1e400}', "1e400", id="1e400"),
        pytest.param(b'{"id":' + b"9" * 100 + b"}", "1e100", id="100 digits"),
        pytest.param(b'{"id":"x","n":' + b"9" * 10_000 + b"}", "x", id="10,000 digits"),
        pytest.param(b'{"id":"first","id":"last"}', "last", id="repeated member"),
        pytest.param(b'{"id":"x","a":{"b":1,"b":2},"a":3}', "x", id="repeated members inside"),
        pytest.param(b'{"id":"\\u0000"}', "\0", id="escaped NUL"),
        pytest.param(b'\t {"id":"x"} \t\r', "x", id="white space around, CRLF"),
        pytest.param('{"id":"\u2028\u0085"}'.encode(), "\u2028\u0085", id="other line ends in a string"),
        pytest.param(b'{"id":"' + b"x" * MIB + b'"}', "x" * MIB, id="an id of 1 MiB"),
        pytest.param(b'{"id":"x","a":' + b"[" * 511 + b"]" * 511 + b"}", "x", id="512 levels"),
        pytest.param(b'{"id":"x","":{"":[]}}', "x", id="empty member names"),
    ],
)
def test_an_odd_line_that_is_json_is_a_record_with_its_own_bytes(
    project: "ProjectFolder", unit: bytes, record_id: str
) -> None:
    project.interface(record_id_paths=["/id"], required_paths=["/id"])
    project.data("mes.jsonl", [GOOD, unit, GOOD])
    project.run()
    assert project.dead_letters() == []
    lines = project.lines("records")
    # As the text that they are: the reader of the test refuses integers above 4,300 digits.
    assert json.loads(lines[1], parse_int=str)["record_id"] == record_id
    assert b'"data":' + unit.removesuffix(b"\r") + b'},"metadata":' in lines[1]


def test_noise_is_dead_letters_that_give_every_byte_back(project: "ProjectFolder") -> None:
    noise = random.Random(7).randbytes(300_000)
    project.interface()
    (project.root / "data" / "mes.jsonl").write_bytes(noise + b"\n")
    report = project.run()
    letters = project.dead_letters()
    for letter in letters:
        place = letter["metadata"]["source_details"]["position"]
        assert noise[place["byte"] : place["byte"] + place["length"]] == payload_bytes(letter)
    blank = report.counts.skipped.get("blank", 0)
    assert len(letters) + blank == report.counts.fetched == noise.count(b"\n") + 1


def test_a_damaged_packed_file_keeps_its_sound_lines_and_is_named(project: "ProjectFolder") -> None:
    rng = random.Random(1)
    content = b"".join(b'{"id":%d,"x":"%d"}\n' % (n, rng.getrandbits(400)) for n in range(20_000))
    packed = gzip.compress(content, 1)
    project.interface(record_id_paths=["/id"], driver={"kind": "jsonl", "input": "data/mes.jsonl.gz"})
    path = project.root / "data" / "mes.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(RootsysError) as caught:
        project.run()
    assert caught.value.code == "FILE.DAMAGED"
    assert "mes.jsonl.gz" in str(caught.value)
    kept = [record["record_id"] for record in project.records()]
    assert kept == [str(n) for n in range(len(kept))]
    path.write_bytes(packed)
    project.run()
    assert [record["record_id"] for record in project.records()] == [str(n) for n in range(20_000)]
    assert verify_log(project.log()) == []


MEASURED_RUN = """
import sys
from pathlib import Path
import rootsys_dagster.drivers
from rootsys_dagster.core.project import load_project
from rootsys_dagster.pipeline.run import run_interface
project = load_project(Path(sys.argv[1]))
report = run_interface(project.interface("mes"), project, run_id="r")
# Not ru_maxrss: it begins with what the parent had when it forked.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(report.counts.accepted, report.counts.dead_letters, int(peak.split()[1]) // 1024)
"""


def measured_run(project: "ProjectFolder") -> tuple[int, int, int]:
    """Accepted, dead letters and the peak of memory in MiB, of a run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED_RUN, str(project.root)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    accepted, dead_letters, peak_mib = map(int, done.stdout.split())
    return accepted, dead_letters, peak_mib


def write_wide(path: Path, unit: bytes, times: int, begin: bytes = b"", end: bytes = b"") -> None:
    with path.open("wb") as stream:
        stream.write(GOOD + b"\n" + begin)
        for _ in range(times):
            stream.write(unit)
        stream.write(end + b"\n" + GOOD + b"\n")


def test_a_line_of_200_mb_is_a_dead_letter_in_bounded_memory(project: "ProjectFolder") -> None:
    project.interface(record_id_paths=["/id"])
    write_wide(project.root / "data" / "mes.jsonl", b"x" * MIB, 200, b'{"id":"', b'"}')
    accepted, dead_letters, peak_mib = measured_run(project)
    assert (accepted, dead_letters) == (2, 1)
    assert peak_mib < 200
    (letter,) = project.dead_letters()
    assert letter["reason_codes"] == ["RECORD_TOO_LARGE"]
    assert letter["errors"][0]["path"] == "/payload"
    assert payload_bytes(letter) == b'{"id":"' + b"x" * ((1 << 16) - 7)
    place = letter["metadata"]["source_details"]["position"]
    assert (place["line"], place["byte"], place["length"]) == (2, 14, 200 * MIB + 9)
    assert len(place["sha256"]) == 64


@pytest.mark.parametrize(
    ("unit", "times", "end"),
    [
        pytest.param(b"x" * MIB, 15, b'"}', id="one string"),
        pytest.param(b"x" * MIB, 15, b"", id="one string without end"),
        pytest.param(b'\\"' * (MIB // 2), 15, b"", id="escaped quotes without end"),
        pytest.param(b'","' * (MIB // 4), 15, b"", id="many strings, broken"),
        pytest.param(b'",{"a":1.5},"' * (MIB // 16), 15, b'"}', id="many objects, broken"),
    ],
)
def test_lines_just_below_the_limit_take_bounded_memory(
    project: "ProjectFolder", unit: bytes, times: int, end: bytes
) -> None:
    project.interface(record_id_paths=["/id"])
    write_wide(project.root / "data" / "mes.jsonl", unit, times, b'{"id":1,"x":"', end)
    accepted, dead_letters, peak_mib = measured_run(project)
    assert accepted + dead_letters == 3
    assert peak_mib < 300


def test_a_packed_bomb_without_line_ends_is_a_dead_letter_in_bounded_memory(project: "ProjectFolder") -> None:
    # 1 MiB of zeros packed is 1 KiB: 300 of them are 300 KiB.
    project.interface(driver={"kind": "jsonl", "input": "data/mes.jsonl.gz"})
    packed = gzip.compress(b"\0" * MIB)
    (project.root / "data" / "mes.jsonl.gz").write_bytes(packed * 300 + gzip.compress(b"\n" + GOOD + b"\n"))
    accepted, dead_letters, peak_mib = measured_run(project)
    assert (accepted, dead_letters) == (1, 1)
    assert peak_mib < 200


def test_many_dead_letters_take_no_more_memory_than_few(project: "ProjectFolder") -> None:
    project.interface(required_paths=["/id"])
    with (project.root / "data" / "mes.jsonl").open("wb") as stream:
        for _ in range(60):
            stream.write(b'{"x":1}\n{bad\n' * 1000)
    accepted, dead_letters, peak_mib = measured_run(project)
    assert (accepted, dead_letters) == (0, 120_000)
    assert peak_mib < 200


@pytest.mark.parametrize(
    ("target", "code"),
    [
        pytest.param("missing", "FILE.NOT_FOUND", id="missing"),
        pytest.param("folder", "FILE.NOT_REGULAR", id="folder"),
        pytest.param("pipe", "FILE.NOT_REGULAR", id="FIFO"),
        pytest.param("out", "PATH.OUTSIDE_ROOTS", id="link out of the root"),
        pytest.param("../../outside", "PATH.OUTSIDE_ROOTS", id="path traversal"),
        pytest.param("loop", "PATH.UNUSABLE", id="loop of links"),
        pytest.param("/dev/zero", "PATH.OUTSIDE_ROOTS", id="device"),
    ],
)
def test_what_is_not_a_file_of_the_project_is_a_clear_error_and_commits_nothing(
    project: "ProjectFolder", target: str, code: str
) -> None:
    data = project.root / "data"
    (data / "folder").mkdir()
    os.mkfifo(data / "pipe")
    (project.root.parent / "outside").write_bytes(GOOD + b"\n")
    (data / "out").symlink_to(project.root.parent / "outside")
    (data / "loop").symlink_to("loop")
    project.interface(driver={"kind": "jsonl", "input": target if target.startswith("/") else f"data/{target}"})
    with pytest.raises(ConfigError) as caught:
        project.run()
    assert caught.value.code == code
    assert project.log().head() is None


@pytest.mark.parametrize("target", ["file", "folder"])
def test_what_may_not_be_read_is_a_clear_error(project: "ProjectFolder", unprivileged: Path, target: str) -> None:
    own = type(project)(unprivileged / "project")
    own.interface()
    path = own.data("mes.jsonl", [GOOD])
    (path if target == "file" else path.parent).chmod(0)
    with pytest.raises(ConfigError) as caught:
        own.run()
    assert caught.value.code == "FILE.UNREADABLE"
    assert "Permission denied" in str(caught.value)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"surprise": 1}, "surprise"),
        ({"required_paths": "id"}, "/required_paths"),
        ({"required_paths": ["/a~2"]}, "JSON_POINTER_INVALID"),
        ({"driver": {"kind": "rset"}}, "rest"),
    ],
)
def test_a_wrong_interface_file_says_where(project: "ProjectFolder", members: dict[str, Any], says: str) -> None:
    project.interface(**members)
    project.data("mes.jsonl", [GOOD])
    with pytest.raises(InvalidFileError, match=says):
        project.run()


def test_two_runs_at_once_lose_and_double_nothing(project: "ProjectFolder") -> None:
    project.interface(record_id_paths=["/id"], commit_every={"records": 100})
    project.data("mes.jsonl", [{"id": n, "x": "y" * 500} for n in range(20_000)])
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", MEASURED_RUN, str(project.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    refused = sum(b"is committing to this log" in run.communicate(timeout=120)[1] for run in runs)
    assert refused + sum(run.returncode == 0 for run in runs) == 3
    project.run()
    assert [record["record_id"] for record in project.records()] == [str(n) for n in range(20_000)]
