"""Where paths from files may lead, whatever dots and symbolic links they go through, and which names can be kept."""

import os
from collections.abc import Sequence
from pathlib import Path

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.spelling import shown


def inside_roots(path: Path | str, base: Path, roots: Sequence[Path], what: str) -> Path:
    """*path* made absolute with every link followed, which need not exist yet.

    Args:
        path: as it stands in a file; relative to *base*.
        roots: absolute and resolved.
        what: names the path in messages, such as ``mes: driver.input``.
    Raises:
        ConfigError: it leads outside every root, or nowhere at all.
    """
    try:
        resolved = (base / path).resolve()
    # Python 3.11 and 3.12 report a loop of links as RuntimeError; ValueError is a NUL in the path.
    except (OSError, RuntimeError, ValueError) as error:
        message = f"{what}: {shown(str(path))} is not a path that can be followed; is it a loop of links?"
        raise ConfigError(message, code="PATH.UNUSABLE") from error
    if any(resolved.is_relative_to(root) for root in roots):
        return resolved
    allowed = os.pathsep.join(map(str, roots))
    message = (
        f"{what}: {shown(str(path))} leads to {resolved}, outside {allowed}; "
        "move it inside, or set ROOTSYS_DATA_ROOTS to the folders that may be used, separated by ':'"
    )
    raise ConfigError(message, code="PATH.OUTSIDE_ROOTS")


def is_utf8(name: str) -> bool:
    """Whether *name* was decoded from UTF-8; the operating system's other bytes stand in it as surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
