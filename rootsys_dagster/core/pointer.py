"""JSON Pointer (RFC 6901) as interface files use it: never the whole document, never a guess."""

from collections.abc import Sequence
from typing import Final, cast


class Missing:
    """The type of MISSING: the pointer leads nowhere. Not the same as a null that is there."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


def problem(pointer: str) -> str | None:
    """Why *pointer* may not stand in a configuration file; None when it may."""
    if not pointer:
        return "is empty; a pointer starts with '/', and the whole document cannot be named"
    if pointer != pointer.strip():
        return f"{pointer!r} has spaces around it; remove them"
    if not pointer.startswith("/"):
        return f"{pointer!r} does not start with '/'; write {'/' + pointer!r}"
    for part in pointer.split("~")[1:]:
        if part[:1] not in ("0", "1"):
            return f"{pointer!r} has a '~' that is not '~0' or '~1'; a member called 'a~b' is written 'a~0b'"
    return None


def tokens(pointer: str) -> tuple[str, ...]:
    """The unescaped steps of a valid pointer: ``/a~1b/0`` is ``("a/b", "0")``."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def escape(token: str) -> str:
    """One step as it is written inside a pointer."""
    return token.replace("~", "~0").replace("/", "~1")


def lineage(pointer: str) -> list[str]:
    """The pointers of everything that *pointer* stands in, and itself: ``/a/b`` is ``["/a", "/a/b"]``."""
    ends = [index for index, char in enumerate(pointer) if char == "/" and index > 0]
    return [pointer[:end] for end in [*ends, len(pointer)]]


def resolve(document: object, steps: Sequence[str]) -> object:
    """The value that *steps* lead to in parsed JSON, or MISSING; a null that is there comes back as None."""
    here = document
    for step in steps:
        if isinstance(here, dict):
            here = cast(dict[str, object], here).get(step, MISSING)
        elif isinstance(here, list):
            items = cast(list[object], here)
            here = items[int(step)] if is_index(step) and int(step) < len(items) else MISSING
        else:
            return MISSING
        if here is MISSING:
            return MISSING
    return here


def is_index(step: str) -> bool:
    """Whether *step* can name an array element: decimal digits, no sign, no leading zero but ``0`` itself."""
    # isdecimal alone lets other scripts' digits through, and int() would take them; 19 digits are past any array.
    return step.isascii() and step.isdecimal() and (step == "0" or step[0] != "0") and len(step) < 20
