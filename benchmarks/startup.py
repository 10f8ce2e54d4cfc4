"""How long people wait: ``rootsys --help``, and definitions for a thousand interfaces."""

import json
import sys
from pathlib import Path

from benchmarks.measure import RUNS, Case, interleave, scratch, table

MOST_HELP_S, MOST_DEFINITIONS_S, INTERFACES = 0.4, 6.0, 1000
BUILD = (
    "from pathlib import Path; from rootsys_dagster.defs.build import build_definitions; build_definitions(Path({!r}))"
)


def main(runs: int = RUNS) -> str:
    """A Markdown section with both times."""
    with scratch() as folder:
        write_interfaces(folder)
        results = interleave(
            [
                Case("python -c pass", [sys.executable, "-c", "pass"]),
                Case("rootsys --help", [str(Path(sys.executable).with_name("rootsys")), "--help"]),
                Case("import dagster", [sys.executable, "-c", "import dagster"]),
                Case(f"definitions of {INTERFACES} interfaces", [sys.executable, "-c", BUILD.format(str(folder))]),
            ],
            runs,
        )
    return "\n\n".join(
        [
            "### Starting",
            table(results),
            f"rootsys --help {results[1].wall_s:.2f} s (under {MOST_HELP_S}); "
            f"definitions {results[3].wall_s:.2f} s (under {MOST_DEFINITIONS_S}).",
        ]
    )


def write_interfaces(folder: Path) -> list[str]:
    """A project of interfaces that read files; returns their names."""
    (folder / "interfaces").mkdir()
    (folder / "contracts").mkdir()
    names = [f"source_{number:04d}" for number in range(INTERFACES)]
    for name in names:
        interface = {"name": name, "version": "v1", "driver": {"kind": "jsonl", "input": f"data/{name}.jsonl"}}
        (folder / "interfaces" / f"{name}.json").write_text(json.dumps(interface))
    allowed = {"allowlist": [{"name": name, "version": "v1"} for name in names]}
    (folder / "contracts" / "allowlist.json").write_text(json.dumps(allowed))
    return names


if __name__ == "__main__":
    print(main())
