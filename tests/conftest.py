"""A project folder that a test fills, runs and reads back without the product's own readers."""

import importlib.metadata
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import rootsys_dagster.drivers
import rootsys_dagster.sinks  # noqa: F401  (both register what interface files name)
from rootsys_dagster.core.project import Project, load_project
from rootsys_dagster.log.commit import CommitLog, StreamId
from rootsys_dagster.pipeline.run import RunReport, run_interface

# The same examples on every machine in `make test`; HYPOTHESIS_PROFILE=long looks for new ones.
settings.register_profile("short", deadline=None, max_examples=100, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

Lines = Iterable[bytes | dict[str, Any]]


class ProjectFolder:
    """A project below ``root``; every interface that is written is also put on the allow list."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.allowlist: list[dict[str, str]] = []
        for name in ("interfaces", "contracts", "data"):
            (root / name).mkdir(parents=True)

    def interface(self, name: str = "mes", version: str = "v1", file: str | None = None, **members: Any) -> Path:
        """Write an interface file; without a driver it reads ``data/<name>.jsonl``."""
        document = {
            "name": name,
            "version": version,
            "driver": {"kind": "jsonl", "input": f"data/{name}.jsonl"},
            **members,
        }
        path = self.root / "interfaces" / f"{file or name}.json"
        path.write_text(json.dumps(document))
        self._allow(name, version)
        return path

    def fabric(self, name: str, inputs: list[str], **members: Any) -> Path:
        """Write a fabric file."""
        path = self.root / "interfaces" / f"{name}.fabric.json"
        path.write_text(json.dumps({"name": name, "inputs": inputs, **members}))
        return path

    def group(self, name: str, members: list[str], **more: Any) -> Path:
        """Write a group file."""
        path = self.root / "interfaces" / f"{name}.group.json"
        path.write_text(json.dumps({"name": name, "members": members, **more}))
        return path

    def data(self, name: str, lines: Lines, *, append: bool = False) -> Path:
        """Write a file of lines under ``data/``; objects are dumped as compact JSON."""
        path = self.root / "data" / name
        with path.open("ab" if append else "wb") as stream:
            for line in lines:
                stream.write(
                    (line if isinstance(line, bytes) else json.dumps(line, separators=(",", ":")).encode()) + b"\n"
                )
        return path

    def load(self) -> Project:
        """The project as it stands now."""
        return load_project(self.root)

    def run(self, name: str = "mes", run_id: str | None = None) -> RunReport:
        """One run through the library."""
        project = self.load()
        return run_interface(project.interface(name), project, run_id=run_id or uuid.uuid4().hex)

    def log(self, name: str = "mes", version: str = "v1") -> CommitLog:
        """The commit log of an interface or fabric."""
        return CommitLog(self.root / ".rootsys", StreamId(name, version))

    def lines(self, kind: str, name: str = "mes", version: str = "v1") -> list[bytes]:
        """Committed lines of one kind, found by reading manifests as plain JSON."""
        folder = self.root / ".rootsys" / name / version
        found: list[bytes] = []
        for manifest in sorted((folder / "log").glob("[0-9]*.json")):
            for file in json.loads(manifest.read_bytes())["files"]:
                if file["kind"] == kind:
                    found += (folder / file["name"]).read_bytes().split(b"\n")[:-1]
        return found

    def records(self, name: str = "mes") -> list[dict[str, Any]]:
        """Committed records."""
        return [json.loads(line) for line in self.lines("records", name)]

    def dead_letters(self, name: str = "mes") -> list[dict[str, Any]]:
        """Committed dead letters."""
        return [json.loads(line) for line in self.lines("dead_letters", name)]

    def _allow(self, name: str, version: str) -> None:
        entry = {"name": name, "version": version}
        if entry not in self.allowlist:
            self.allowlist.append(entry)
        (self.root / "contracts" / "allowlist.json").write_text(json.dumps({"allowlist": self.allowlist}))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectFolder:
    """An empty project folder."""
    for name in ("ROOTSYS_PROJECT", "ROOTSYS_STATE_ROOT", "ROOTSYS_DATA_ROOTS"):
        monkeypatch.delenv(name, raising=False)
    return ProjectFolder(tmp_path / "project")


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """An empty folder, and no right to anything that file modes forbid: root may do all, so it becomes nobody."""
    folder = Path(tempfile.mkdtemp())
    # What is imported late has to be there before: the interpreter itself may lie where nobody can read.
    importlib.metadata.version("rootsys-dagster")
    was_root = os.geteuid() == 0
    if was_root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if was_root:
            os.seteuid(0)
        for path in folder.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)
