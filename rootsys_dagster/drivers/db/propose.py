"""An interface file for a table, ready to run: aliases, trimmed texts, sentinel dates, ids, the place of the next run.

Source: spec/3-orchestration.md 3.1, wizard.
"""

import re
from typing import Any, Final

from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.drivers.db.discover import FoundColumn, FoundTable

SENTINELS: Final = ("0001-01-01", "9999-12-31")
LATENESS_S: Final = 60


def propose(table: FoundTable, config: DbConfig, connection: str | None = None) -> dict[str, Any]:
    """The interface file for *table*, as a JSON object.

    Args:
        connection: the name of one in connections.json, which then says all but what to read.
    Raises:
        ConfigError: the table has no columns that could be read.
    """
    if not table.columns:
        raise ConfigError(f"table {table.full_name} has no columns", code="DB.NOT_FOUND")
    aliases = alias_of_each(table.columns)
    query = query_of(table, config.kind, aliases)
    db = config.model_dump(mode="json", exclude_unset=True, exclude={"query", "table"})
    by_itself = {"kind": "db", "db": {"kind": config.kind, **db, "query": query}}
    proposed: dict[str, Any] = {
        "name": alias(table.name).replace("_", "-"),
        "version": "v1",
        "description": f"Rows of {table.full_name}",
        "driver": {"kind": "db", "connection": connection, "db": {"query": query}} if connection else by_itself,
        "payload_format": "json",
    }
    if table.key:
        pointers = [f"/{aliases[name]}" for name in table.key]
        proposed |= {"record_id_paths": pointers, "required_paths": pointers, "record_id_policy": "strict"}
    if table.watermark is not None:
        place: dict[str, Any] = {"field": aliases[table.watermark]}
        if table.tie_breaker:
            place["tie_breaker"] = [aliases[name] for name in table.tie_breaker]
        column = next(column for column in table.columns if column.name == table.watermark)
        if column.kind == "time":
            place["lateness_s"] = LATENESS_S
        proposed["incremental"] = place
    return proposed


def query_of(table: FoundTable, kind: str, aliases: dict[str, str]) -> str:
    """The SELECT that gives every column its alias."""
    members = ", ".join(
        expression(column, kind, is_place=column.name in (table.watermark, *table.key))
        + (f" AS {aliases[column.name]}")
        for column in table.columns
    )
    parts = [part for part in (table.schema, table.name) if part is not None]
    return f"SELECT {members} FROM {'.'.join(quoted(part, kind) for part in parts)}"


def expression(column: FoundColumn, kind: str, *, is_place: bool) -> str:
    """A column without padding, and without the dates that stand for none; what orders a read stays as it is."""
    name = quoted(column.name, kind)
    if is_place or column.kind not in ("char", "date", "time"):
        return name
    if column.kind == "char":
        return f"RTRIM({name})"
    low, high = SENTINELS
    if column.kind == "date":
        return f"NULLIF(NULLIF({name}, '{low}'), '{high}')"
    return f"CASE WHEN {name} >= '{low} 00:00:01' AND {name} < '{high}' THEN {name} END"


def alias_of_each(columns: tuple[FoundColumn, ...]) -> dict[str, str]:
    """The alias of each column, no two alike."""
    found: dict[str, str] = {}
    for column in columns:
        base = name = alias(column.name)
        number = 2
        while name in found.values():
            name, number = f"{base}_{number}", number + 1
        found[column.name] = name
    return found


def alias(name: str) -> str:
    """*name* in lower case without special characters: ``DCORD#`` is ``dcord``."""
    plain = re.sub(r"[^a-z0-9_]", "", name.lower().replace(" ", "_").replace("-", "_"))
    return plain if plain and not plain[0].isdigit() else f"c_{plain}"


def quoted(name: str, kind: str) -> str:
    """*name* as an identifier."""
    mark = "`" if kind == "mysql" else '"'
    return mark + name.replace(mark, mark * 2) + mark
