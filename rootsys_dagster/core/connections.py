"""``connections.json`` at the project root: the systems that files of the project name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import Field

from rootsys_dagster.core.config import Config, Findings
from rootsys_dagster.core.connection_config import DB_KINDS, Connection
from rootsys_dagster.core.document import parse_document, read_file
from rootsys_dagster.core.errors import ConfigError, InvalidFileError, Problem
from rootsys_dagster.core.spelling import did_you_mean

CONNECTIONS: Final = "connections.json"


class ConnectionsFile(Config):
    """The file as a person writes it."""

    schema_uri: str | None = Field(
        default=None, alias="$schema", description="Where editors find the schema of this file."
    )
    connections: tuple[Connection, ...] = ()

    def check(self, at: str, found: Findings) -> None:
        kinds: dict[str, str] = {}
        for index, connection in enumerate(self.connections):
            here = f"{at}/connections/{index}"
            connection.check(here, found)
            if connection.name in kinds:
                found.add("CONNECTION_DUPLICATE", f"{here}/name", "is also the name of another; give it one of its own")
            kinds.setdefault(connection.name, connection.kind)
        for index, connection in enumerate(self.connections):
            if (destination := connection.default_destination) is not None:
                here = f"{at}/connections/{index}/default_destination/connection"
                check_reference(destination.connection, kinds, DB_KINDS, here, found)


def check_reference(
    name: str, kinds: Mapping[str, str], wanted: tuple[str, ...], pointer: str, found: Findings
) -> None:
    """Report a name that leads to no connection, or to one of another kind."""
    if name not in kinds:
        hint = did_you_mean(name, kinds) or f"; there are: {', '.join(sorted(kinds)) or 'none'}"
        found.add("CONNECTION_UNKNOWN", pointer, f"no connection is called {name!r} in {CONNECTIONS}{hint}")
    elif kinds[name] not in wanted:
        message = f"connection {name!r} is of kind {kinds[name]}, and here one of kind {' or '.join(wanted)} is needed"
        found.add("CONNECTION_KIND_WRONG", pointer, message)


@dataclass(frozen=True, slots=True)
class Connections:
    """The connections of a project by name; a broken file has problems and nothing else."""

    by_name: Mapping[str, Connection] = field(default_factory=dict[str, Connection])
    problems: tuple[Problem, ...] = ()

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each."""
        return {name: connection.kind for name, connection in self.by_name.items()}

    def get(self, name: str) -> Connection:
        """The connection called *name*.

        Raises:
            ConfigError: there is none.
        """
        try:
            return self.by_name[name]
        except KeyError:
            found = Findings()
            check_reference(name, self.kinds, (), "", found)
            raise ConfigError(found.problems[0].message, code="CONNECTION.UNKNOWN") from None

    def check_use(self, name: str, wanted: tuple[str, ...], pointer: str, found: Findings) -> None:
        """Report a name that a file cannot use, or all of them while connections.json is broken."""
        if self.problems:
            message = f"cannot be looked up: {CONNECTIONS} has problems, the first one at {self.problems[0]}"
            found.add("CONNECTIONS_UNUSABLE", pointer, message)
        else:
            check_reference(name, self.kinds, wanted, pointer, found)


def load_connections(root: Path) -> Connections:
    """The connections of the project in *root*; a project needs none. A broken file is never raised."""
    path = root / CONNECTIONS
    if not path.exists():
        return Connections()
    try:
        file = parse_document(ConnectionsFile, read_file(path), str(path))
    except InvalidFileError as error:
        return Connections(problems=error.problems)
    return Connections({connection.name: connection for connection in file.connections})
