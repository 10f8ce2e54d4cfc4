"""Which commit log a name means, in a project or in a bare state root."""

import json
from pathlib import Path
from typing import Any

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.project import FabricFile, InterfaceFile, Project, load_project
from rootsys_dagster.core.spelling import did_you_mean, shown
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.log.find import find_logs

POSITION_WIDTH = 160
Entry = InterfaceFile | FabricFile


def find_entry(project: Project, reference: str) -> Entry:
    """The interface or fabric file that ``name`` or ``name@version`` means.

    Raises:
        ConfigError: there is none, or there are several versions and none was asked for.
    """
    bare = reference.rpartition("@")[0]
    if any(file.name in (reference, bare) for file in project.interfaces):
        return project.interface(reference)
    if any(file.name in (reference, bare) for file in project.fabrics):
        return project.fabric(reference)
    names = (file.name for file in (*project.interfaces, *project.fabrics))
    hint = did_you_mean(reference, names) or "; see 'rootsys show' for the names there are"
    raise ConfigError(f"no interface or fabric is called {shown(reference)}{hint}", code="PROJECT.NAME_UNKNOWN")


def find_log(name: str, state_root: Path | None, project: Path | None = None) -> CommitLog:
    """The log of ``name`` or ``name@version``. What the project knows but has not run yet is an empty log.

    Raises:
        ConfigError: there is none, or there are several versions.
    """
    if state_root is None:
        loaded = load_project(project)
        root = loaded.state_root
        known = [StreamId(file.name, file.version) for file in (*loaded.interfaces, *loaded.fabrics) if file.model]
    else:
        root, known = existing(state_root), []
    streams = list(dict.fromkeys([*(log.stream for log in find_logs(root)), *known]))
    found = [stream for stream in streams if name in (stream.name, str(stream))]
    if not found:
        started = [log.stream for log in find_logs(root, empty=True)]
        found = [stream for stream in started if name in (stream.name, str(stream))]
    if len(found) == 1:
        return CommitLog(root, found[0])
    if found:
        # Only one of them being a version of the project decides nothing: the others hold data too.
        choices = " or ".join(shown(str(stream)) for stream in found)
        raise ConfigError(f"{shown(name)} has {len(found)} versions; write {choices}", code="STREAM.AMBIGUOUS")
    hint = did_you_mean(name, (stream.name for stream in streams)) or "; see 'rootsys show' for the names there are"
    raise ConfigError(f"nothing called {shown(name)} is in {root}{hint}", code="STREAM.UNKNOWN")


def find_logs_of(state_root: Path | None, project: Path | None, *, empty: bool = False) -> list[CommitLog]:
    """Every log with a commit, *empty* ones too, below the state root that is named, or below that of the project."""
    root = load_project(project).state_root if state_root is None else existing(state_root)
    return find_logs(root, empty=empty)


def existing(state_root: Path) -> Path:
    """A state root that was named: unlike that of a project, it has to be there already."""
    if not state_root.is_dir():
        raise ConfigError(f"state root {state_root} does not exist; check --state-root", code="STATE.NOT_FOUND")
    return state_root.resolve()


def position_text(position: Position | None) -> str:
    """A position in one short line, without the hashes by which a driver knows its source again."""
    if not position:
        return "at the beginning"
    text = json.dumps(without_hashes(position), ensure_ascii=False, separators=(", ", ": "))
    return text if len(text) <= POSITION_WIDTH else text[: POSITION_WIDTH - 1] + "…"


def without_hashes(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_hashes(item) for key, item in value.items() if not str(key).endswith("sha256")}
    return value


def place(position: Any) -> str:
    """``line 12, byte 3400``: where to look in the source."""
    if not isinstance(position, dict):
        return ""
    wanted = [(name, value) for name, value in position.items() if name not in ("length", "sha256")]
    return ", ".join(f"{name} {value}" for name, value in wanted)
