"""A JSON file that a person writes: read it with care, build its model, and name all that is wrong with it at once."""

import json
import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import from_json

from rootsys_dagster.core import pointer as json_pointer
from rootsys_dagster.core.config import MAX_PROBLEMS, Config, Findings
from rootsys_dagster.core.errors import InvalidFileError, Problem
from rootsys_dagster.core.repair import repair

MAX_FILE_BYTES: Final = 4 << 20

C = TypeVar("C", bound=Config)
Repeats = list[tuple[dict[str, object], str]]


def read_file(path: Path) -> bytes:
    """The bytes of a regular file of at most 4 MiB; a pipe or a device is refused, never waited for.

    Raises:
        InvalidFileError: with the one code FILE_UNREADABLE.
    """
    try:
        with open(path, "rb", opener=open_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise unreadable(path, "is a pipe, a socket or a device; save its content to a file and name that")
            text = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise unreadable(path, reason(error)) from error
    if len(text) > MAX_FILE_BYTES:
        raise unreadable(path, "is larger than 4 MiB; this kind of file holds settings, is it data?")
    return text


def open_at_once(path: str, flags: int) -> int:
    # Without the flag, opening a pipe waits for somebody to write into it.
    return os.open(path, flags | os.O_NONBLOCK)


def unreadable(path: Path, message: str) -> InvalidFileError:
    return InvalidFileError(str(path), [Problem("FILE_UNREADABLE", "", message)])


def reason(error: OSError | ValueError) -> str:
    """Why a path could not be opened, in words that end in what to do."""
    if isinstance(error, FileNotFoundError):
        return "does not exist; check the path"
    if isinstance(error, PermissionError):
        return "may not be read by this user; change its mode or owner"
    if isinstance(error, IsADirectoryError):
        return "is a directory; name a file in it"
    if isinstance(error, OSError):
        return f"cannot be read: {(error.strerror or 'input/output error').lower()}"
    return "is not a path: it holds a NUL or broken character"


def parse_document(model: type[C], text: bytes, path: str) -> C:
    """The model that *text* describes.

    Args:
        path: only for messages.
    Raises:
        InvalidFileError: with every problem of the file: first what has the wrong shape, then what has the wrong value.
    """
    document, problems = parse_json(text, path)
    try:
        built = model.model_validate_json(text)
    except ValidationError:
        built, misshapen, stand_ins = repair(model, document)
        problems += misshapen
    else:
        stand_ins = frozenset[str]()
    if built is not None:
        found = Findings(stand_ins)
        built.check("", found)
        problems += found.problems
    if len(problems) > MAX_PROBLEMS:
        rest = Problem(
            "FILE_PROBLEMS_TOO_MANY", "", "has more problems than are listed here; is it a file of this kind?"
        )
        problems = [*problems[:MAX_PROBLEMS], rest]
    if built is None or problems:
        raise InvalidFileError(path, problems)
    return built


def parse_json(text: bytes, path: str) -> tuple[object, list[Problem]]:
    """The document and its repeated members; what is no JSON at all is raised at once."""
    try:
        if text.startswith(b"\xef\xbb\xbf"):
            raise ValueError("starts with a byte order mark; save it as UTF-8 without one")
        if not text.strip():
            raise ValueError("is empty; it must hold one JSON object")
        from_json(text, allow_inf_nan=False)
        repeated: Repeats = []
        document: object = json.loads(text.decode(), object_pairs_hook=lambda pairs: noting_repeats(pairs, repeated))
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 at byte {error.start}; save it as UTF-8"
        raise InvalidFileError(path, [Problem("FILE_JSON_INVALID", "", message)]) from error
    except ValueError as error:
        message = re.sub(r"^(?!is|starts)", "is not JSON: ", str(error))
        raise InvalidFileError(path, [Problem("FILE_JSON_INVALID", "", message)]) from error
    names = defaultdict[int, list[str]](list)
    for owner, name in repeated:
        names[id(owner)].append(name)
    return document, [
        Problem("FILE_MEMBER_REPEATED", pointer, "stands more than once in its object; keep one of them")
        for pointer in (repeated_pointers(document, "", names) if repeated else ())
    ]


def noting_repeats(pairs: list[tuple[str, object]], repeated: Repeats) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated += [(members, name) for name, count in counts.items() if count > 1]
    return members


def repeated_pointers(here: object, at: str, names: Mapping[int, Sequence[str]]) -> list[str]:
    """Where the objects with these ids stand; the parser, which works from the inside out, cannot know it."""
    if isinstance(here, dict):
        members = cast(dict[str, object], here)
        found = [f"{at}/{json_pointer.escape(name)}" for name in names.get(id(members), ())]
        children = list(members.items())
    elif isinstance(here, list):
        found = list[str]()
        children = [(str(index), value) for index, value in enumerate(cast(list[object], here))]
    else:
        return []
    for step, value in children:
        found += repeated_pointers(value, f"{at}/{json_pointer.escape(step)}", names)
    return found
