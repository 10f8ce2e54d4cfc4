import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rootsys_dagster.core.errors import ConfigError, FencedError, InvalidFileError, PermanentError
from rootsys_dagster.core.policy import Limits
from rootsys_dagster.core.ports import Batch
from rootsys_dagster.log.verify import verify_log
from rootsys_dagster.pipeline.run import limit_reached, open_line, run_fetched, run_interface

if TYPE_CHECKING:
    from tests.conftest import ProjectFolder

GOOD = [{"id": n} for n in range(1, 5)]


def everything_below(folder: Path) -> dict[str, tuple[int, int]]:
    """Names, sizes and times."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def ids(project: "ProjectFolder", name: str = "mes") -> list[str]:
    return [record["record_id"] for record in project.records(name)]


def many(count: int, begin: int = 0) -> list[dict[str, Any]]:
    """Lines of about 1 KiB, so that a block of 64 KiB holds some 60."""
    return [{"id": n, "x": "y" * 1000} for n in range(begin, begin + count)]


def test_a_second_run_with_nothing_new_commits_nothing_and_writes_no_file(project: "ProjectFolder") -> None:
    project.interface(record_id_paths=["/id"])
    project.data("mes.jsonl", [*GOOD, b"{", b""])
    first = project.run()
    assert (first.counts.fetched, first.counts.accepted, first.counts.dead_letters) == (6, 4, 1)
    before = everything_below(project.root / ".rootsys")
    second = project.run()
    assert (second.manifests, second.counts.fetched, second.start) == ([], 0, first.end)
    after = everything_below(project.root / ".rootsys")
    lock = str(project.log().folder / "lock")
    assert {name: seen for name, seen in after.items() if name != lock} == {
        name: seen for name, seen in before.items() if name != lock
    }


def test_appended_lines_are_the_only_ones_of_the_next_run(project: "ProjectFolder") -> None:
    project.interface(record_id_paths=["/id"])
    project.data("mes.jsonl", GOOD)
    project.run()
    project.data("mes.jsonl", [{"id": 5}], append=True)
    report = project.run()
    assert report.counts.fetched == 1
    assert ids(project) == ["1", "2", "3", "4", "5"]
    place = project.records()[-1]["metadata"]["source_details"]["position"]
    assert place == {"line": 5, "byte": 36, "length": 8}


def test_an_empty_source_commits_nothing(project: "ProjectFolder") -> None:
    project.interface()
    project.data("mes.jsonl", [])
    assert project.run().manifests == []
    assert project.log().head() is None


def test_blank_lines_alone_are_committed_as_skipped_and_not_read_again(project: "ProjectFolder") -> None:
    project.interface()
    project.data("mes.jsonl", [b"", b"  ", b"\r"])
    report = project.run()
    assert report.counts.skipped == {"blank": 3}
    assert report.manifests[0].files == ()
    assert project.run().manifests == []


@pytest.mark.parametrize("every", [{"records": 100}, {"bytes": 100_000}])
def test_a_long_run_commits_every_so_often(project: "ProjectFolder", every: dict[str, int]) -> None:
    project.interface(record_id_paths=["/id"], commit_every=every)
    project.data("mes.jsonl", many(500))
    report = project.run()
    assert len(report.manifests) >= 4
    for manifest in report.manifests[:-1]:
        # A commit happens at the end of the block in which it falls due.
        assert 100 <= manifest.counts.fetched + 30 <= 230
    assert ids(project) == [str(n) for n in range(500)]
    assert verify_log(project.log()) == []


def test_a_run_that_fails_half_way_keeps_its_commits_and_the_next_goes_on_from_there(project: "ProjectFolder") -> None:
    project.interface(record_id_paths=["/id"], on_fail="block", commit_every={"records": 100})
    path = project.data("mes.jsonl", [*many(300), b"{bad", *many(100, 301)])
    with pytest.raises(PermanentError) as caught:
        project.run()
    assert caught.value.code == "LINE.BLOCKED"
    assert '"line":301' in str(caught.value)
    kept = ids(project)
    assert kept == [str(n) for n in range(len(kept))]
    assert 100 <= len(kept) <= 300
    with pytest.raises(PermanentError):
        project.run()
    assert project.dead_letters() == []
    path.write_bytes(path.read_bytes().replace(b"{bad", b"{   "))
    path.write_bytes(path.read_bytes().replace(b"{   \n", b'{"id":300}\n'))
    project.run()
    assert ids(project) == [str(n) for n in range(401)]
    assert verify_log(project.log()) == []


def test_block_publishes_nothing_of_the_open_commit(project: "ProjectFolder") -> None:
    project.interface(on_fail="block", required_paths=["/id"])
    project.data("mes.jsonl", [*GOOD, b"{}"])
    with pytest.raises(PermanentError):
        project.run()
    assert (project.records(), project.dead_letters(), project.log().head()) == ([], [], None)


def test_skip_counts_what_it_leaves_out(project: "ProjectFolder") -> None:
    project.interface(on_fail="skip", required_paths=["/id"])
    project.data("mes.jsonl", [*GOOD, b"{}", b"{"])
    report = project.run()
    assert report.counts.skipped == {"MISSING_REQUIRED_PATH": 1, "PAYLOAD_DECODE_FAILED": 1}
    assert (len(project.records()), project.dead_letters()) == (4, [])
    assert project.run().manifests == []


def test_quarantine_is_the_default_and_names_the_physical_line(project: "ProjectFolder") -> None:
    project.interface()
    project.data("mes.jsonl", [b"", *GOOD, b"", b"{"])
    project.run()
    (letter,) = project.dead_letters()
    assert letter["reason_codes"] == ["PAYLOAD_DECODE_FAILED"]
    assert letter["errors"][0]["path"] == "/payload"
    assert letter["metadata"]["source_details"] == {
        "source_type": "file",
        "locator": "data/mes.jsonl",
        "position": {"line": 7, "byte": 38, "length": 1},
    }


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"max_run_records": 150}, "limits.max_run_records"),
        ({"max_run_bytes": 150_000}, "limits.max_run_bytes"),
    ],
)
def test_a_run_limit_ends_a_run_by_name_and_the_next_goes_on(
    project: "ProjectFolder", limits: dict[str, int], name: str
) -> None:
    project.interface(record_id_paths=["/id"], limits=limits)
    project.data("mes.jsonl", many(400))
    stopped: list[str | None] = []
    while not stopped or stopped[-1]:
        stopped.append(project.run().stopped)
        assert len(stopped) < 10
    assert stopped == [name] * (len(stopped) - 1) + [None]
    assert len(stopped) >= 3
    assert ids(project) == [str(n) for n in range(400)]


@pytest.mark.parametrize(
    ("units", "raw_bytes", "elapsed_s", "name"),
    [
        (9, 99, 0.9, None),
        (10, 99, 0.9, "limits.max_run_records"),
        (9, 100, 0.9, "limits.max_run_bytes"),
        (9, 99, 1.0, "limits.max_run_s"),
        (10, 100, 1.0, "limits.max_run_records"),
    ],
)
def test_the_first_limit_that_is_reached_gives_its_name(
    units: int, raw_bytes: int, elapsed_s: float, name: str | None
) -> None:
    limits = Limits(max_run_records=10, max_run_bytes=100, max_run_s=1)
    assert limit_reached(limits, units, raw_bytes, elapsed_s) == name
    assert limit_reached(Limits(), units, raw_bytes, elapsed_s) is None


def test_a_stop_that_is_asked_for_commits_what_was_read(project: "ProjectFolder") -> None:
    project.interface(record_id_paths=["/id"])
    project.data("mes.jsonl", many(300))
    loaded = project.load()
    report = run_interface(loaded.interface("mes"), loaded, run_id="r", stop=lambda: True)
    assert report.stopped == "stop requested"
    assert 0 < len(ids(project)) < 300
    project.run()
    assert ids(project) == [str(n) for n in range(300)]


def test_progress_hears_growing_sums(project: "ProjectFolder") -> None:
    project.interface()
    project.data("mes.jsonl", many(300))
    loaded = project.load()
    heard: list[tuple[int, int]] = []
    report = run_interface(
        loaded.interface("mes"),
        loaded,
        run_id="r",
        progress=lambda counts: heard.append((counts.fetched, counts.raw_bytes)),
    )
    assert heard == sorted(heard)
    assert heard[-1] == (300, report.counts.raw_bytes)
    assert report.counts.raw_bytes == (project.root / "data" / "mes.jsonl").stat().st_size


def test_another_source_name_stands_in_every_line(project: "ProjectFolder") -> None:
    project.interface()
    project.data("mes.jsonl", [*GOOD, b"{"])
    loaded = project.load()
    run_interface(loaded.interface("mes"), loaded, run_id="r", source="plant 7")
    assert {line["source"] for line in project.records() + project.dead_letters()} == {"plant 7"}


def test_two_versions_have_two_logs(project: "ProjectFolder") -> None:
    project.interface(version="v1", file="one")
    project.interface(version="v2", file="two", asset="mes_v2")
    project.data("mes.jsonl", GOOD)
    loaded = project.load()
    for version in ("v1", "v2"):
        run_interface(loaded.interface("mes", version), loaded, run_id="r")
    assert len(project.lines("records", version="v1")) == len(project.lines("records", version="v2")) == 4


@pytest.mark.parametrize(
    ("members", "error"),
    [
        pytest.param({"driver": {"kind": "jsonl", "input": "data/none.jsonl"}}, "FILE.NOT_FOUND", id="missing file"),
        pytest.param({"driver": {"kind": "jsonl"}}, "FILE.INPUT_MISSING", id="no input"),
        pytest.param({"driver": {"kind": "text", "input": "data"}}, "FILE.NOT_REGULAR", id="folder"),
    ],
)
def test_an_input_that_is_not_there_is_an_error_before_anything_is_written(
    project: "ProjectFolder", members: dict[str, Any], error: str
) -> None:
    project.interface(**members)
    with pytest.raises(ConfigError) as caught:
        project.run()
    assert caught.value.code == error
    assert project.log().head() is None


def test_a_broken_interface_file_does_not_run(project: "ProjectFolder") -> None:
    project.interface(required_paths=["id"])
    with pytest.raises(InvalidFileError, match="JSON_POINTER_INVALID"):
        project.run()


def fetched(project: "ProjectFolder") -> tuple[Any, list[Batch]]:
    loaded = project.load()
    line = open_line(loaded.interface("mes"), loaded)
    return line, list(line.driver.read(None))


def test_a_fetch_that_was_committed_in_part_is_taken_up_where_it_stopped(project: "ProjectFolder") -> None:
    project.interface(record_id_paths=["/id"], commit_every={"records": 100})
    project.data("mes.jsonl", many(300))
    line, batches = fetched(project)
    run_fetched(line, batches[:2], None, run_id="first try")
    run_fetched(line, batches, None, run_id="second try")
    run_fetched(line, batches, None, run_id="third try")
    assert ids(project) == [str(n) for n in range(300)]


def test_a_fetch_that_another_run_overtook_is_refused(project: "ProjectFolder") -> None:
    project.interface(record_id_paths=["/id"])
    project.data("mes.jsonl", many(100))
    line, batches = fetched(project)
    project.data("mes.jsonl", many(1, 100), append=True)
    project.run()
    with pytest.raises(FencedError, match="run it again"):
        run_fetched(line, batches, None, run_id="late")
    assert ids(project) == [str(n) for n in range(101)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=settings().max_examples // 5)
@given(
    lines=st.lists(
        st.sampled_from([b'{"id":1}', b'{"id":"a"}', b"{", b"", b"{}", b"\xff", b'{"id":null}']), max_size=30
    ),
    cuts=st.lists(st.integers(0, 30), max_size=3),
    on_fail=st.sampled_from(["quarantine", "skip"]),
)
def test_however_a_source_grows_every_line_has_one_outcome(
    project: "ProjectFolder",
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    cuts: list[int],
    on_fail: str,
) -> None:
    fresh = type(project)(tmp_path_factory.mktemp("grows") / "project")
    fresh.interface(record_id_paths=["/id"], required_paths=["/id"], on_fail=on_fail)
    fetched = outcomes = 0
    for cut in [*sorted(cuts), len(lines)]:
        fresh.data("mes.jsonl", lines[:cut])
        counts = fresh.run().counts
        fetched += counts.fetched
        outcomes += counts.accepted + counts.dead_letters + sum(counts.skipped.values())
    assert fetched == outcomes == len(lines)
    good = [line for line in lines if line in (b'{"id":1}', b'{"id":"a"}')]
    assert [json.dumps(record["payload"]["data"], separators=(",", ":")).encode() for record in fresh.records()] == good
    letters = 0 if on_fail == "skip" else len([line for line in lines if line]) - len(good)
    assert len(fresh.dead_letters()) == letters
    assert verify_log(fresh.log()) == []
