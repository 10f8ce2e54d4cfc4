"""What a person types: the frozen base model, the kinds of text and number in it, and the collector of its problems."""

from collections.abc import Hashable, Iterable
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from rootsys_dagster.core import pointer as json_pointer
from rootsys_dagster.core.errors import Problem
from rootsys_dagster.core.secret_ref import has_secret_ref

# Blank text, zero and bad pointers are allowed by these types and reported by check(), each with a code of its own;
# only the JSON Schema, which knows no codes, refuses them as such.
Text = Annotated[str, Field(json_schema_extra={"minLength": 1})]
Pointer = Annotated[str, Field(json_schema_extra={"pattern": "^/"})]
Pointers = Annotated[tuple[Pointer, ...], Field(json_schema_extra={"uniqueItems": True})]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Positive = Annotated[Whole, Field(json_schema_extra={"minimum": 1})]

# More than anyone reads; a file of 4 MiB can hold millions, each of which would cost memory.
MAX_PROBLEMS: Final = 1000

PayloadFormat = Literal["json", "text", "binary", "unknown"]


class Findings:
    """Collects the coded problems of one file, and stays silent about what could not be read in the first place.

    Args:
        unreadable: pointers whose value is missing or has the wrong type, and is replaced by a stand-in.
    """

    def __init__(self, unreadable: Iterable[str] = ()) -> None:
        self.unreadable = frozenset(unreadable)
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        """What works and should not be left so."""

    def readable(self, pointer: str) -> bool:
        """Whether the value at *pointer* is the one from the file."""
        return self.unreadable.isdisjoint(json_pointer.lineage(pointer))

    def add(self, code: str, pointer: str, message: str, given: Iterable[str] = ()) -> None:
        """Report a problem at *pointer*; *given* names the other members that the finding rests on."""
        if len(self.problems) > MAX_PROBLEMS:
            return
        if not self.unreadable or all(map(self.readable, (pointer, *given))):
            self.problems.append(Problem(code, pointer, message))

    def literal_secret(self, pointer: str, text: str | None) -> None:
        """Warn of a secret that stands in the file itself, instead of a reference to it."""
        if text is not None and text.strip() and not has_secret_ref(text):
            message = 'holds a secret in clear; put it into the environment and write "env://NAME" here'
            self.warnings.append(Problem("SECRET_LITERAL", pointer, message))

    def blank(self, code: str, pointer: str, text: str | None) -> None:
        """Report text that is there and holds nothing but spaces."""
        if text is not None and not text.strip():
            self.add(code, pointer, "must not be blank")

    def blank_entries(self, code: str, pointer: str, texts: Iterable[str]) -> None:
        """Report each entry of an array that holds nothing but spaces."""
        for index, text in enumerate(texts):
            self.blank(code, f"{pointer}/{index}", text)

    def repeated_entries(self, code: str, pointer: str, entries: Iterable[Hashable]) -> None:
        """Report each entry of an array that was there before."""
        firsts: dict[Hashable, int] = {}
        for index, entry in enumerate(entries):
            if (first := firsts.setdefault(entry, index)) < index:
                self.add(code, f"{pointer}/{index}", f"repeats entry {first}; remove it", [f"{pointer}/{first}"])

    def below_one(self, code: str, pointer: str, number: int | None) -> None:
        """Report a number that is there and below 1."""
        if number is not None and number < 1:
            self.add(code, pointer, f"must be at least 1, not {number}")

    def bad_pointer(self, code: str, pointer: str, value: str | None) -> None:
        """Report a JSON Pointer that is there and breaks the rules."""
        if value is not None and (why := json_pointer.problem(value)):
            self.add(code, pointer, why)


class Config(BaseModel):
    """The base of every object in a file of ours: closed, strict about types, never changed once loaded."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def check(self, at: str, found: Findings) -> None:
        """Report every problem that has a code; *at* is the pointer of this object in its file."""


def needs_block(kind: str) -> JsonValue:
    """The JSON Schema condition that *kind* comes with the block of the same name."""
    return {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": {"required": [kind]}}
