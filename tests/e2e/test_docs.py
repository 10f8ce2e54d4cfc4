"""What the documentation shows is what happens: commands run, outputs match, JSON is valid, links lead somewhere.

In a ``console`` block a line after ``$`` is a command and what follows is its output, where ``…`` stands for anything.
A ``json file=NAME`` block is written to that file. ``<!-- allow NAME VERSION -->`` puts an interface on the allow list.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rootsys_dagster.core.connections import ConnectionsFile
from rootsys_dagster.core.document import parse_document
from rootsys_dagster.core.interface import parse_interface

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)(?: file=(\S+))?\n(.*?)^```$|^<!-- allow (\S+) (\S+) -->$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_the_commands_of_a_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    session = Session(tmp_path)
    for block in BLOCK.finditer(page.read_text()):
        language, file, text, name, version = block.groups()
        if name:
            session.allow(name, version)
        elif file:
            (session.folder / file).write_text(text)
        elif language == "console":
            session.run_all(text)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_the_json_of_a_page_is_json(page: Path) -> None:
    for language, _, text, *_ in BLOCK.findall(page.read_text()):
        if language == "json":
            document = json.loads(text)
            if "driver" in document:
                parse_interface(text.encode(), str(page))
            if "connections" in document:
                parse_document(ConnectionsFile, text.encode(), str(page))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target for page in PAGES for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert named <= targets


class Session:
    """A shell user: commands run one after another, ``cd`` stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        unset = {"ROOTSYS_PROJECT", "ROOTSYS_STATE_ROOT", "ROOTSYS_DATA_ROOTS", "DAGSTER_HOME"}
        self.environment = {name: value for name, value in os.environ.items() if name not in unset}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment["NO_COLOR"] = "1"

    def allow(self, name: str, version: str) -> None:
        path = self.folder / "contracts" / "allowlist.json"
        document = json.loads(path.read_text())
        document["allowlist"].append({"name": name, "version": version})
        path.write_text(json.dumps(document))

    def run_all(self, text: str) -> None:
        for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, *expected = step.rstrip("\n").split("\n")
            if command.startswith("cd "):
                self.folder = self.folder / command.removeprefix("cd ")
                continue
            done = subprocess.run(
                command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120
            )
            output = done.stdout + done.stderr
            for line in expected:
                pattern = ".*".join(re.escape(part) for part in re.sub(r" +", " ", line).split("…"))
                found = re.search(f"^{pattern}$", re.sub(r" +", " ", output), re.MULTILINE)
                assert found, f"{command}\nshould print\n{line}\nand prints\n{output}"
