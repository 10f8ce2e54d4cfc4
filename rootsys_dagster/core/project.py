"""The project folder: its interface, fabric and group files, its contract registry, and where state and data may be."""

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from rootsys_dagster.core.connections import CONNECTIONS, Connections, load_connections
from rootsys_dagster.core.contract import ContractRegistry, load_registry
from rootsys_dagster.core.errors import ConfigError, InvalidFileError, Problem
from rootsys_dagster.core.order import Entry, check_groups, members_of
from rootsys_dagster.core.project_checks import check_together
from rootsys_dagster.core.project_file import (
    FabricFile,
    GroupFile,
    InterfaceFile,
    ProjectFile,
    asset_name,
    read_fabric_file,
    read_group_file,
    read_interface_file,
)
from rootsys_dagster.core.reference import Nothing, by_name, look_up
from rootsys_dagster.core.spelling import did_you_mean, shown

__all__ = [
    "FabricFile",
    "GroupFile",
    "InterfaceFile",
    "Project",
    "ProjectFile",
    "asset_name",
    "load_project",
    "read_interface_file",
    "secrets_root",
]

INTERFACES: Final = "interfaces"
CONTRACTS: Final = "contracts"
ALLOWLIST: Final = "contracts/allowlist.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project folder as it was when it was loaded. All paths are absolute and resolved.

    Args:
        contract_problems: of the contract registry; each interface then has a problem that points there.
        data_roots: the folders that paths in files may lead into.
        secrets_root: the folder of ``file://`` references.
    """

    root: Path
    state_root: Path
    data_roots: tuple[Path, ...]
    secrets_root: Path
    contracts_path: Path
    contract_problems: tuple[Problem, ...] = ()
    connections: Connections = field(default_factory=Connections)
    interfaces: tuple[InterfaceFile, ...] = ()
    fabrics: tuple[FabricFile, ...] = ()
    groups: tuple[GroupFile, ...] = ()

    def interface(self, name: str, version: str | None = None) -> InterfaceFile:
        """The file of an interface; *name* may also be ``name@version``.

        Raises:
            ConfigError: there is none, or there are several versions and none was asked for.
        """
        file = look_up(name if version is None else f"{name}@{version}", by_name(self.interfaces), "interface")
        if isinstance(file, Nothing):
            raise ConfigError(file.message, code="PROJECT.INTERFACE_" + file.code)
        return file

    def fabric(self, name: str, version: str | None = None) -> FabricFile:
        """The file of a fabric; *name* may also be ``name@version``.

        Raises:
            ConfigError: there is none, or there are several versions and none was asked for.
        """
        file = look_up(name if version is None else f"{name}@{version}", by_name(self.fabrics), "fabric")
        if isinstance(file, Nothing):
            raise ConfigError(file.message, code="PROJECT.FABRIC_" + file.code)
        return file

    def file(self, name: str) -> Entry:
        """The interface or fabric in ``interfaces/<name>``.

        Raises:
            ConfigError: the file is no longer there.
        """
        found = next((file for file in (*self.interfaces, *self.fabrics) if file.path.name == name), None)
        if found is None:
            message = f"{self.root / INTERFACES / name} is gone; take it out of its groups, or put it back"
            raise ConfigError(message, code="PROJECT.FILE_GONE")
        return found

    def group(self, name: str) -> GroupFile:
        """The file of a group.

        Raises:
            ConfigError: there is none.
        """
        found = next((file for file in self.groups if file.name == name), None)
        if found is None:
            hint = did_you_mean(name, (file.name for file in self.groups)) or "; groups are interfaces/*.group.json"
            raise ConfigError(f"no group is called {shown(name)}{hint}", code="PROJECT.GROUP_UNKNOWN")
        return found

    def members(self, file: GroupFile) -> list[tuple[int, Entry]]:
        """The files that a group runs, in its order, each with its place from 0 on.

        Raises:
            InvalidFileError: with every problem of the group file.
        """
        file.require()
        return members_of(file, by_name([*self.interfaces, *self.fabrics]))

    def inputs(self, file: FabricFile) -> tuple[InterfaceFile | FabricFile, ...]:
        """The files that a fabric merges, in its order.

        Raises:
            InvalidFileError: with every problem of the fabric file.
        """
        named = by_name([*self.interfaces, *self.fabrics])
        found = [look_up(name, named, "input") for name in file.require().inputs]
        return tuple(target for target in found if not isinstance(target, Nothing))

    def fingerprint(self) -> str:
        """Changes when connections.json or a file under interfaces/ or contracts/ may have: names, sizes, times."""
        found = hashlib.sha256()
        below = [path for folder in (INTERFACES, CONTRACTS) for path in sorted((self.root / folder).rglob("*"))]
        for path in (self.root / CONNECTIONS, *below):
            try:
                status = path.stat()
                seen = (path.as_posix(), status.st_size, status.st_mtime_ns)
            except OSError:
                seen = (path.as_posix(), None, None)
            found.update(repr(seen).encode())
        return found.hexdigest()


def load_project(
    root: Path | None = None, state_root: Path | None = None, contracts_path: Path | None = None
) -> Project:
    """The project in a folder. A broken file in it stays, with its problems.

    Args:
        root: else ROOTSYS_PROJECT, else the nearest folder from here upwards that has interfaces/.
        state_root: else ROOTSYS_STATE_ROOT, else .rootsys; the variable and the default are relative to the root.
        contracts_path: the contract registry, else contracts/allowlist.json.
    Raises:
        ConfigError: there is no such folder, or it has no interfaces/.
    """
    root = find_root(root)
    connections = load_connections(root)
    interfaces, fabrics, groups = read_files(root, connections)
    contracts_path = contracts_path.resolve() if contracts_path else root / ALLOWLIST
    registry, contract_problems = read_registry(contracts_path, root)
    interfaces, fabrics = check_together(interfaces, fabrics, registry)
    roots = os.environ.get("ROOTSYS_DATA_ROOTS", "").split(os.pathsep)
    return Project(
        root=root,
        state_root=(state_root or root / (os.environ.get("ROOTSYS_STATE_ROOT") or ".rootsys")).resolve(),
        data_roots=tuple((root / data_root).resolve() for data_root in roots if data_root) or (root,),
        secrets_root=secrets_root(root),
        contracts_path=contracts_path,
        contract_problems=contract_problems,
        connections=connections,
        interfaces=interfaces,
        fabrics=fabrics,
        groups=check_groups(groups, [*interfaces, *fabrics]),
    )


def secrets_root(root: Path) -> Path:
    """ROOTSYS_SECRETS_ROOT, else systemd's CREDENTIALS_DIRECTORY, else secrets/ in the project."""
    named = os.environ.get("ROOTSYS_SECRETS_ROOT") or os.environ.get("CREDENTIALS_DIRECTORY") or "secrets"
    return (root / named).resolve()


def read_registry(path: Path, root: Path) -> tuple[ContractRegistry | Problem, tuple[Problem, ...]]:
    """The contract registry, named as seen from the project; or what to tell each interface, and its own problems."""
    seen = path.relative_to(root) if path.is_relative_to(root) else path
    try:
        return replace(load_registry(path), path=seen), ()
    except InvalidFileError as error:
        count = f"{len(error.problems)} problem{'' if len(error.problems) == 1 else 's'}"
        message = f"cannot be looked up in {seen}, which has {count}: {error.problems[0]}"
        return Problem("CONTRACT_REGISTRY_UNUSABLE", "/name", message), error.problems


def find_root(root: Path | None) -> Path:
    named = root or os.environ.get("ROOTSYS_PROJECT")
    if named:
        folder = Path(named).resolve()
        if (folder / INTERFACES).is_dir():
            return folder
        message = (
            f"{folder} is no project: it has no {INTERFACES}/ folder; name another, or make one with 'rootsys init'"
        )
        raise ConfigError(message, code="PROJECT.NOT_FOUND")
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / INTERFACES).is_dir():
            return folder
    message = (
        f"neither {here} nor a folder above it has {INTERFACES}/; "
        "go to a project, set ROOTSYS_PROJECT to one, or make one with 'rootsys init'"
    )
    raise ConfigError(message, code="PROJECT.NOT_FOUND")


def read_files(
    root: Path, connections: Connections
) -> tuple[tuple[InterfaceFile, ...], tuple[FabricFile, ...], tuple[GroupFile, ...]]:
    """Every interface, fabric and group file, by name; hidden ones are none of them."""
    folder = root / INTERFACES
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be listed: {error.strerror}", code="PROJECT.NOT_FOUND") from error
    fabrics = [name for name in names if name.endswith(".fabric.json")]
    groups = [name for name in names if name.endswith(".group.json")]
    interfaces = [name for name in names if not name.endswith((".fabric.json", ".group.json"))]
    return (
        tuple(read_interface_file(folder / name, root, connections) for name in interfaces),
        tuple(read_fabric_file(folder / name, root) for name in fabrics),
        tuple(read_group_file(folder / name, root) for name in groups),
    )
