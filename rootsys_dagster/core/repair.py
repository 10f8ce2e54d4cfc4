"""What has the wrong shape in a document: said in words, then taken out, so that the rest can be checked as well."""

import json
import re
from collections.abc import Iterable
from copy import copy
from typing import Final, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rootsys_dagster.core import pointer as json_pointer
from rootsys_dagster.core.config import MAX_PROBLEMS
from rootsys_dagster.core.errors import Problem
from rootsys_dagster.core.spelling import did_you_mean, shown

M = TypeVar("M", bound=BaseModel)

# What pydantic found wrong: what should stand there instead, and a stand-in of that type.
TYPES: Final[dict[str, tuple[str, object]]] = {
    "string_type": ("a string", ""),
    "string_unicode": ("a string", ""),
    "int_type": ("a whole number", 1),
    "int_from_float": ("a whole number", 1),
    "int_parsing_size": ("a whole number", 1),
    "float_type": ("a number", 0),
    "finite_number": ("a finite number", 0),
    "bool_type": ("true or false", True),
    "tuple_type": ("an array", []),
    "dict_type": ("an object", {}),
    "model_type": ("an object", {}),
}
MAX_ROUNDS: Final = 12


def repair(model: type[M], document: object) -> tuple[M | None, list[Problem], frozenset[str]]:
    """Build the model around what has the wrong shape.

    An unreadable member is taken out; where the model needs it, a stand-in of the right type is put in.

    Args:
        document: parsed JSON; changed in place.
    Returns:
        the model, None when nothing could be built; the problems; the pointers whose value is not from the file.
    """
    problems: list[Problem] = []
    lost = set[str]()
    for _ in range(MAX_ROUNDS):
        try:
            return model.model_validate_json(json.dumps(document)), problems, frozenset(lost)
        except ValidationError as error:
            if error.error_count() > MAX_PROBLEMS:
                message = f"has {error.error_count()} values of the wrong shape; is it a file of this kind?"
                return None, [*problems, Problem("FILE_PROBLEMS_TOO_MANY", "", message)], frozenset()
            errors = error.errors(include_url=False)
        # Items of one array are not moved, so the pointers of a round stay right while it is worked through.
        for one in errors:
            at = "".join(f"/{json_pointer.escape(str(step))}" for step in one["loc"])
            if lost.isdisjoint(json_pointer.lineage(at)):
                problems.append(describe(model, one, at))
            if not one["loc"]:
                return None, problems, frozenset()
            replace(document, one, was_lost=at in lost)
            if one["type"] != "extra_forbidden":
                lost.add(at)
    return None, problems, frozenset()


def replace(document: object, error: ErrorDetails, was_lost: bool) -> None:
    """Take out the member at fault or, when it cannot be missed, put a stand-in there."""
    *path, last = error["loc"]
    owner = document
    for step in path:
        owner = cast(dict[int | str, object], owner)[step]
    members = cast(dict[int | str, object], owner)
    if error["type"] == "missing":
        members[last] = ""
    elif isinstance(last, int) or was_lost:
        members[last] = allowed_values(error)[0] if error["type"] == "literal_error" else stand_in(error["type"])
    else:
        del members[last]


def stand_in(error_type: str) -> object:
    return copy(TYPES.get(error_type, ("", 1))[1])


def describe(model: type[BaseModel], error: ErrorDetails, at: str) -> Problem:
    """The problem in our words: code, pointer, what is wrong and what would be right."""
    kind, value = error["type"], error.get("input")
    match kind:
        case "missing":
            return Problem("FILE_MEMBER_REQUIRED", at, "is missing; add it")
        case "extra_forbidden":
            known = member_names(model, error["loc"][:-1])
            hint = did_you_mean(str(error["loc"][-1]), known) or f"; known are {', '.join(known)}"
            return Problem("FILE_MEMBER_UNKNOWN", at, f"is not known here{hint}")
        case "literal_error":
            allowed = allowed_values(error)
            choice = f"must be {' or '.join(allowed)}" if len(allowed) < 3 else f"must be one of {', '.join(allowed)}"
            if isinstance(value, str):
                return Problem("FILE_VALUE_INVALID", at, f"{choice}, not {shown(value)}{did_you_mean(value, allowed)}")
            return Problem("FILE_TYPE_INVALID", at, f"{choice}, not {json_type(value)}")
        case "finite_number":
            return Problem("FILE_VALUE_INVALID", at, "must be a number that fits in 64 bits")
        case _ if kind in TYPES:
            return Problem("FILE_TYPE_INVALID", at, f"must be {TYPES[kind][0]}, not {json_type(value)}")
        case _:
            # What is left are the bounds of a whole number.
            return Problem("FILE_VALUE_INVALID", at, "must be a whole number that fits in 64 bits")


def allowed_values(error: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))


def json_type(value: object) -> str:
    # The value itself stays out of the message: it may be a password in the wrong place.
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int():
            return "a number"
        case float():
            return "a number with a fraction or an exponent"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def member_names(model: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """The names that the object at *path* may have, as they are written in a file."""
    here: type[BaseModel] | None = model
    for step in path:
        if here is not None and isinstance(step, str):
            fields = {field.alias or name: field.annotation for name, field in here.model_fields.items()}
            here = model_in(fields.get(step))
    return [field.alias or name for name, field in here.model_fields.items()] if here is not None else []


def model_in(annotation: object) -> type[BaseModel] | None:
    """The model inside ``Model | None`` or ``tuple[Model, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := model_in(part)) is not None), None)
