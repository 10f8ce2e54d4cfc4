"""The real ``rootsys`` executable, run as a person would run it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOTSYS = Path(sys.executable).parent / "rootsys"
OURS = ("ROOTSYS_PROJECT", "ROOTSYS_STATE_ROOT", "ROOTSYS_DATA_ROOTS", "NO_COLOR", "DAGSTER_HOME")


def environment(**more: str) -> dict[str, str]:
    """The environment without anything that would lead the command elsewhere."""
    return {name: value for name, value in os.environ.items() if name not in OURS} | more


def rootsys(
    *arguments: object, cwd: Path, given: bytes = b"", more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Whatever happens, nobody may see a traceback.

    Args:
        given: standard input.
        more: environment variables.
    """
    done = subprocess.run(
        [ROOTSYS, *map(str, arguments)],
        cwd=cwd,
        input=given,
        capture_output=True,
        env=environment(**(more or {})),
        timeout=120,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def events(out: str, name: str) -> list[dict[str, Any]]:
    """The payloads of the event lines called *name*."""
    documents = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return [document["payload"] for document in documents if document.get("event") == name]


def json_lines(text: str | bytes) -> list[dict[str, Any]]:
    """Every line as JSON."""
    return [json.loads(line) for line in text.splitlines()]
