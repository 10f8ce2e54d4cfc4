"""``rootsys propose``: a ready interface file for one table."""

import json
import secrets
from pathlib import Path
from typing import Any

import click

from rootsys_dagster.cli.discover import database
from rootsys_dagster.cli.output import note
from rootsys_dagster.cli.path import PATH
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.interface import parse_interface
from rootsys_dagster.core.project import Project, load_project
from rootsys_dagster.core.secret_ref import has_secret_ref, passwords_in


@click.command()
@click.argument("connection")
@click.argument("table")
@click.option("--name", help="Of the interface; made from the table by default.")
@click.option("--allow", is_flag=True, help="Put it on the allow list too, so that it runs at once.")
@click.option("--print", "only_print", is_flag=True, help="Print the file and write nothing.")
@click.option("--project", type=PATH, help="Project folder.")
def propose(connection: str, table: str, name: str | None, allow: bool, only_print: bool, project: Path | None) -> None:
    """Write an interface file for TABLE.

    It has aliases, trimmed texts, sentinel dates, record id, place of the next run.

    CONNECTION is as for 'rootsys discover'. Nothing is asked and nothing is written over.
    """
    from rootsys_dagster.drivers.db.discover import discover as tables_of
    from rootsys_dagster.drivers.db.propose import propose as proposal

    loaded = load_project(project)
    config, context = database(connection, loaded)
    named = connection if connection in loaded.connections.by_name else None
    if named is None:
        refuse_password(config.connection)
    found = list(tables_of(config, context, table))
    if len(found) != 1:
        what = "no table" if not found else f"{len(found)} tables ({', '.join(one.full_name for one in found)})"
        message = f"{what} called {table}; 'rootsys discover {connection}' lists them"
        raise ConfigError(message, code="DB.NOT_FOUND")
    document = proposal(found[0], config, named) | ({"name": name} if name else {})
    document = {"$schema": "../contracts/schemas/interface.schema.json", **document}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    path = loaded.root / "interfaces" / f"{document['name']}.json"
    # What is proposed has to be what the product itself accepts.
    parse_interface(text.encode(), str(path))
    if only_print:
        click.echo(text, nl=False)
        return
    write_new(path, text)
    note(f"wrote {path}")
    if allow:
        add_to_allowlist(loaded, document)
        note(f"{document['name']} {document['version']} may run; try: rootsys preview {document['name']}")
    else:
        note(f"to let it run, add it to {loaded.contracts_path}, or use --allow")


def refuse_password(connection: str) -> None:
    """A secret in clear is not written into a file."""
    if any(not has_secret_ref(password) for password in passwords_in(connection)):
        message = "the connection holds a password in clear; put it into the environment and write ${NAME} instead"
        raise ConfigError(message, code="SECRET_LITERAL")


def write_new(path: Path, text: str) -> None:
    """Create *path*; what is there stays.

    Raises:
        ConfigError: it is there already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        message = f"{path} is there already; remove it, or choose another --name"
        raise ConfigError(message, code="OUTPUT.EXISTS") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", code="OUTPUT.NOT_WRITABLE") from error


def add_to_allowlist(project: Project, document: dict[str, Any]) -> None:
    """Put the interface on the allow list, beside what is there."""
    path = project.contracts_path
    registry = json.loads(path.read_text()) if path.exists() else {"allowlist": []}
    entry = {"name": document["name"], "version": document["version"]}
    if entry in registry["allowlist"]:
        return
    registry["allowlist"].append(entry)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    path.parent.mkdir(exist_ok=True)
    temporary.write_text(json.dumps(registry, indent=2, ensure_ascii=False) + "\n")
    temporary.replace(path)
