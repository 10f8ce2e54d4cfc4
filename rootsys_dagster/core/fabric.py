"""The fabric file: which interfaces are merged, in which order, and which of several records with one key stays."""

from pathlib import Path
from typing import Final, Literal

from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Findings, Text
from rootsys_dagster.core.document import parse_document, read_file
from rootsys_dagster.core.interface import MakesAssets

RECORD_KEY: Final = ("source", "interface.name", "interface.version", "record_id")


class Fabric(MakesAssets):
    """The records of several interfaces or fabrics as one, duplicates apart."""

    model_config = ConfigDict(json_schema_extra={"required": ["name", "inputs"]})

    name: Text
    version: Text = "v1"
    inputs: tuple[Text, ...] = Field(
        description="Names of interfaces or fabrics, or name@version; earlier ones win.",
        json_schema_extra={"minItems": 1, "uniqueItems": True},
    )
    dedupe: bool = Field(default=True, description="false keeps every record.")
    key: tuple[str, ...] = Field(
        default=RECORD_KEY,
        description="What makes two records the same.",
        json_schema_extra={"const": list(RECORD_KEY)},
    )
    keep: Literal["first"] = Field(default="first", description="Which one of the same records stays.")

    def check(self, at: str, found: Findings) -> None:
        super().check(at, found)
        found.blank("FABRIC_NAME_EMPTY", f"{at}/name", self.name)
        found.blank("FABRIC_VERSION_EMPTY", f"{at}/version", self.version)
        if not self.inputs:
            found.add("FABRIC_INPUTS_EMPTY", f"{at}/inputs", "needs at least one interface or fabric")
        firsts: dict[str, int] = {}
        for index, name in enumerate(self.inputs):
            found.blank("FABRIC_INPUT_EMPTY", f"{at}/inputs/{index}", name)
            first = firsts.setdefault(name, index)
            if first < index:
                message = f"repeats input {first}; remove it"
                found.add("FABRIC_INPUT_REPEATED", f"{at}/inputs/{index}", message, [f"{at}/inputs/{first}"])
        if self.key != RECORD_KEY:
            message = f"must be [{', '.join(RECORD_KEY)}], the only key so far; leave it out"
            found.add("FABRIC_KEY_INVALID", f"{at}/key", message, [f"{at}/key/{i}" for i in range(len(self.key))])


def parse_fabric(text: bytes, path: str) -> Fabric:
    """The fabric that *text* describes; *path* is for messages.

    Raises:
        InvalidFileError: with every problem of the file.
    """
    return parse_document(Fabric, text, path)


def load_fabric(path: Path) -> Fabric:
    """The fabric in a file.

    Raises:
        InvalidFileError: the file cannot be read, or with every problem of it.
    """
    return parse_fabric(read_file(path), str(path))
