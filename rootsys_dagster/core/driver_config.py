"""``driver``: which source system to read, and the one block that belongs to it."""

from typing import Final, Literal

from pydantic import ConfigDict, Field, JsonValue

from rootsys_dagster.core.config import Config, Findings, Text, needs_block
from rootsys_dagster.core.db_config import DbConfig
from rootsys_dagster.core.rest_config import RestConfig
from rootsys_dagster.core.stream_config import StreamConfig

DriverKind = Literal["jsonl", "text", "binary", "rest", "db", "stream"]
FILE_KINDS: Final = ("jsonl", "text", "binary")
BLOCKS: Final = ("rest", "db", "stream")
FILE_MEMBERS: Final = ("input", "eof", "on_replace")


def db_by_itself() -> JsonValue:
    """The JSON Schema condition that a database is described in its block, unless a connection is named."""
    unnamed: JsonValue = {
        "properties": {"kind": {"const": "db"}},
        "required": ["kind"],
        "not": {"required": ["connection"]},
    }
    return {"if": unnamed, "then": {"properties": {"db": {"required": ["kind", "connection"]}}}}


class DriverConfig(Config):
    """One source system."""

    model_config = ConfigDict(
        json_schema_extra={"required": ["kind"], "allOf": [*map(needs_block, BLOCKS), db_by_itself()]}
    )

    kind: DriverKind = "jsonl"
    connection: Text | None = Field(
        default=None,
        description="For rest and db: the name of one in connections.json; the block says only what to read there.",
    )
    input: str | None = Field(default=None, description="For files: relative to the project root; - is standard input.")
    content_type: str | None = Field(default=None, description="Replaces the content type that the source names.")
    filename: str | None = Field(default=None, description="Replaces the file name that the source names.")
    eof: Literal["wait", "accept"] = Field(default="wait", description="What a last line without a line end is.")
    on_replace: Literal["fail", "restart"] = Field(default="fail", description="What to do when the file was replaced.")
    rest: RestConfig | None = None
    db: DbConfig | None = None
    stream: StreamConfig | None = None

    def check(self, at: str, found: Findings) -> None:
        self.check_connection(at, found)
        if not found.readable(f"{at}/kind"):
            for block in (self.rest, self.db, self.stream):
                self.check_block(block, at, found)
        elif self.kind in FILE_KINDS:
            for name in BLOCKS:
                if getattr(self, name) is not None:
                    message = f"kind {self.kind} reads a file and does not use it; remove it or set kind to {name}"
                    found.add(f"DRIVER_{name.upper()}_UNEXPECTED", f"{at}/{name}", message)
        else:
            self.check_conflicts(at, found)
            block = {"rest": self.rest, "db": self.db, "stream": self.stream}[self.kind]
            if block is None:
                found.add(
                    f"{self.kind.upper()}_CONFIG_REQUIRED", f"{at}/{self.kind}", f"is needed for kind {self.kind}"
                )
            # What a connection says has a part in that; see core/connected.py.
            if self.connection is None:
                self.check_block(block, at, found)

    def check_connection(self, at: str, found: Findings) -> None:
        """Report what cannot be used with, or without, a named connection."""
        found.blank("DRIVER_CONNECTION_EMPTY", f"{at}/connection", self.connection)
        if self.connection is not None and self.kind not in ("rest", "db"):
            message = f"kind {self.kind} does not use it; remove it"
            found.add("DRIVER_CONNECTION_UNEXPECTED", f"{at}/connection", message, [f"{at}/kind"])
        if self.connection is None and self.db is not None and "connection" not in self.db.model_fields_set:
            message = "is missing; add it, or name one of connections.json in driver.connection"
            found.add("FILE_MEMBER_REQUIRED", f"{at}/db/connection", message)

    def check_block(self, block: RestConfig | DbConfig | StreamConfig | None, at: str, found: Findings) -> None:
        match block:
            case RestConfig():
                block.check(f"{at}/rest", found)
            case DbConfig():
                block.check(f"{at}/db", found)
            case StreamConfig():
                block.check(f"{at}/stream", found)
            case None:
                pass

    def check_conflicts(self, at: str, found: Findings) -> None:
        """Report what belongs to another kind; a member written as null is not there."""
        for name in (*BLOCKS, *FILE_MEMBERS):
            if name != self.kind and name in self.model_fields_set and getattr(self, name) is not None:
                message = f"kind {self.kind} does not use it; remove it"
                found.add(f"{self.kind.upper()}_{name.upper()}_CONFLICT", f"{at}/{name}", message)
