"""A project folder: what is found in it, what its files have against each other, and that no file breaks the others."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rootsys_dagster.core.errors import ConfigError, InvalidFileError
from rootsys_dagster.core.project import Project, asset_name, load_project
from rootsys_dagster.core.project_file import ProjectFile


class Folder:
    """A project folder under construction; every interface written is allowed unless said otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.allowed: list[dict[str, str]] = [{"name": "always", "version": "v1"}]
        (root / "interfaces").mkdir()
        (root / "contracts").mkdir()
        self.allow()

    def allow(self) -> None:
        (self.root / "contracts" / "allowlist.json").write_text(json.dumps({"allowlist": self.allowed}))

    def interface(self, file: str, name: str, version: str = "v1", allow: bool = True, **members: Any) -> None:
        self.write(file, {"name": name, "version": version, **members})
        if allow and {"name": name, "version": version} not in self.allowed:
            self.allowed.append({"name": name, "version": version})
            self.allow()

    def fabric(self, file: str, name: str, inputs: list[str], **members: Any) -> None:
        self.write(file, {"name": name, "inputs": inputs, **members})

    def write(self, file: str, document: Any) -> None:
        (self.root / "interfaces" / file).write_text(json.dumps(document))

    def load(self) -> Project:
        return load_project(self.root)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    for name in ("ROOTSYS_PROJECT", "ROOTSYS_STATE_ROOT", "ROOTSYS_DATA_ROOTS"):
        monkeypatch.delenv(name, raising=False)
    return Folder(tmp_path.resolve())


def codes(file: ProjectFile) -> list[tuple[str, str]]:
    return [(problem.code, problem.pointer) for problem in file.problems]


def test_interfaces_and_fabrics_are_found_by_their_names_and_nothing_else_is(folder: Folder) -> None:
    folder.interface("mes.json", "mes")
    folder.interface("a.b.json", "qms")
    folder.fabric("defects.fabric.json", "defects", ["mes", "qms"])
    folder.write("quality.group.json", {"name": "quality", "members": ["mes"]})
    folder.write(".hidden.json", {"broken": 1})
    (folder.root / "interfaces" / "notes.md").write_text("no")
    (folder.root / "interfaces" / "sub").mkdir()
    (folder.root / "interfaces" / "sub" / "deep.json").write_text("no")
    project = folder.load()
    assert [(file.path.name, file.name, file.problems) for file in project.interfaces] == [
        ("a.b.json", "qms", ()),
        ("mes.json", "mes", ()),
    ]
    assert [(file.path.name, file.name, file.problems) for file in project.fabrics] == [
        ("defects.fabric.json", "defects", ())
    ]
    assert project.contract_problems == ()


def test_a_broken_file_keeps_its_problems_and_leaves_the_others_usable(folder: Folder) -> None:
    folder.interface("mes.json", "mes")
    folder.write("qms.json", {"name": "qms", "versoin": "v1"})
    (folder.root / "interfaces" / "rubbish.json").write_bytes(b"\xff\x00")
    (folder.root / "interfaces" / "folder.json").mkdir()
    os.mkfifo(folder.root / "interfaces" / "pipe.json")
    (folder.root / "interfaces" / "defects.fabric.json").write_text("[]")
    project = folder.load()
    assert project.interface("mes").require().name == "mes"
    assert {file.name: [code for code, _ in codes(file)] for file in (*project.interfaces, *project.fabrics)} == {
        "mes": [],
        "qms": ["FILE_MEMBER_REQUIRED", "FILE_MEMBER_UNKNOWN"],
        "rubbish": ["FILE_JSON_INVALID"],
        "folder": ["FILE_UNREADABLE"],
        "pipe": ["FILE_UNREADABLE"],
        "defects": ["FILE_TYPE_INVALID"],
    }
    with pytest.raises(InvalidFileError, match="did you mean 'version'"):
        project.interface("qms").require()


def test_a_link_that_leads_out_of_the_project_is_refused_and_one_inside_is_not(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.json"
    outside.write_text('{"name": "mes", "version": "v1"}')
    (folder.root / "interfaces" / "mes.json").symlink_to(outside)
    folder.interface("real.txt", "qms")
    (folder.root / "interfaces" / "qms.json").symlink_to("real.txt")
    (folder.root / "interfaces" / "loop.json").symlink_to("loop.json")
    found = {file.path.name: codes(file) for file in folder.load().interfaces}
    assert found == {
        "loop.json": [("FILE_UNREADABLE", "")],
        "mes.json": [("FILE_OUTSIDE_PROJECT", "")],
        "qms.json": [],
    }


@pytest.mark.parametrize(
    ("allowlist", "found", "message"),
    [
        pytest.param(
            '{"allowlist": [{"name": "mes", "version": "v2"}]}',
            [("CONTRACT_NOT_ALLOWLISTED", "/name")],
            'is not allowed to run; add {"name": "mes", "version": "v1"} to contracts/allowlist.json'
            "; did you mean 'mes v2'?",
            id="RS-43 not in it",
        ),
        pytest.param(
            '{"allowlist": [{"name": "mes", "version": "v1"}, {"name": "", "version": ""}]}',
            [("CONTRACT_REGISTRY_UNUSABLE", "/name")],
            "cannot be looked up in contracts/allowlist.json, which has 2 problems: "
            "/allowlist/1/name: must not be blank [CONTRACT_REGISTRY_EMPTY_NAME]",
            id="broken",
        ),
        pytest.param(
            None,
            [("CONTRACT_REGISTRY_UNUSABLE", "/name")],
            "cannot be looked up in contracts/allowlist.json, which has 1 problem: "
            "(file): does not exist; check the path [FILE_UNREADABLE]",
            id="missing",
        ),
    ],
)
def test_an_interface_that_the_registry_does_not_allow_cannot_be_run(
    folder: Folder, allowlist: str | None, found: list[tuple[str, str]], message: str
) -> None:
    folder.interface("mes.json", "mes", allow=False)
    path = folder.root / "contracts" / "allowlist.json"
    path.unlink() if allowlist is None else path.write_text(allowlist)
    entry = folder.load().interface("mes")
    assert codes(entry) == found
    assert entry.problems[0].message == message
    with pytest.raises(InvalidFileError):
        entry.require()


def test_another_registry_can_be_named(folder: Folder, tmp_path: Path) -> None:
    folder.interface("mes.json", "mes", allow=False)
    other = tmp_path / "other.json"
    other.write_text('{"allowlist": [{"name": "mes", "version": "v1"}]}')
    assert load_project(folder.root, contracts_path=other).interface("mes").problems == ()


def test_two_files_with_one_name_and_version_are_told_of_each_other(folder: Folder) -> None:
    folder.interface("a.json", "mes")
    folder.interface("b.json", "mes")
    first, second = folder.load().interfaces
    assert codes(first) == codes(second) == [("INTERFACE_DUPLICATE", "/name")]
    assert "b.json has the same name and version" in first.problems[0].message
    assert "a.json has the same name and version" in second.problems[0].message


@pytest.mark.parametrize(
    ("other", "members", "pointer"),
    [
        pytest.param("line-1", {}, "/name", id="two names made into one"),
        pytest.param("other", {"asset": "line_1"}, "/asset", id="a name that was asked for"),
        pytest.param("line_1_dead_letters", {}, "/name", id="the dead letters of the other"),
    ],
)
def test_two_files_that_make_one_asset_are_asked_for_another_name(
    folder: Folder, other: str, members: dict[str, Any], pointer: str
) -> None:
    folder.interface("a.json", "line 1")
    folder.interface("b.json", other, **members)
    first, second = folder.load().interfaces
    assert (codes(first), codes(second)) == ([("ASSET_NAME_TAKEN", "/name")], [("ASSET_NAME_TAKEN", pointer)])
    assert 'set another "asset" in one of them' in first.problems[0].message


def test_two_versions_of_one_interface_need_an_asset_name(folder: Folder) -> None:
    folder.interface("a.json", "mes")
    folder.interface("b.json", "mes", "v2")
    assert [codes(file) for file in folder.load().interfaces] == [[("ASSET_NAME_TAKEN", "/name")]] * 2
    folder.interface("b.json", "mes", "v2", asset="mes_v2")
    project = folder.load()
    assert [codes(file) for file in project.interfaces] == [[], []]
    assert [asset_name(file.require()) for file in project.interfaces] == ["mes", "mes_v2"]


def test_an_asset_is_named_after_its_file_with_other_characters_made_underscores(folder: Folder) -> None:
    folder.interface("a.json", "Prüfstand 3/b-1")
    assert folder.load().interfaces[0].asset == "Pr_fstand_3_b_1"


@pytest.mark.parametrize(
    ("inputs", "found", "message"),
    [
        pytest.param(["mes", "qms"], [], "", id="interfaces"),
        pytest.param(["mes@v1", "two@v2", "two@v1"], [], "", id="versions"),
        pytest.param(["all"], [], "", id="a fabric"),
        pytest.param(["a@b"], [], "", id="an @ in the name itself"),
        pytest.param(["broken"], [], "", id="a file that is broken keeps what it has committed"),
        pytest.param(["mse"], [("FABRIC_INPUT_UNKNOWN", "/inputs/0")], "did you mean 'mes'?", id="no such name"),
        pytest.param(
            ["mes@v9"], [("FABRIC_INPUT_UNKNOWN", "/inputs/0")], "'mes@v9'; did you mean 'mes'?", id="version"
        ),
        pytest.param(
            ["qms", "two"], [("FABRIC_INPUT_AMBIGUOUS", "/inputs/1")], "write 'two@v1' or 'two@v2'", id="which version"
        ),
        pytest.param(
            ["mes", "mes@v1"], [("FABRIC_INPUT_REPEATED", "/inputs/1")], "the same as input 0", id="written in two ways"
        ),
    ],
)
def test_each_input_of_a_fabric_names_one_file(
    folder: Folder, inputs: list[str], found: list[tuple[str, str]], message: str
) -> None:
    for name in ("mes", "qms", "a@b"):
        folder.interface(f"{name}.json", name)
    folder.interface("two-1.json", "two")
    folder.interface("two-2.json", "two", "v2", asset="two_2")
    folder.write("broken.json", {"name": "broken"})
    folder.fabric("all.fabric.json", "all", ["mes"])
    folder.fabric("tested.fabric.json", "tested", inputs)
    project = folder.load()
    tested = project.fabric("tested")
    assert codes(tested) == found
    assert all(message in problem.message for problem in tested.problems)
    if not found:
        assert [file.name for file in project.inputs(tested)] == [
            name.removesuffix("@v1").removesuffix("@v2") for name in inputs
        ]


def test_a_fabric_that_feeds_itself_is_refused_with_the_way_around(folder: Folder) -> None:
    folder.interface("mes.json", "mes")
    folder.fabric("a.fabric.json", "a", ["mes", "b"])
    folder.fabric("b.fabric.json", "b", ["c@v1"])
    folder.fabric("c.fabric.json", "c", ["a"])
    folder.fabric("d.fabric.json", "d", ["a"])
    folder.fabric("e.fabric.json", "e", ["e"])
    found = {file.name: file.problems for file in folder.load().fabrics}
    assert {name for name, problems in found.items() if problems} == {"a", "b", "c", "e"}
    assert found["a"][0].code == "FABRIC_CYCLE"
    assert '"a" → "b" → "c" → "a"' in found["a"][0].message
    assert '"e" → "e"' in found["e"][0].message


def test_a_fabric_may_not_be_called_like_an_interface_which_stays_usable(folder: Folder) -> None:
    folder.interface("mes.json", "mes")
    folder.interface("qms.json", "qms")
    folder.fabric("mes.fabric.json", "mes", ["qms"])
    project = folder.load()
    assert codes(project.fabric("mes")) == [("FABRIC_NAME_TAKEN", "/name")]
    assert codes(project.interface("mes")) == []


def test_a_name_is_looked_up_with_or_without_its_version(folder: Folder) -> None:
    folder.interface("a.json", "mes")
    folder.interface("b.json", "mes", "v2", asset="mes2")
    folder.interface("c.json", "qms")
    project = folder.load()
    assert project.interface("qms").version == "v1"
    assert project.interface("mes", "v2").path.name == "b.json"
    assert project.interface("mes@v1").path.name == "a.json"
    with pytest.raises(ConfigError, match="'mes' has 2 versions; write 'mes@v1' or 'mes@v2'"):
        project.interface("mes")
    with pytest.raises(ConfigError, match=r"no interface is called 'qmss'; did you mean 'qms'\?"):
        project.interface("qmss")
    with pytest.raises(ConfigError, match="no fabric is called 'qms'; see 'rootsys show'"):
        project.fabric("qms")


def test_the_hash_of_a_file_is_that_of_its_bytes(folder: Folder) -> None:
    folder.write("mes.json", 1)
    (folder.root / "interfaces" / "mes.json").write_bytes(b"abc")
    assert folder.load().interfaces[0].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_fingerprint_changes_with_every_file_and_with_nothing_else(folder: Folder) -> None:
    folder.interface("mes.json", "mes")
    seen = [folder.load().fingerprint()]
    (folder.root / "data").mkdir()
    assert folder.load().fingerprint() == seen[0]
    folder.interface("qms.json", "qms", allow=False)
    seen.append(folder.load().fingerprint())
    folder.allowed.append({"name": "qms", "version": "v1"})
    folder.allow()
    seen.append(folder.load().fingerprint())
    os.utime(folder.root / "interfaces" / "mes.json", ns=(1, 1))
    seen.append(folder.load().fingerprint())
    (folder.root / "interfaces" / "qms.json").rename(folder.root / "interfaces" / "qms2.json")
    seen.append(folder.load().fingerprint())
    assert len(set(seen)) == len(seen)


def test_state_and_data_are_inside_the_project_unless_said_otherwise(folder: Folder) -> None:
    project = folder.load()
    assert project.root == folder.root
    assert project.state_root == folder.root / ".rootsys"
    assert project.data_roots == (folder.root,)
    assert project.contracts_path == folder.root / "contracts" / "allowlist.json"


def test_the_environment_moves_state_and_data_and_an_argument_wins(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROOTSYS_STATE_ROOT", "var/state")
    monkeypatch.setenv("ROOTSYS_DATA_ROOTS", os.pathsep.join(["data", "/srv/../srv/incoming", ""]))
    project = folder.load()
    assert project.state_root == folder.root / "var" / "state"
    assert project.data_roots == (folder.root / "data", Path("/srv/incoming"))
    assert load_project(folder.root, tmp_path / "other").state_root == tmp_path / "other"


def test_the_project_is_the_nearest_folder_with_interfaces(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.root / "data" / "deep").mkdir(parents=True)
    monkeypatch.chdir(folder.root / "data" / "deep")
    assert load_project().root == folder.root
    monkeypatch.chdir("/")
    monkeypatch.setenv("ROOTSYS_PROJECT", str(folder.root))
    assert load_project().root == folder.root


def test_a_folder_without_interfaces_is_no_project(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(ConfigError, match="set ROOTSYS_PROJECT to one, or make one with 'rootsys init'"):
        load_project()
    with pytest.raises(ConfigError, match="is no project: it has no interfaces/ folder"):
        load_project(folder.root / "contracts")
