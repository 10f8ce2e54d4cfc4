"""``rootsys discover``: what a database holds, before there is an interface for it."""

from dataclasses import replace
from pathlib import Path

import click

from rootsys_dagster.cli.output import emit, table
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.ports import DriverContext
from rootsys_dagster.core.project import Project, load_project

KINDS = {"postgres": "postgres", "postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}


@click.command()
@click.argument("connection")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per table, with every column.")
@click.option("--project", type=PATH, help="Project folder.")
def discover(connection: str, as_json: bool, project: Path | None) -> None:
    """List the tables of a database, and by which columns each could be read on.

    Each with its columns, types, keys and size. CONNECTION is one of connections.json, the name of an interface that
    reads the database, a URL such as postgresql://app:${PASSWORD}@host/ops, or a file such as data/mes.db.
    """
    from rootsys_dagster.drivers.db.discover import discover as tables_of

    config, context = database(connection, load_project(project))
    found = list(tables_of(config, context))
    if as_json:
        for one in found:
            emit(one.to_json())
        return
    table(
        ["TABLE", "ROWS", "KEY", "WATERMARK", "TIE-BREAKER", "COLUMNS"],
        (
            [
                one.full_name,
                "" if one.rows is None else f"about {one.rows:,}",
                ", ".join(one.key),
                one.watermark or "",
                ", ".join(one.tie_breaker),
                ", ".join(f"{column.name} {column.type}".strip() for column in one.columns),
            ]
            for one in found
        ),
        right=[1],
    )


def database(connection: str, project: Project) -> tuple[DbConfig, DriverContext]:
    """Which database *connection* is: one of connections.json, that of an interface, a URL, or a file.

    Raises:
        ConfigError: it is none of them.
    """
    context = DriverContext(project.root, project.data_roots, 1 << 20, secrets_root=project.secrets_root)
    if (entry := project.connections.by_name.get(connection)) is not None:
        if entry.db is None:
            message = f"connection {connection} is of kind {entry.kind}; name one of a database"
            raise ConfigError(message, code="CONNECTION.KIND_WRONG")
        return entry.db, replace(context, name=connection)
    entry = next((entry for entry in project.interfaces if connection == entry.name), None)
    if entry is not None:
        interface = entry.require()
        if interface.driver.db is None:
            message = f"interface {connection} reads no database; name one that does, or a URL"
            raise ConfigError(message, code="DB.CONNECTION_INVALID")
        return interface.driver.db, replace(context, name=interface.name, version=interface.version)
    scheme, mark, rest = connection.partition("://")
    if mark:
        kind = KINDS.get(scheme)
        if kind is None:
            message = f"no database of kind {scheme} is read here; available: {', '.join(KINDS)}"
            raise ConfigError(message, code="DB.CONNECTION_INVALID")
        text = rest if kind == "sqlite" else connection
        return DbConfig.model_validate({"kind": kind, "connection": text}), context
    return DbConfig.model_validate({"kind": "sqlite", "connection": connection}), context
