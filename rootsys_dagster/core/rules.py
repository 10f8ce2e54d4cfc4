"""What the values of a JSON payload must be: a rule names one place and what must hold there.

Every condition is a keyword of JSON Schema 2020-12 and means what it
means there, so one engine judges both; patterns run in linear time, whatever the payload is.
"""

import re
from typing import Any, Final, Literal, cast

from pydantic import Field

from rootsys_dagster.core.config import Config, Findings, Pointer, Whole
from rootsys_dagster.core.policy import OnFail

RuleOnFail = OnFail | Literal["warn"]
JsonType = Literal["string", "number", "integer", "boolean", "object", "array"]
RuleCode = Literal[
    "RULE_NOT_NULL", "RULE_TYPE", "RULE_ENUM", "RULE_PATTERN", "RULE_RANGE", "RULE_LENGTH", "RULE_UNIQUE", "RULE_SCHEMA"
]
SCHEMA_REF: Final = re.compile(r"contracts/[A-Za-z0-9_-]+@v[0-9]+(\.[0-9]+)*")
CONDITIONS: Final = ("not_null", "type", "enum", "pattern", "range", "length", "unique", "schema")


class Range(Config):
    """Smallest and largest number, both allowed themselves."""

    min: float | None = None
    max: float | None = None


class Length(Config):
    """Of a string in characters, of an array in items, of an object in members."""

    min: Whole | None = Field(default=None, json_schema_extra={"minimum": 0})
    max: Whole | None = Field(default=None, json_schema_extra={"minimum": 0})


class Rule(Config):
    """What must hold at one place. A value that is absent or null breaks ``not_null`` only."""

    pointer: Pointer | None = Field(default=None, description="Left out, schema judges the whole payload.")
    not_null: bool = False
    type: JsonType | None = None
    enum: tuple[Any, ...] | None = Field(default=None, description="The values that are allowed.")
    pattern: str | None = Field(default=None, description="Found anywhere in a string, unless it has ^ and $.")
    range: Range | None = None
    length: Length | None = None
    unique: bool = Field(default=False, description="No two records of one commit have the same value there.")
    json_schema: dict[str, Any] | None = Field(
        default=None, alias="schema", description="A JSON Schema, draft 2020-12, without references to other files."
    )
    on_fail: RuleOnFail | None = Field(
        default=None, description="Else that of the interface; warn accepts the record with a warning."
    )

    def check(self, at: str, found: Findings) -> None:
        found.bad_pointer("JSON_POINTER_INVALID", f"{at}/pointer", self.pointer)
        asked = [name for name in CONDITIONS if getattr(self, "json_schema" if name == "schema" else name)]
        if self.pointer is None and (by_place := [name for name in asked if name != "schema"]):
            message = f"is missing; {by_place[0]} needs a place, only schema can judge the whole payload"
            found.add("RULE_POINTER_MISSING", f"{at}/pointer", message, [f"{at}/{name}" for name in by_place])
        given = [f"{at}/{name}" for name in CONDITIONS]
        if not asked and self.enum is None and self.json_schema is None:
            found.add("RULE_EMPTY", at, f"asks for nothing; add one of {', '.join(CONDITIONS)}", given)
        self.check_values(at, found)

    def check_values(self, at: str, found: Findings) -> None:
        if self.enum is not None and not self.enum:
            found.add("RULE_ENUM_EMPTY", f"{at}/enum", "allows nothing; list the values that are allowed")
        if self.range is not None and (why := bounds_problem(self.range.min, self.range.max)):
            found.add("RULE_RANGE_INVALID", f"{at}/range", why)
        if self.length is not None and (why := bounds_problem(self.length.min, self.length.max, least=0)):
            found.add("RULE_LENGTH_INVALID", f"{at}/length", why)
        if self.pattern is not None and (why := schema_problem({"pattern": self.pattern})):
            found.add("RULE_PATTERN_INVALID", f"{at}/pattern", f"is no pattern that this product knows: {why}")
        if self.json_schema is not None and (why := schema_problem(self.json_schema)):
            found.add("RULE_SCHEMA_INVALID", f"{at}/schema", why)

    def keywords(self) -> dict[str, Any]:
        """The conditions on a value that is there, as keywords of JSON Schema; without ``schema`` and ``unique``."""
        made: dict[str, Any] = {"type": self.type, "enum": self.enum and list(self.enum), "pattern": self.pattern}
        if self.range is not None:
            made |= {"minimum": self.range.min, "maximum": self.range.max}
        if self.length is not None:
            for suffix in ("Length", "Items", "Properties"):
                made |= {f"min{suffix}": self.length.min, f"max{suffix}": self.length.max}
        return {name: value for name, value in made.items() if value is not None}


def check_rules(rules: tuple[Rule, ...], at: str, found: Findings) -> None:
    """Report every problem of every rule."""
    for index, rule in enumerate(rules):
        rule.check(f"{at}/{index}", found)


def bounds_problem(low: float | None, high: float | None, least: float = float("-inf")) -> str | None:
    """What is wrong with a smallest and a largest value; None when nothing is."""
    given = [bound for bound in (low, high) if bound is not None]
    if not given:
        return "needs min, max or both"
    if min(given) < least:
        return f"must not be below {least:g}"
    if given != sorted(given):
        return f"has a min ({given[0]:g}) above its max ({given[1]:g})"
    return None


def schema_problem(schema: dict[str, Any]) -> str | None:
    """Why *schema* is no JSON Schema that can be used; None when it is one."""
    try:
        schema_validator(schema)
    except ValueError as error:
        # The first line says it; what follows quotes the schema.
        path = "".join(f"/{step}" for step in cast(list[object], getattr(error, "instance_path", [])))
        return f"{str(error).splitlines()[0]}{f' (at {path})' if path else ''}"
    return None


def schema_validator(schema: dict[str, Any]) -> Any:
    """A validator of Draft 2020-12 that reads nothing but *schema* itself.

    Raises:
        ValueError: it is no such schema, or refers to another document.
    """
    # Loaded by whoever has rules: half of the time of a short command would go into it.
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(
        schema, pattern_options=jsonschema_rs.RegexOptions(), retriever=_refuse_to_fetch
    )


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"{uri} is another document; put what it says into this schema")
