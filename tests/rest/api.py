"""An interface that reads an HTTP server, and what it has committed, read back without the product's own readers."""

import json
from typing import Any

import pytest

from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.pipeline.run import RunReport
from tests.conftest import ProjectFolder
from tests.http_server import Answer, HttpServer, Play, json_answer

QUICK_RETRY = {"max_attempts": 2, "base_delay_ms": 1, "max_delay_ms": 1}


class Api:
    """The interface ``api`` of a project."""

    def __init__(self, folder: ProjectFolder, server: HttpServer) -> None:
        self.folder = folder
        self.server = server

    def play(self, play: Play | Answer) -> "Api":
        """What the server does from now on."""
        self.server.play = (lambda _: play) if isinstance(play, Answer) else play
        return self

    def says(self, path: str = "/items", members: dict[str, Any] | None = None, **rest: Any) -> "Api":
        """Write the interface file.

        Args:
            path: behind the URL of the server; a whole URL replaces it.
            members: of the interface, beside its driver.
        """
        url = path if "://" in path else self.server.url + path
        block = {"url": url, "retry": QUICK_RETRY, **rest}
        self.folder.interface("api", driver={"kind": "rest", "rest": block}, **(members or {}))
        return self

    def run(self) -> RunReport:
        """One run through the library."""
        return self.folder.run("api")

    def fails(self) -> RootsysError:
        """One run that ends with an error of ours, which is returned."""
        with pytest.raises(RootsysError) as caught:
            self.run()
        return caught.value

    def manifests(self) -> list[dict[str, Any]]:
        """Every commit, the oldest first."""
        folder = self.folder.root / ".rootsys/api/v1/log"
        return [json.loads(path.read_bytes()) for path in sorted(folder.glob("[0-9]*.json"))]

    def lines(self) -> list[bytes]:
        """The committed records, without those of commits that a later one has replaced."""
        folder, manifests = self.folder.root / ".rootsys/api/v1", self.manifests()
        found: list[bytes] = []
        for manifest in manifests[manifests[-1].get("replaced", 0) if manifests else 0 :]:
            for file in manifest["files"]:
                if file["kind"] == "records":
                    found += (folder / file["name"]).read_bytes().split(b"\n")[:-1]
        return found

    def records(self) -> list[dict[str, Any]]:
        """:meth:`lines`, decoded."""
        return [json.loads(line) for line in self.lines()]

    def payloads(self) -> list[Any]:
        """What the records hold."""
        return [record["payload"]["data"] for record in self.records()]

    def places(self) -> list[dict[str, Any]]:
        """Where each record stood."""
        return [record["metadata"]["source_details"]["position"] for record in self.records()]

    def ids(self) -> list[int]:
        """The member ``id`` of each record."""
        return [payload["id"] for payload in self.payloads()]


def items(*ids: int, **more: Any) -> Answer:
    """A page ``{"items": [{"id": …}, …]}`` with more members beside it."""
    return json_answer({"items": [{"id": number} for number in ids], **more})
