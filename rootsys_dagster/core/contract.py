"""The contract registry: which interfaces, by exact name and version, may run at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from rootsys_dagster.core.config import Config, Findings, Text
from rootsys_dagster.core.document import parse_document, read_file
from rootsys_dagster.core.errors import InvalidFileError, Problem
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.spelling import did_you_mean


class Contract(Config):
    """One allowed interface."""

    name: Text
    version: Text


class Allowlist(Config):
    """The file: ``{"allowlist": [{"name": …, "version": …}]}``."""

    allowlist: tuple[Contract, ...] = Field(json_schema_extra={"minItems": 1})

    def check(self, at: str, found: Findings) -> None:
        if not self.allowlist:
            message = 'has no entry, so nothing may run; add {"name": …, "version": …}'
            found.add("CONTRACT_REGISTRY_EMPTY_ALLOWLIST", f"{at}/allowlist", message)
        firsts: dict[tuple[str, str], int] = {}
        for index, contract in enumerate(self.allowlist):
            here = f"{at}/allowlist/{index}"
            found.blank("CONTRACT_REGISTRY_EMPTY_NAME", f"{here}/name", contract.name)
            found.blank("CONTRACT_REGISTRY_EMPTY_VERSION", f"{here}/version", contract.version)
            first = firsts.setdefault((contract.name, contract.version), index)
            if first < index:
                given = [f"{here}/name", f"{here}/version", f"{at}/allowlist/{first}"]
                found.add("CONTRACT_REGISTRY_DUPLICATE_ENTRY", here, f"repeats entry {first}; remove it", given)


@dataclass(frozen=True, slots=True)
class ContractRegistry:
    """The loaded file: every allowed (name, version) with its place in it."""

    path: Path
    allowed: Mapping[tuple[str, str], int]

    def problem(self, interface: Interface) -> Problem | None:
        """Why *interface* may not run; None when it may."""
        if (interface.name, interface.version) in self.allowed:
            return None
        entry = json.dumps({"name": interface.name, "version": interface.version}, ensure_ascii=False)
        wanted = f"{interface.name} {interface.version}"
        hint = did_you_mean(wanted, (f"{name} {version}" for name, version in self.allowed))
        return Problem("CONTRACT_NOT_ALLOWLISTED", "/name", f"is not allowed to run; add {entry} to {self.path}{hint}")

    def require(self, interface: Interface, path: str | None = None) -> None:
        """Stop an interface that is not allowed.

        Args:
            path: of the interface file, for the message; the name of the interface when it came from no file.
        Raises:
            InvalidFileError: with the one code CONTRACT_NOT_ALLOWLISTED.
        """
        if (problem := self.problem(interface)) is not None:
            raise InvalidFileError(path or interface.name, [problem])


def load_registry(path: Path) -> ContractRegistry:
    """The contract registry in a file.

    Raises:
        InvalidFileError: the file cannot be read, or with every problem of it.
    """
    contracts = parse_document(Allowlist, read_file(path), str(path)).allowlist
    return ContractRegistry(path, {(contract.name, contract.version): i for i, contract in enumerate(contracts)})
