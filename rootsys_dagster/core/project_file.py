"""A file of a project as it was found: interface, fabric or group, loaded or broken with its problems, never raised."""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

from pydantic_core import from_json

from rootsys_dagster.core.connected import connected, names_connections
from rootsys_dagster.core.connections import Connections, load_connections
from rootsys_dagster.core.document import parse_document, read_file
from rootsys_dagster.core.driver_config import FILE_KINDS
from rootsys_dagster.core.errors import ConfigError, InvalidFileError, Problem
from rootsys_dagster.core.fabric import Fabric, parse_fabric
from rootsys_dagster.core.group import Group, parse_group
from rootsys_dagster.core.interface import Interface, parse_interface, warnings_of
from rootsys_dagster.core.record_contract import RecordContract, bound

PROFILE_VARIABLE: Final = "ROOTSYS_LINT_PROFILE"
F = TypeVar("F", bound="FoundFile")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """What all kinds of file have in common.

    Args:
        sha256: of the bytes of the file, lower-case hex; empty when it could not be read.
        problems: of the file itself, then those it has with other files; empty means it may be used.
        warnings: what works and should not be left so.
        declared_name: what a broken file calls itself, as far as that can be read.
    """

    path: Path
    sha256: str = ""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    declared_name: str = ""

    @property
    def model(self) -> Interface | Fabric | Group | None:
        """What was loaded; None when the file itself is broken."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The name that it says; a broken file that does not say one goes by its file name."""
        return self.model.name if self.model is not None else self.declared_name or stem(self.path)

    def refuse_if_broken(self) -> None:
        """Raises: InvalidFileError: with every problem, when there is one."""
        if self.problems:
            raise InvalidFileError(str(self.path), self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFile(FoundFile):
    """A file that makes assets: what interfaces and fabrics have in common."""

    @property
    def model(self) -> Interface | Fabric | None:
        """What was loaded; None when the file itself is broken."""
        raise NotImplementedError

    @property
    def version(self) -> str:
        """Empty when the file is broken."""
        return self.model.version if self.model is not None else ""

    @property
    def asset(self) -> str:
        """The name of its asset."""
        return asset_name(self.model) if self.model is not None else asset_safe(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceFile(ProjectFile):
    """One ``interfaces/*.json``.

    Args:
        interface: with the rules of its record contract behind its own.
        contract_sha256: of the bytes of the record contract, None without one.
    """

    interface: Interface | None = None
    contract_sha256: str | None = None

    @property
    def model(self) -> Interface | None:
        return self.interface

    def require(self) -> Interface:
        """The interface, fit to run.

        Raises:
            InvalidFileError: with every problem of the file.
        """
        self.refuse_if_broken()
        assert self.interface is not None
        return self.interface


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricFile(ProjectFile):
    """One ``interfaces/*.fabric.json``."""

    fabric: Fabric | None = None

    @property
    def model(self) -> Fabric | None:
        return self.fabric

    def require(self) -> Fabric:
        """The fabric, fit to run.

        Raises:
            InvalidFileError: with every problem of the file.
        """
        self.refuse_if_broken()
        assert self.fabric is not None
        return self.fabric


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFile(FoundFile):
    """One ``interfaces/*.group.json``."""

    group: Group | None = None

    @property
    def model(self) -> Group | None:
        return self.group

    def require(self) -> Group:
        """The group, fit to run.

        Raises:
            InvalidFileError: with every problem of the file.
        """
        self.refuse_if_broken()
        assert self.group is not None
        return self.group


def stem(path: Path) -> str:
    """The name of a file without what says its kind."""
    return re.sub(r"(\.fabric|\.group)?\.json$", "", path.name)


def asset_name(described: Interface | Fabric) -> str:
    """The name of the asset: what the file asks for, else its name with every other character made ``_``."""
    return described.asset or asset_safe(described.name)


def asset_safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def read_interface_file(path: Path, root: Path | None = None, connections: Connections | None = None) -> InterfaceFile:
    """One interface file with its problems.

    Args:
        root: of the project; a link that leads out of it is a problem.
        connections: of the project; None reads them from where they would be, beside the folder of the file.
    """
    text = b""
    try:
        text = read_inside(path, root)
        interface = parse_interface(text, str(path))
        # Files have no secrets, and there may be thousands of them.
        warnings = tuple(warnings_of(interface)) if interface.driver.kind not in FILE_KINDS else ()
        if connections is None and names_connections(interface):
            connections = load_connections(root or path.absolute().parent.parent)
        if connections is not None and names_connections(interface):
            interface, more = connected(interface, connections, str(path))
            warnings = (*warnings, *more)
        if warnings and lint_profile() == "strict":
            raise InvalidFileError(str(path), warnings)
        interface, contract_sha256 = bind_contract(interface, path, root)
        return InterfaceFile(
            path=path, sha256=digest(text), interface=interface, warnings=warnings, contract_sha256=contract_sha256
        )
    except InvalidFileError as error:
        name = declared_name(text)
        return InterfaceFile(path=path, sha256=digest(text), problems=error.problems, declared_name=name)


def bind_contract(interface: Interface, path: Path, root: Path | None) -> tuple[Interface, str | None]:
    """The interface with the rules of the record contract that it names, and the hash of that file.

    Raises:
        InvalidFileError: the contract has problems, each told at ``/schema_ref`` of the interface at *path*.
    """
    if interface.schema_ref is None:
        return interface, None
    # A file on its own lies in interfaces/ of some project too.
    contract_path = (root or path.absolute().parent.parent) / f"{interface.schema_ref}.json"
    try:
        text = read_inside(contract_path, root)
        contract = parse_document(RecordContract, text, str(contract_path))
    except InvalidFileError as error:
        raise InvalidFileError(
            str(path),
            [
                Problem(one.code, "/schema_ref", f"{contract_path.name}{one.pointer}: {one.message}")
                for one in error.problems
            ],
        ) from error
    return bound(interface, contract), digest(text)


def lint_profile() -> Literal["legacy", "strict"]:
    """``ROOTSYS_LINT_PROFILE``: whether what should not be left so is a warning (the default) or an error.

    Raises:
        ConfigError: it is something else.
    """
    profile = os.environ.get(PROFILE_VARIABLE) or "legacy"
    if profile not in ("legacy", "strict"):
        message = f'{PROFILE_VARIABLE} must be "legacy" or "strict", not {profile!r}'
        raise ConfigError(message, code="PROFILE.UNKNOWN")
    return profile


def read_fabric_file(path: Path, root: Path | None = None) -> FabricFile:
    """One fabric file with its problems; with *root*, a link that leads out of it is a problem."""
    return _read(path, root, FabricFile, lambda text: {"fabric": parse_fabric(text, str(path))})


def read_group_file(path: Path, root: Path | None = None) -> GroupFile:
    """One group file with its problems; with *root*, a link that leads out of it is a problem."""
    return _read(path, root, GroupFile, lambda text: {"group": parse_group(text, str(path))})


def _read(path: Path, root: Path | None, make: Callable[..., F], loaded: Callable[[bytes], dict[str, Any]]) -> F:
    text = b""
    try:
        text = read_inside(path, root)
        return make(path=path, sha256=digest(text), **loaded(text))
    except InvalidFileError as error:
        return make(path=path, sha256=digest(text), problems=error.problems, declared_name=declared_name(text))


def read_inside(path: Path, root: Path | None) -> bytes:
    try:
        inside = root is None or path.resolve().is_relative_to(root)
    # Python 3.11 and 3.12 report a loop of links so; reading it then says the same in our words.
    except RuntimeError:
        inside = True
    if not inside:
        message = f"is a link that leads out of {root}; put the file itself here"
        raise InvalidFileError(str(path), [Problem("FILE_OUTSIDE_PROJECT", "", message)])
    return read_file(path)


def digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest() if text else ""


def declared_name(text: bytes) -> str:
    try:
        document = from_json(text)
    except ValueError:
        return ""
    name = cast(dict[str, object], document).get("name") if isinstance(document, dict) else None
    return name if isinstance(name, str) and name.strip() else ""
