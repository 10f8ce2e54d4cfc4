"""The JSON Schemas of the files of a project, made from the models: what editors and humans use, not the loader.

``python -m rootsys_dagster.core.schema`` writes them to contracts/schemas/.
"""

import json
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from rootsys_dagster.core.config import Config
from rootsys_dagster.core.connections import ConnectionsFile
from rootsys_dagster.core.fabric import Fabric
from rootsys_dagster.core.group import Group
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.record_contract import RecordContract

SCHEMAS: Final[dict[str, type[Config]]] = {
    "interface.schema.json": Interface,
    "fabric.schema.json": Fabric,
    "group.schema.json": Group,
    "contract.schema.json": RecordContract,
    "connections.schema.json": ConnectionsFile,
}
FOLDER: Final = Path(__file__).parents[2] / "contracts" / "schemas"


class FileSchema(GenerateJsonSchema):
    """Draft 2020-12 as a person would write it: no titles, and a member that is not given is left out, never null."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        # Blocks say their defaults inside, member by member.
        if "default" in made and (made["default"] is None or isinstance(made["default"], dict)):
            del made["default"]
        return made

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        # The bounds of the type are those of 64 bits; the bounds that mean something stand at the member.
        return {"type": "integer"}


def schema_text(model: type[Config]) -> str:
    """The schema of one kind of file, as it is written to disk."""
    made = model.model_json_schema(schema_generator=FileSchema)
    for part in (made, *made.get("$defs", {}).values()):
        part.pop("title", None)
    schema = {"$schema": FileSchema.schema_dialect, "title": f"{model.__name__} file", **made}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Write every schema into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in SCHEMAS.items():
        (folder / name).write_text(schema_text(model), encoding="utf-8")


if __name__ == "__main__":
    write_schemas(FOLDER)
