"""Names by which one file of a project means another: ``name``, or ``name@version``."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from rootsys_dagster.core.errors import Problem
from rootsys_dagster.core.project_file import ProjectFile
from rootsys_dagster.core.spelling import did_you_mean, shown

Found = dict[Path, list[Problem]]
"""Problems by file."""
F = TypeVar("F", bound=ProjectFile)


@dataclass(frozen=True, slots=True)
class Nothing:
    """Why a name leads to no file, or to more than one."""

    code: Literal["UNKNOWN", "AMBIGUOUS"]
    message: str


def by_name(files: Iterable[F]) -> dict[str, list[F]]:
    """The files to look up in, in order."""
    named = defaultdict[str, list[F]](list)
    for file in files:
        named[file.name].append(file)
    return named


def look_up(reference: str, named: Mapping[str, Sequence[F]], what: str) -> F | Nothing:
    """The one file that *reference*, ``name`` or ``name@version``, means.

    Args:
        what: the kind of thing that is looked for, for messages.
    """
    found = named.get(reference, ())
    name, _, version = reference.rpartition("@")
    if not found and name:
        found = [file for file in named.get(name, ()) if file.version == version]
    found = [file for file in found if file.model is not None] or found
    # Two files with one name and version are a problem of both, which is said when either is used.
    if len({file.version for file in found}) == 1:
        return found[0]
    if found:
        choices = " or ".join(shown(f"{file.name}@{file.version}") for file in found)
        return Nothing("AMBIGUOUS", f"{shown(reference)} has {len(found)} versions; write {choices}")
    hint = did_you_mean(reference, named) or "; see 'rootsys show' for the names there are"
    return Nothing("UNKNOWN", f"no {what} is called {shown(reference)}{hint}")
