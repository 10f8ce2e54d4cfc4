"""What Dagster is told before anything runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from rootsys_dagster import definitions
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.defs import InterfaceFolderComponent, replay
from rootsys_dagster.defs.build import build_definitions
from rootsys_dagster.defs.jobs import MAX_JOBS, REPLAY
from rootsys_dagster.defs.storage import home_path, psycopg2_url
from tests.conftest import ProjectFolder
from tests.services import REPOSITORY, dagster_env


def graph(project: ProjectFolder) -> AssetGraph:
    return build_definitions(project.root).resolve_asset_graph()


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey.from_user_string(name)


def groups(project: ProjectFolder) -> dict[str, str]:
    """By asset, those that replay left out."""
    found = graph(project)
    all_groups = {one.to_user_string(): found.get(one).group_name for one in found.get_all_asset_keys()}
    return {name: group for name, group in all_groups.items() if group != replay.GROUP}


def job_names(project: ProjectFolder) -> set[str]:
    """Those that read a source."""
    names = {job.name for job in build_definitions(project.root).get_repository_def().get_all_jobs()}
    return names - {"__ASSET_JOB", REPLAY}


def test_an_interface_is_a_pair_downstream_of_the_folder_it_reads(project: ProjectFolder) -> None:
    project.interface(
        "mes", owners=["team:quality"], tags={"domain": "quality"}, driver={"kind": "text", "input": "data/in/*.txt"}
    )
    found = graph(project)
    for name in ("mes", "mes_dead_letters"):
        node = found.get(key(name))
        assert node.parent_keys == {key("folder/data/in")}
        assert (node.owners, node.tags["domain"], node.kinds) == (("team:quality",), "quality", {"text"})
        (reference,) = node.metadata["dagster/code_references"].code_references
        assert reference.file_path == str(project.root / "interfaces" / "mes.json")
    assert found.get(key("mes_dead_letters")).description == "Dead letters of mes@v1."
    assert not found.get(key("folder/data/in")).is_executable
    assert {check.name for check in found.asset_check_keys} == {"conservation", "contract", "open_dead_letters"}


def test_a_fabric_is_a_pair_downstream_of_the_records_it_names(project: ProjectFolder) -> None:
    project.interface("mes")
    project.interface("qms")
    project.fabric("defects", ["qms", "mes"])
    project.fabric("everything", ["defects"])
    found = graph(project)
    assert found.get(key("defects")).parent_keys == {key("mes"), key("qms")}
    assert found.get(key("defects_duplicates")).parent_keys == {key("mes"), key("qms")}
    assert found.get(key("everything")).parent_keys == {key("defects")}


def test_the_code_version_changes_with_the_file_and_with_nothing_else(project: ProjectFolder) -> None:
    project.interface("mes")
    before = graph(project).get(key("mes")).code_version
    project.interface("qms")
    assert graph(project).get(key("mes")).code_version == before
    project.interface("mes", required_paths=["/id"])
    assert graph(project).get(key("mes")).code_version != before


def test_a_broken_file_keeps_its_assets_and_they_say_what_is_wrong(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.interface("mes")
    project.interface("broken", required_paths=["x"], on_fail="explode")
    for name in ("broken", "broken_dead_letters"):
        node = graph(project).get(key(name))
        assert (node.tags["rootsys/status"], node.group_name) == ("invalid", "invalid")
        assert {row.data["pointer"] for row in node.metadata["problems"].records} == {"/required_paths/0", "/on_fail"}
    assert job_names(project) == {"mes", "broken", "all"}
    monkeypatch.setenv("DAGSTER_IS_DEFS_VALIDATION_CLI", "1")
    with pytest.raises(ConfigError, match=r"broken\.json.*/on_fail"):
        build_definitions(project.root)


def test_two_files_of_one_asset_name_break_each_other_and_nothing_else(project: ProjectFolder) -> None:
    project.interface("mes")
    project.interface("a-b", file="one")
    project.interface("a.b", file="two")
    assert groups(project) == {
        "mes": "interfaces",
        "mes_dead_letters": "interfaces",
        "a_b": "invalid",
        "a_b_dead_letters": "invalid",
        "invalid/two_json": "invalid",
        "invalid/two_json_dead_letters": "invalid",
        "folder/data": "sources",
    }
    assert job_names(project) == {"mes", "a_b", "two_json", "all"}


def test_a_broken_file_never_takes_the_place_of_a_good_one(project: ProjectFolder) -> None:
    project.interface("mes")
    project.fabric("defects", ["mes"])
    for name in ("mes_dead_letters", "defects_duplicates", "a.b", "a_b"):
        (project.root / "interfaces" / f"{name}.json").write_text("{")
    found = groups(project)
    assert (found["mes_dead_letters"], found["defects_duplicates"]) == ("interfaces", "fabrics")
    assert list(found.values()).count("invalid") == 8
    build_definitions(project.root).get_repository_def()


def test_a_broken_file_that_is_switched_off_is_shown_and_turns_nothing_red(project: ProjectFolder) -> None:
    project.interface("mes", enabled=False)
    (project.root / "contracts" / "allowlist.json").write_text('{"allowlist": [{"name": "x", "version": "v1"}]}')
    node = graph(project).get(key("mes"))
    assert (node.group_name, node.is_executable) == ("invalid", False)
    assert job_names(project) == set()


def test_folders_that_look_alike_in_a_key_are_one_source(project: ProjectFolder) -> None:
    project.interface("one", driver={"kind": "text", "input": "data/a b/x.txt"})
    project.interface("two", driver={"kind": "text", "input": "data/a_b/x.txt"})
    found = graph(project)
    assert found.get(key("one")).parent_keys == found.get(key("two")).parent_keys == {key("folder/data/a_b")}


@pytest.mark.parametrize(
    ("members", "why"),
    [
        pytest.param({"enabled": False}, "switched off", id="switched off"),
        pytest.param({"driver": {"kind": "text", "input": "-"}}, "standard input", id="standard input"),
    ],
)
def test_what_dagster_cannot_run_is_shown_with_the_reason(project: ProjectFolder, members: dict, why: str) -> None:
    project.interface("mes", **members)
    found = graph(project)
    for name in ("mes", "mes_dead_letters"):
        assert not found.get(key(name)).is_executable
        assert why in (found.get(key(name)).description or "")
    assert job_names(project) == set()


@pytest.mark.parametrize(
    "driver",
    [
        {"kind": "rest", "rest": {"url": "https://user:s3cret@api.example.com/x?key=s3cret"}},
        {"kind": "db", "db": {"kind": "postgres", "connection": "postgres://u:s3cret@db/x", "query": "SELECT 1"}},
    ],
    ids=["rest", "db"],
)
def test_no_secret_of_an_interface_file_is_part_of_its_assets(project: ProjectFolder, driver: dict) -> None:
    project.interface("mes", driver=driver)
    found = graph(project)
    shown = [(node.key, node.description, node.metadata, node.tags) for node in found.asset_nodes]
    assert found.get(key("mes")).is_executable
    assert "s3cret" not in repr(shown)


@pytest.mark.parametrize(
    "name",
    ["input", "all", "class", "validate", "rootsys_validate", "__ASSET_JOB", "1", "mes__line", "é"],
)
def test_an_interface_may_have_any_name(project: ProjectFolder, name: str) -> None:
    project.interface("mes")
    project.interface(name, file="odd")
    for file in ("mes", name):
        project.data(f"{file}.jsonl", [{"id": 1}])
    assert len(job_names(project)) == 3
    assert build_definitions(project.root).resolve_job_def("all").execute_in_process().success
    assert project.log(name).last_seq() == project.log("mes").last_seq() == 1


def test_above_some_hundreds_of_interfaces_only_the_job_for_all_remains(project: ProjectFolder) -> None:
    for n in range(MAX_JOBS + 1):
        project.interface(f"i{n}")
    assert job_names(project) == {"all"}


def test_a_project_without_interfaces_has_no_job_that_would_succeed_by_doing_nothing(project: ProjectFolder) -> None:
    assert job_names(project) == set()


def test_definitions_are_built_once_per_state_of_the_files(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.interface("mes")
    monkeypatch.setenv("ROOTSYS_PROJECT", str(project.root))
    first = definitions.defs()
    assert definitions.defs() is first
    project.interface("qms")
    assert definitions.defs() is not first


def test_loading_opens_no_connection_and_writes_nothing(project: ProjectFolder) -> None:
    project.interface("mes")
    # The audit hook sees every attempt, also one that a library would swallow.
    code = """
import sys
sys.addaudithook(lambda event, args: sys.exit(f"{event} {args}") if event.startswith("socket.connect") else None)
from rootsys_dagster.definitions import defs
defs().get_repository_def()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.root, env=dagster_env(project.root), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in project.root.iterdir()} == {"interfaces", "contracts", "data"}


class Louder(InterfaceFolderComponent):
    """What somebody would write on top of the component."""

    def get_asset_spec(self, *args, **kwargs) -> dg.AssetSpec:
        spec = super().get_asset_spec(*args, **kwargs)
        return spec.replace_attributes(key=spec.key.with_prefix("plant"), group_name="plant")

    def execute(self, *args, **kwargs):
        report = super().execute(*args, **kwargs)
        report.stopped = "a limit of the subclass"
        return report


def test_a_component_can_change_how_assets_look_and_how_they_run(project: ProjectFolder) -> None:
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    context = dg.ComponentTree.for_test().load_context
    built = Louder(project=str(project.root)).build_defs(context)
    assert built.resolve_asset_graph().get(key("plant/mes")).group_name == "plant"
    result = built.resolve_job_def("mes").execute_in_process()
    assert {event.asset_key for event in result.get_asset_materialization_events()} == {
        key("plant/mes"),
        key("plant/mes_dead_letters"),
    }
    assert len(project.records()) == 1


@pytest.mark.parametrize(
    "command", [["check", "defs"], ["list", "defs", "--json"], ["launch", "--job", "mes"]], ids=" ".join
)
def test_dg_knows_the_project(project: ProjectFolder, command: list[str]) -> None:
    shutil.copy(REPOSITORY / "pyproject.toml", project.root)
    (project.root / "rootsys_dagster").symlink_to(REPOSITORY / "rootsys_dagster")
    project.interface("mes")
    project.data("mes.jsonl", [{"id": 1}])
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), *command],
        cwd=project.root,
        env=dagster_env(project.root),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert project.log().last_seq() == (1 if "launch" in command else 0)
    if "--json" in command:
        assert {"mes", "mes_dead_letters"} <= {asset["asset_key"] for asset in json.loads(done.stdout)["assets"]}


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_the_postgres_driver_is_spelled_out_whatever_the_url_says(scheme: str) -> None:
    assert psycopg2_url(f"{scheme}://u:p%40s@h:5/d?sslmode=require") == (
        "postgresql+psycopg2://u:p%40s@h:5/d?sslmode=require"
    )


def test_the_home_decides_where_history_lies_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    assert home_path(".dagster") == str(tmp_path / "home" / ".dagster")
    assert home_path("/elsewhere") == "/elsewhere"
    monkeypatch.delenv("DAGSTER_HOME")
    monkeypatch.chdir(tmp_path)
    assert home_path(".dagster") == str(tmp_path / ".dagster")
