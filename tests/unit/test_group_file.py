"""Group files and ``depends_on``: codes, what they have with the other files, and the order that follows."""

import json
from typing import Any

import pytest

from rootsys_dagster.core.errors import ConfigError, InvalidFileError
from rootsys_dagster.core.group import parse_group
from rootsys_dagster.core.order import in_order, upstream_of
from rootsys_dagster.core.project_file import FoundFile
from tests.conftest import ProjectFolder

DAILY = {"cron": "0 2 * * *"}


def group(**members: Any) -> bytes:
    return json.dumps({"name": "nightly", "members": ["mes", "qms"], **members}).encode()


def found(file: FoundFile) -> list[tuple[str, str]]:
    return [(problem.code, problem.pointer) for problem in file.problems]


def test_a_group_goes_on_after_a_failure_and_runs_by_no_clock_unless_it_says_so() -> None:
    loaded = parse_group(group(), "x")
    assert (loaded.members, loaded.stop_on_failure, loaded.schedules, loaded.interval) == (
        ("mes", "qms"), False, (), None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("members", "code", "pointer"),
    [
        ({"name": " "}, "GROUP_NAME_EMPTY", "/name"),
        ({"members": []}, "GROUP_MEMBERS_EMPTY", "/members"),
        ({"members": ["mes", " "]}, "GROUP_MEMBER_EMPTY", "/members/1"),
        ({"members": ["mes", "qms", "mes"]}, "GROUP_MEMBER_REPEATED", "/members/2"),
        ({"members": "mes"}, "FILE_TYPE_INVALID", "/members"),
        ({"stop_on_failure": "yes"}, "FILE_TYPE_INVALID", "/stop_on_failure"),
        ({"schedules": [{"cron": "0 20 2 * * *"}]}, "SCHEDULE_CRON_INVALID", "/schedules/0/cron"),
        ({"schedules": [DAILY | {"timezone": "Mars"}]}, "SCHEDULE_TIMEZONE_UNKNOWN", "/schedules/0/timezone"),
        ({"schedules": [DAILY, DAILY]}, "GROUP_SCHEDULE_REPEATED", "/schedules/1"),
        ({"schedules": [{}]}, "FILE_MEMBER_REQUIRED", "/schedules/0/cron"),
        ({"interval": {"every_s": 0}}, "INTERVAL_EVERY_S_INVALID", "/interval/every_s"),
        ({"interval": {"every_s": 5, "max_runs": 0}}, "INTERVAL_MAX_RUNS_INVALID", "/interval/max_runs"),
        ({"asset": "x"}, "FILE_MEMBER_UNKNOWN", "/asset"),
        ({"owners": ["nobody"]}, "OWNER_INVALID", "/owners/0"),
        ({"tags": {"dagster/x": "1"}}, "TAG_NAME_INVALID", "/tags"),
    ],
)  # fmt: skip
def test_a_group_with_one_fault_gets_its_code_at_its_pointer_and_nothing_else(
    members: dict[str, Any], code: str, pointer: str
) -> None:
    with pytest.raises(InvalidFileError) as caught:
        parse_group(group(**members), "interfaces/nightly.group.json")
    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == [(code, pointer)]


def test_a_member_that_leads_nowhere_is_a_problem_of_the_group_and_of_nothing_else(project: ProjectFolder) -> None:
    project.interface("mes")
    project.interface("mes", "v2", file="mes2", asset="mes_2")
    project.interface("pipe", driver={"kind": "jsonl", "input": "-"})
    project.group("nightly", ["nobody", "mes", "mes@v1", "mes@v2", "pipe"])
    loaded = project.load()
    assert found(loaded.group("nightly")) == [
        ("GROUP_MEMBER_UNKNOWN", "/members/0"),
        ("GROUP_MEMBER_AMBIGUOUS", "/members/1"),
        ("GROUP_MEMBER_NOT_RUNNABLE", "/members/4"),
    ]
    assert [file.problems for file in loaded.interfaces] == [(), (), ()]


def test_one_file_twice_under_two_names_and_one_name_for_two_groups_are_problems(project: ProjectFolder) -> None:
    project.interface("mes")
    project.group("night ly", ["mes", "mes@v1"])
    project.group("night_ly", ["mes"])
    first, second = project.load().groups
    assert found(first) == [("GROUP_DUPLICATE", "/name"), ("GROUP_MEMBER_REPEATED", "/members/1")]
    assert found(second) == [("GROUP_DUPLICATE", "/name")]


def test_a_broken_member_does_not_break_the_group_and_one_before_what_it_needs_is_a_warning(
    project: ProjectFolder,
) -> None:
    project.interface("broken", driver={"kind": "jsonl"}, required_paths=["x"])
    project.interface("mes")
    project.interface("late", depends_on=["mes"])
    project.fabric("defects", ["mes"])
    project.group("nightly", ["broken", "defects", "late", "mes"])
    (group,) = project.load().groups
    assert group.problems == ()
    assert [(warning.code, warning.pointer) for warning in group.warnings] == [
        ("GROUP_ORDER", "/members/1"), ("GROUP_ORDER", "/members/2"),
    ]  # fmt: skip
    assert [(index, file.name) for index, file in project.load().members(group)] == [
        (0, "broken"), (1, "defects"), (2, "late"), (3, "mes"),
    ]  # fmt: skip


def test_a_group_nobody_knows_is_refused_with_a_hint(project: ProjectFolder) -> None:
    project.interface("mes")
    project.group("nightly", ["mes"])
    with pytest.raises(ConfigError, match=r"no group is called 'nigthly'; did you mean 'nightly'\?"):
        project.load().group("nigthly")


def test_depends_on_leads_somewhere_else_than_back(project: ProjectFolder) -> None:
    project.interface("a", depends_on=["c"])
    project.interface("b", depends_on=["a", "a@v1"])
    project.interface("c", depends_on=["f"])
    project.interface("d", depends_on=["d", "nobody"])
    project.fabric("f", ["b"])
    loaded = project.load()
    assert {file.name: found(file) for file in loaded.interfaces} == {
        "a": [("DEPENDS_ON_CYCLE", "/depends_on")],
        "b": [("DEPENDS_ON_REPEATED", "/depends_on/1"), ("DEPENDS_ON_CYCLE", "/depends_on")],
        "c": [("DEPENDS_ON_CYCLE", "/depends_on")],
        "d": [("DEPENDS_ON_UNKNOWN", "/depends_on/1"), ("DEPENDS_ON_CYCLE", "/depends_on")],
    }
    assert (
        loaded.interface("a").problems[0].message
        == 'waits for itself: "a" → "c" → "f" → "b" → "a"; take one of them out'
    )


def test_everything_runs_behind_what_it_needs_and_else_as_it_stands(project: ProjectFolder) -> None:
    project.interface("a", depends_on=["f"])
    for name in ("b", "c"):
        project.interface(name)
    project.interface("d", depends_on=["a"])
    project.fabric("f", ["c"])
    loaded = project.load()
    files = [*loaded.interfaces, *loaded.fabrics]
    assert [file.name for file in in_order(files, upstream_of(files))] == ["c", "f", "a", "b", "d"]


def test_a_circle_still_has_an_order_and_a_long_chain_too(project: ProjectFolder) -> None:
    for number in range(1500):
        project.interface(f"n{number:04}", depends_on=[f"n{(number + 1) % 1500:04}"])
    files = project.load().interfaces
    assert len(in_order(files, upstream_of(files))) == 1500
