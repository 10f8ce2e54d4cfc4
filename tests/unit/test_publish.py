"""A dead-letter sink of an interface: it holds what is committed, and destroys nothing that others wrote."""

from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.log.followers import read_state
from rootsys_dagster.pipeline.publish import FollowerReport, publish
from tests.conftest import ProjectFolder

FOREIGN = [
    pytest.param(b'{"id":1}\n{"id":2}\n', id="the input itself"),
    pytest.param(b"name,size\n", id="no JSON"),
    pytest.param(b"\xff\xfe\x00", id="no text and no line"),
    pytest.param(b"\n", id="a blank line"),
    pytest.param(b'{"interface":{"name":"qms","version":"v1"},"reason_codes":[]}\n', id="another interface"),
    pytest.param(b'{"interface":{"name":"mes","version":"v2"},"reason_codes":[]}\n', id="another version"),
    pytest.param(b'{"interface":{"name":"mes","version":"v1"},"record_id":"1"}\n', id="records"),
]


def published(project: ProjectFolder, **dead_letters: Any) -> tuple[FollowerReport, Path]:
    project.interface(required_paths=["/id"], dead_letters={"kind": "file", "path": "dead.jsonl", **dead_letters})
    project.data("mes.jsonl", [b'{"id":1}', b'{"no":"id"}'])
    project.run()
    loaded = project.load()
    (report,) = publish(loaded.interface("mes"), loaded)
    return report, project.root / dead_letters.get("path", "dead.jsonl")


@pytest.mark.parametrize("content", FOREIGN)
def test_a_file_that_others_wrote_is_left_as_it_is(project: ProjectFolder, content: bytes) -> None:
    (project.root / "dead.jsonl").write_bytes(content)
    report, path = published(project)
    assert report.error is not None
    assert report.error.code == "DEAD_LETTERS.PATH"
    assert "name another file" in report.error.message
    assert (report.seq, path.read_bytes()) == (0, content)


def test_a_folder_moved_to_hits_no_file_of_others_either(project: ProjectFolder) -> None:
    published(project)
    other = project.root / "other" / "dead.jsonl"
    other.parent.mkdir()
    other.write_bytes(b"mine\n")
    report, path = published(project, path="other/dead.jsonl")
    assert report.error is not None
    assert path.read_bytes() == b"mine\n"


def test_what_others_put_in_its_place_later_is_left_as_it_is_too(project: ProjectFolder) -> None:
    _, path = published(project)
    path.write_bytes(b'{"id":1}\n' * 1000)
    loaded = project.load()
    (report,) = publish(loaded.interface("mes"), loaded)
    assert report.error is not None
    assert report.error.code == "DEAD_LETTERS.PATH"
    assert path.read_bytes() == b'{"id":1}\n' * 1000


def test_dead_letters_of_an_earlier_state_root_are_replaced(project: ProjectFolder) -> None:
    _, path = published(project)
    (project.root / ".rootsys").rename(project.root / "earlier")
    report, _ = published(project)
    assert report.error is None
    assert len(path.read_bytes().splitlines()) == 1


def test_a_first_write_that_was_cut_off_is_taken_up(project: ProjectFolder) -> None:
    project.interface(required_paths=["/id"], dead_letters={"path": "dead.jsonl"})
    project.data("mes.jsonl", [b"{}"])
    project.run()
    (segment,) = (project.log().folder / "dead_letters").iterdir()
    away = segment.rename(project.root / "away")
    loaded, path = project.load(), project.root / "dead.jsonl"
    (report,) = publish(loaded.interface("mes"), loaded)
    assert report.error is not None
    state = read_state(project.log(), report.name)
    # The file is known to be ours before its first line, of which a crash may leave any part.
    assert (state.seq, state.mark["path"], state.mark["bytes"]) == (0, str(path), 0)
    away.rename(segment)
    path.write_bytes(segment.read_bytes()[:10])
    (report,) = publish(loaded.interface("mes"), loaded)
    assert (report.error, report.seq, path.read_bytes()) == (None, 1, segment.read_bytes())


def test_a_table_in_another_database_is_filled_from_the_first_commit(project: ProjectFolder) -> None:
    report, _ = published(project, kind="sqlite", path="a/dead.db")
    assert report.written == 1
    # The other database has the table already, from another interface.
    project.interface("qms", required_paths=["/id"], dead_letters={"kind": "sqlite", "path": "b/dead.db"})
    project.data("qms.jsonl", [b"{}"])
    project.run("qms")
    loaded = project.load()
    publish(loaded.interface("qms"), loaded)
    report, _ = published(project, kind="sqlite", path="b/dead.db")
    assert (report.error, report.written) == (None, 1)


def test_two_interfaces_do_not_share_a_dead_letter_file(project: ProjectFolder) -> None:
    for version in ("v1", "v2"):
        project.interface(version=version, file=version, asset=f"mes_{version}", dead_letters={})
    first, second = project.load().interfaces
    for file, other in ((first, "v2.json"), (second, "v1.json")):
        assert [(one.code, one.pointer) for one in file.problems] == [("DEAD_LETTERS_PATH_TAKEN", "/dead_letters/path")]
        assert other in file.problems[0].message


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        pytest.param({"path": "d/x"}, {"path": "d/./x"}, True, id="two spellings of one file"),
        pytest.param({"path": "d/x"}, {"path": "d/x", "kind": "sqlite"}, True, id="a file and a database"),
        pytest.param({"path": "d/x", "kind": "sqlite"}, {"path": "d/x", "kind": "sqlite"}, False, id="one database"),
        pytest.param({}, {}, False, id="two names"),
    ],
)
def test_which_dead_letter_files_clash(
    project: ProjectFolder, one: dict[str, str], other: dict[str, str], shared: bool
) -> None:
    project.interface("mes", dead_letters=one)
    project.interface("qms", dead_letters=other)
    assert [bool(file.problems) for file in project.load().interfaces] == [shared, shared]
