"""A record contract: rules that several interfaces share, in a file of its own with a version in its name."""

import re
from typing import Any, Final

from pydantic import Field

from rootsys_dagster.core.config import Config, Findings, Text
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.rules import Rule, check_rules, schema_problem

CONTRACT_FILE: Final = re.compile(r"([A-Za-z0-9_-]+)@v[0-9]+(?:\.[0-9]+)*\.json")


class RecordContract(Config):
    """``contracts/<name>@vX.Y.json``: what records must be, whoever delivers them."""

    schema_uri: str | None = Field(default=None, alias="$schema")
    description: str | None = None
    owners: tuple[Text, ...] = ()
    json_schema: dict[str, Any] | None = Field(
        default=None, alias="schema", description="A JSON Schema, draft 2020-12, of the whole payload."
    )
    rules: tuple[Rule, ...] = ()

    def check(self, at: str, found: Findings) -> None:
        if self.json_schema is not None and (why := schema_problem(self.json_schema)):
            found.add("RULE_SCHEMA_INVALID", f"{at}/schema", why)
        if self.json_schema is None and not self.rules:
            found.add("CONTRACT_EMPTY", at, "asks for nothing; add rules or a schema", [f"{at}/schema", f"{at}/rules"])
        check_rules(self.rules, f"{at}/rules", found)

    def all_rules(self) -> tuple[Rule, ...]:
        """The rules, the schema of the whole payload as the first of them."""
        whole = () if self.json_schema is None else (Rule.model_validate({"schema": self.json_schema}),)
        return (*whole, *self.rules)


def bound(interface: Interface, contract: RecordContract) -> Interface:
    """*interface* with the rules of *contract* behind its own."""
    return interface.model_copy(update={"rules": (*interface.rules, *contract.all_rules())})
