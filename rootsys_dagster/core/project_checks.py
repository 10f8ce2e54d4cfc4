"""What only all files of a project together show: repeated names, taken assets, inputs that lead nowhere."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rootsys_dagster.core.contract import ContractRegistry
from rootsys_dagster.core.errors import Problem
from rootsys_dagster.core.order import check_circles, check_depends_on, upstream_of
from rootsys_dagster.core.project_file import FabricFile, InterfaceFile, ProjectFile
from rootsys_dagster.core.reference import Found, Nothing, by_name, look_up


def check_together(
    interfaces: Sequence[InterfaceFile],
    fabrics: Sequence[FabricFile],
    registry: ContractRegistry | Problem,
) -> tuple[tuple[InterfaceFile, ...], tuple[FabricFile, ...]]:
    """The same files, each with the problems that it has with the others and with the contract registry.

    Args:
        registry: or the problem to report on each interface when there is none to ask.
    """
    found: Found = defaultdict(list)
    check_contracts(interfaces, registry, found)
    check_names(interfaces, fabrics, found)
    check_assets([*interfaces, *fabrics], found)
    check_dead_letter_files(interfaces, found)
    check_inputs(interfaces, fabrics, found)
    check_circles(fabrics, upstream_of(fabrics), "FABRIC_CYCLE", "/inputs", "is its own input", found)
    check_depends_on(interfaces, fabrics, found)
    return (
        tuple(replace(file, problems=(*file.problems, *found.get(file.path, ()))) for file in interfaces),
        tuple(replace(file, problems=(*file.problems, *found.get(file.path, ()))) for file in fabrics),
    )


def check_contracts(interfaces: Iterable[InterfaceFile], registry: ContractRegistry | Problem, found: Found) -> None:
    for file in interfaces:
        if file.interface is not None:
            problem = registry if isinstance(registry, Problem) else registry.problem(file.interface)
            if problem is not None:
                found[file.path].append(problem)


def check_names(interfaces: Iterable[InterfaceFile], fabrics: Iterable[FabricFile], found: Found) -> None:
    """Name and version are the folder of the commit log: two files with the same would write into one."""
    for code, files in (("INTERFACE_DUPLICATE", interfaces), ("FABRIC_DUPLICATE", fabrics)):
        same = defaultdict[tuple[str, str], list[ProjectFile]](list)
        for file in files:
            if file.model is not None:
                same[file.name, file.version].append(file)
        for owners in same.values():
            for file in owners if len(owners) > 1 else ():
                message = f"{others(file, owners)} has the same name and version; change one of them"
                found[file.path].append(Problem(code, "/name", message))
    taken = {file.name: file for file in interfaces if file.model is not None}
    for file in fabrics:
        if file.model is not None and file.name in taken:
            message = f"{taken[file.name].path.name} has the same name; call the fabric something else"
            found[file.path].append(Problem("FABRIC_NAME_TAKEN", "/name", message))


def check_assets(files: Sequence[ProjectFile], found: Found) -> None:
    """Each file makes two assets; Dagster takes no second one of the same name."""
    owners = defaultdict[str, list[ProjectFile]](list)
    for file in files:
        if file.model is not None:
            for asset in assets_of(file):
                owners[asset].append(file)
    for file in files:
        for asset in assets_of(file) if file.model is not None else ():
            # Files of one name are told so already; giving one of them another name solves this too.
            sharing = [
                other for other in owners[asset] if other is file or other.name != file.name or versions(file, other)
            ]
            if len(sharing) > 1:
                pointer = "/asset" if file.model is not None and file.model.asset else "/name"
                message = (
                    f'the asset {asset!r} is also made by {others(file, sharing)}; set another "asset" in one of them'
                )
                found[file.path].append(Problem("ASSET_NAME_TAKEN", pointer, message))
                break


def assets_of(file: ProjectFile) -> tuple[str, str]:
    return file.asset, f"{file.asset}_{'duplicates' if isinstance(file, FabricFile) else 'dead_letters'}"


def versions(file: ProjectFile, other: ProjectFile) -> bool:
    """Whether the two are versions of one interface or of one fabric."""
    return type(file) is type(other) and file.version != other.version


def others(file: ProjectFile, sharing: Iterable[ProjectFile]) -> str:
    return " and ".join(other.path.name for other in sharing if other is not file)


def check_dead_letter_files(interfaces: Iterable[InterfaceFile], found: Found) -> None:
    """A file sink cuts its file back to what it has written: a second one would lose the lines of the first."""
    owners = defaultdict[str, list[InterfaceFile]](list)
    for file in interfaces:
        policy = file.interface.dead_letters if file.interface is not None else None
        path = policy.file_for(file.name) if policy is not None else None
        if path is not None:
            owners[os.path.normpath(path)].append(file)
    for path, sharing in owners.items():
        kinds = {file.interface.dead_letters.kind for file in sharing if file.interface and file.interface.dead_letters}
        for file in sharing if len(sharing) > 1 and "file" in kinds else ():
            message = f"{path} is also that of {others(file, sharing)}; name another, or make all of them sqlite"
            found[file.path].append(Problem("DEAD_LETTERS_PATH_TAKEN", "/dead_letters/path", message))


def check_inputs(interfaces: Sequence[InterfaceFile], fabrics: Sequence[FabricFile], found: Found) -> None:
    everything = by_name([*interfaces, *fabrics])
    for file in fabrics:
        seen: dict[Path, int] = {}
        for index, reference in enumerate(file.fabric.inputs if file.fabric is not None else ()):
            pointer = f"/inputs/{index}"
            target = look_up(reference, everything, "interface or fabric")
            if isinstance(target, Nothing):
                found[file.path].append(Problem(f"FABRIC_INPUT_{target.code}", pointer, target.message))
            elif (first := seen.setdefault(target.path, index)) < index:
                message = f"is the same as input {first}; remove it"
                found[file.path].append(Problem("FABRIC_INPUT_REPEATED", pointer, message))
