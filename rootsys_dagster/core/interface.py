"""The interface file: one source seen one way. Unit of schedule, lineage and ownership."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Config, Findings, PayloadFormat, Pointers, Text
from rootsys_dagster.core.document import parse_document, read_file
from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import Problem
from rootsys_dagster.core.incremental import Incremental, Watermark
from rootsys_dagster.core.policy import CommitEvery, DeadLetterPolicy, Limits, OnFail
from rootsys_dagster.core.rest_config import RestConfig
from rootsys_dagster.core.rules import SCHEMA_REF, Rule, check_rules
from rootsys_dagster.core.schedule import Automation, Schedule

RecordIdPolicy = Literal["strict", "hash_fallback"]

ASSET_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
# Dagster refuses definitions with other owners and tags; one such file would take the whole location down.
OWNER: Final = re.compile(r"team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
TAG_NAME: Final = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}")
TAG_VALUE: Final = re.compile(r"[A-Za-z0-9_.-]{0,63}")


class Described(Config):
    """What every file of a project may say about itself, for people and for Dagster."""

    schema_uri: str | None = Field(
        default=None, alias="$schema", description="Where editors find the schema of this file."
    )
    description: str | None = None
    owners: tuple[str, ...] = Field(default=(), description="Mail addresses, or team:name.")
    tags: dict[str, str] = Field(default={})

    def check(self, at: str, found: Findings) -> None:
        for index, owner in enumerate(self.owners):
            if not OWNER.fullmatch(owner):
                found.add("OWNER_INVALID", f"{at}/owners/{index}", 'must be a mail address or "team:name"')
        for name, value in self.tags.items():
            if not TAG_NAME.fullmatch(name) or name.startswith("dagster/"):
                message = f"{name!r} must be up to 63 letters, digits, '_', '-' or '.', at most one 'prefix/' before it"
                found.add("TAG_NAME_INVALID", f"{at}/tags", f"{message}, and not 'dagster/'")
            if not TAG_VALUE.fullmatch(value):
                message = f"the value of {name!r} must be up to 63 letters, digits, '_', '-' or '.'"
                found.add("TAG_VALUE_INVALID", f"{at}/tags", message)


class MakesAssets(Described):
    """What an interface and a fabric say alike: both make assets."""

    asset: str | None = Field(
        default=None,
        description="The name of the asset, when the one made from the name of this file is taken.",
        json_schema_extra={"pattern": f"^{ASSET_NAME.pattern}$"},
    )
    automation: Automation | None = Field(default=None, description="Run by itself when what it needs has new data.")

    def check(self, at: str, found: Findings) -> None:
        if self.asset is not None and not ASSET_NAME.fullmatch(self.asset):
            found.add("ASSET_NAME_INVALID", f"{at}/asset", "must hold only letters, digits and '_', and not be empty")
        super().check(at, found)


class Interface(MakesAssets):
    """One source seen one way: where it is read, what identifies a record, what a record must have."""

    model_config = ConfigDict(json_schema_extra={"required": ["name", "version", "driver"]})

    name: Text
    version: Text
    driver: DriverConfig = DriverConfig()
    payload_format: PayloadFormat = Field(default="unknown", description="unknown takes any kind of payload.")
    record_id_paths: Pointers = Field(default=(), description="The record id is what stands there, joined by |.")
    required_paths: Pointers = Field(default=(), description="A payload without a value there is a dead letter.")
    record_id_policy: RecordIdPolicy = Field(
        default="hash_fallback",
        description="What to do when no record id path leads anywhere: refuse, or hash the payload.",
    )
    enabled: bool = Field(default=True, description="false keeps the file and its data, and runs nothing.")
    on_fail: OnFail = Field(
        default="quarantine", description="A bad unit is a dead letter, stops the run, or is counted only."
    )
    limits: Limits = Limits()
    commit_every: CommitEvery = CommitEvery()
    dead_letters: DeadLetterPolicy | None = None
    rules: tuple[Rule, ...] = Field(default=(), description="What the values of a JSON payload must be.")
    schema_ref: str | None = Field(
        default=None,
        description="The record contract that holds too: contracts/NAME@vX.Y, a file of the project.",
        json_schema_extra={"pattern": f"^{SCHEMA_REF.pattern}$"},
    )
    incremental: Incremental | None = Field(
        default=None, description="How a run goes on behind what is committed, where the source can be asked for it."
    )
    watermarks: tuple[Watermark, ...] = Field(default=(), description="Values that a query asks for when a run begins.")
    schedule: Schedule | None = Field(default=None, description="When to run it; a group has schedules of its own.")
    depends_on: tuple[Text, ...] = Field(
        default=(),
        description="Interfaces or fabrics, by name or name@version, that run before this one where all of them run.",
        json_schema_extra={"uniqueItems": True},
    )

    def check(self, at: str, found: Findings) -> None:
        super().check(at, found)
        found.blank("INTERFACE_NAME_EMPTY", f"{at}/name", self.name)
        found.blank("INTERFACE_VERSION_EMPTY", f"{at}/version", self.version)
        self.driver.check(f"{at}/driver", found)
        check_pointers(self.required_paths, f"{at}/required_paths", found)
        check_pointers(self.record_id_paths, f"{at}/record_id_paths", found)
        if self.record_id_policy == "strict" and not self.record_id_paths:
            message = "strict needs at least one path; add one or set record_id_policy to hash_fallback"
            policy = f"{at}/record_id_policy"
            found.add("RECORD_ID_POLICY_STRICT_REQUIRES_PATHS", f"{at}/record_id_paths", message, [policy])
        self.limits.check(f"{at}/limits", found)
        self.commit_every.check(f"{at}/commit_every", found)
        if self.dead_letters is not None:
            self.dead_letters.check(f"{at}/dead_letters", found)
        self.check_rules(at, found)
        self.check_places(at, found)
        self.check_order(at, found)

    def check_order(self, at: str, found: Findings) -> None:
        """When it runs, and behind what."""
        if self.schedule is not None:
            self.schedule.check(f"{at}/schedule", found)
        found.blank_entries("DEPENDS_ON_EMPTY", f"{at}/depends_on", self.depends_on)
        found.repeated_entries("DEPENDS_ON_REPEATED", f"{at}/depends_on", self.depends_on)
        if self.automation is not None and not self.depends_on:
            message = 'waits for what this interface depends on, and it names nothing; add "depends_on"'
            found.add("AUTOMATION_NEEDS_DEPENDS_ON", f"{at}/automation", message, [f"{at}/depends_on"])

    def check_rules(self, at: str, found: Findings) -> None:
        """What records must be, by rules of this file and by a contract."""
        check_rules(self.rules, f"{at}/rules", found)
        if self.schema_ref is not None and not SCHEMA_REF.fullmatch(self.schema_ref):
            message = 'must look like "contracts/orders@v1.2": a file of the project, without its .json'
            found.add("SCHEMA_REF_INVALID", f"{at}/schema_ref", message)
        for name, given in (("rules", self.rules), ("schema_ref", self.schema_ref)):
            if given and self.payload_format in ("text", "binary"):
                message = f"cannot look into {self.payload_format}; remove it, or set payload_format to json"
                found.add("RULES_NEED_JSON", f"{at}/{name}", message, [f"{at}/payload_format"])

    def check_places(self, at: str, found: Findings) -> None:
        """What keeps the place of the next run, and only where the driver can use it."""
        kind = f"{at}/driver/kind"
        if self.incremental is not None:
            self.incremental.check(f"{at}/incremental", found)
            if self.driver.kind not in ("rest", "db"):
                message = f"kind {self.driver.kind} keeps its place by itself; remove it"
                found.add("INCREMENTAL_UNEXPECTED", f"{at}/incremental", message, [kind])
        if self.driver.kind == "rest" and self.driver.rest is not None:
            self.check_inject(self.driver.rest, f"{at}/driver/rest/inject", found)
        names: dict[str, int] = {}
        for index, watermark in enumerate(self.watermarks):
            watermark.check(f"{at}/watermarks/{index}", found)
            if names.setdefault(watermark.name, index) < index:
                message = f"is also the name of watermark {names[watermark.name]}; give it another"
                found.add("DUPLICATE_ENTRY", f"{at}/watermarks/{index}/name", message)
        if self.watermarks and self.driver.kind != "db":
            message = f"kind {self.driver.kind} has no query to put them into; remove them"
            found.add("WATERMARKS_UNEXPECTED", f"{at}/watermarks", message, [kind])

    def check_inject(self, rest: RestConfig, at: str, found: Findings) -> None:
        """A request can only ask for places that the interface keeps."""
        mode = self.incremental.mode if self.incremental is not None else None
        for index, inject in enumerate(rest.inject):
            wanted = "cursor" if inject.source == "watermark" else "window"
            if mode != wanted:
                message = f'{inject.source} needs "incremental" with "mode": "{wanted}"'
                found.add("REST_INJECT_NEEDS_INCREMENTAL", f"{at}/{index}/from", message)
        if mode == "window" and not rest.inject:
            message = 'the request does not ask for the window; put "window_start" and "window_end" into it'
            found.add("REST_INJECT_REQUIRED", at, message)


def check_pointers(pointers: Sequence[str], at: str, found: Findings) -> None:
    """Report each pointer that breaks the rules and each that was there before."""
    firsts: dict[str, int] = {}
    for index, value in enumerate(pointers):
        found.bad_pointer("JSON_POINTER_INVALID", f"{at}/{index}", value)
        first = firsts.setdefault(value, index)
        if first < index:
            found.add("DUPLICATE_ENTRY", f"{at}/{index}", f"repeats entry {first}; remove it", [f"{at}/{first}"])


def parse_interface(text: bytes, path: str) -> Interface:
    """The interface that *text* describes; *path* is for messages.

    Raises:
        InvalidFileError: with every problem of the file.
    """
    return parse_document(Interface, text, path)


def warnings_of(interface: Interface) -> list[Problem]:
    """What works in an interface and should not be left so: secrets in clear."""
    found = Findings()
    interface.check("", found)
    return found.warnings


def load_interface(path: Path) -> Interface:
    """The interface in a file.

    Raises:
        InvalidFileError: the file cannot be read, or with every problem of it.
    """
    return parse_interface(read_file(path), str(path))
