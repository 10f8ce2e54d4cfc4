"""What runs behind what: ``depends_on`` of interfaces, members of groups, and the order that follows for all."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rootsys_dagster.core.errors import Problem
from rootsys_dagster.core.project_file import FabricFile, GroupFile, InterfaceFile, ProjectFile, asset_safe
from rootsys_dagster.core.reference import Found, Nothing, by_name, look_up

Entry = InterfaceFile | FabricFile
E = TypeVar("E", InterfaceFile, FabricFile, Entry)
WHAT = "interface or fabric"


def is_enabled(file: Entry) -> bool:
    """Whether anything but its own name runs the file; a broken one is run, so that its problems are told."""
    return not isinstance(file, InterfaceFile) or file.interface is None or file.interface.enabled


def references(file: Entry) -> tuple[str, ...]:
    """What has to run before *file*, as its file names it; nothing when that cannot be read."""
    if isinstance(file, FabricFile):
        return file.fabric.inputs if file.fabric is not None else ()
    return file.interface.depends_on if file.interface is not None else ()


def upstream_of(files: Sequence[Entry]) -> dict[Path, list[Entry]]:
    """For each file those that run before it, as far as the names lead somewhere."""
    named = by_name(files)
    return {
        file.path: [
            target
            for target in (look_up(name, named, WHAT) for name in references(file))
            if not isinstance(target, Nothing)
        ]
        for file in files
    }


def in_order(files: Iterable[E], upstream: Mapping[Path, Sequence[Entry]]) -> list[E]:
    """*files* as they stand, each behind those of them that it needs; a circle is left as it is."""
    wanted = {file.path: file for file in files}
    ordered: dict[Path, E] = {}
    for file in wanted.values():
        # Without recursion: a chain may be as long as there are files.
        waiting: list[tuple[E, bool]] = [(file, False)]
        open_paths = set[Path]()
        while waiting:
            one, is_ready = waiting.pop()
            if one.path in ordered:
                continue
            if is_ready:
                ordered[one.path] = one
                continue
            open_paths.add(one.path)
            waiting.append((one, True))
            needed = [wanted[target.path] for target in upstream.get(one.path, ()) if target.path in wanted]
            waiting += [(target, False) for target in reversed(needed) if target.path not in open_paths]
    return list(ordered.values())


def check_depends_on(interfaces: Sequence[InterfaceFile], fabrics: Sequence[FabricFile], found: Found) -> None:
    """Report each name that leads nowhere, and each interface that waits for itself."""
    files: list[Entry] = [*interfaces, *fabrics]
    # Most projects have none, and looking for circles costs time.
    naming = [file for file in interfaces if references(file)]
    if not naming:
        return
    named = by_name(files)
    for file in naming:
        for problem in look_up_all(references(file), named, "/depends_on", "DEPENDS_ON"):
            found[file.path].append(problem)
    check_circles(naming, upstream_of(files), "DEPENDS_ON_CYCLE", "/depends_on", "waits for itself", found)


def check_circles(
    files: Iterable[Entry], upstream: Mapping[Path, Sequence[Entry]], code: str, at: str, what: str, found: Found
) -> None:
    """Report each file that leads, over what it needs, back to itself."""
    for file in files:
        if (way := way_back(file, upstream)) is not None:
            names = " → ".join(json.dumps(step.name, ensure_ascii=False) for step in way)
            found[file.path].append(Problem(code, at, f"{what}: {names}; take one of them out"))


def check_groups(groups: Sequence[GroupFile], files: Sequence[Entry]) -> tuple[GroupFile, ...]:
    """The same groups, each with the problems and warnings that it has with the other files."""
    if not groups:
        return ()
    named, upstream = by_name(files), upstream_of(files)
    checked = list[GroupFile]()
    for file in groups:
        problems, warnings = list(file.problems), list(file.warnings)
        if file.group is not None:
            problems += same_name(file, groups)
            problems += look_up_all(file.group.members, named, "/members", "GROUP_MEMBER")
            members = members_of(file, named)
            problems += not_runnable(members)
            warnings += wrong_order(members, upstream)
        checked.append(replace(file, problems=tuple(problems), warnings=tuple(warnings)))
    return tuple(checked)


def members_of(file: GroupFile, named: Mapping[str, Sequence[Entry]]) -> list[tuple[int, Entry]]:
    """The members that there are, each with its place in the group."""
    references = file.group.members if file.group is not None else ()
    found = [(index, look_up(name, named, WHAT)) for index, name in enumerate(references)]
    return [(index, target) for index, target in found if not isinstance(target, Nothing)]


def same_name(file: GroupFile, groups: Sequence[GroupFile]) -> list[Problem]:
    same = [one for one in groups if one is not file and asset_safe(one.name) == asset_safe(file.name)]
    if not same:
        return []
    message = f"{' and '.join(one.path.name for one in same)} would make a job of the same name; change one of them"
    return [Problem("GROUP_DUPLICATE", "/name", message)]


def look_up_all(
    references: Sequence[str], named: Mapping[str, Sequence[ProjectFile]], at: str, code: str
) -> list[Problem]:
    problems = list[Problem]()
    seen: dict[Path, int] = {}
    for index, reference in enumerate(references):
        target = look_up(reference, named, WHAT)
        if isinstance(target, Nothing):
            problems.append(Problem(f"{code}_{target.code}", f"{at}/{index}", target.message))
        elif (first := seen.setdefault(target.path, index)) < index:
            message = f"is the same as entry {first}; remove it"
            problems.append(Problem(f"{code}_REPEATED", f"{at}/{index}", message))
    return problems


def not_runnable(members: Iterable[tuple[int, Entry]]) -> list[Problem]:
    message = "reads standard input, so it runs from the command line only; take it out"
    return [
        Problem("GROUP_MEMBER_NOT_RUNNABLE", f"/members/{index}", message)
        for index, file in members
        if isinstance(file, InterfaceFile) and file.interface is not None and file.interface.driver.input == "-"
    ]


def wrong_order(members: Sequence[tuple[int, Entry]], upstream: Mapping[Path, Sequence[Entry]]) -> list[Problem]:
    places = {file.path: index for index, file in members}
    return [
        Problem(
            "GROUP_ORDER",
            f"/members/{index}",
            f"runs before {target.name}, which it needs and which is member {places[target.path]}; change the order",
        )
        for index, file in members
        for target in upstream[file.path]
        if places.get(target.path, -1) > index
    ]


def way_back(start: E, upstream: Mapping[Path, Sequence[Entry]]) -> list[Entry] | None:
    """The shortest way from *start* over what it needs back to itself."""
    ways: list[list[Entry]] = [[start]]
    seen = set[Path]()
    for way in ways:
        for target in upstream.get(way[-1].path, ()):
            if target.path == start.path:
                return [*way, target]
            if target.path not in seen:
                seen.add(target.path)
                ways.append([*way, target])
    return None
