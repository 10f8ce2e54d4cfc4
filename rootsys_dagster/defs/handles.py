"""What one op tells the next: a small JSON handle in a file. Nothing is pickled, so nothing planted there can run."""

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg

MAX_HANDLE_BYTES = 1 << 20


class JsonHandles(dg.IOManager):
    """Stores every op output as ``<run>/<step>/<output>.json`` below Dagster's storage folder, and reads nothing else.

    A handle names things (paths, sequence numbers, hashes) and never carries them: records stay in the commit log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        data = json.dumps(obj, allow_nan=False).encode()
        if len(data) > MAX_HANDLE_BYTES:
            raise ValueError(f"the handle of output {context.name!r} has {len(data)} bytes; pass a path, not the data")
        path = self._path(context)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A retried step writes its handle again; whoever reads meanwhile sees the old one or the new one.
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(path)

    def load_input(self, context: dg.InputContext) -> Any:
        assert context.upstream_output is not None
        return json.loads(self._path(context.upstream_output).read_bytes())

    def _path(self, context: dg.OutputContext) -> Path:
        *folders, name = context.get_identifier()
        return self.folder.joinpath(*folders, f"{name}.json")


@dg.io_manager(description="Small JSON handles between ops; nothing is pickled.")
def json_handles(context: dg.InitResourceContext) -> JsonHandles:
    """The handles of the instance in use, gone with it when it is a throw-away one."""
    assert context.instance is not None
    return JsonHandles(Path(context.instance.storage_directory()))
