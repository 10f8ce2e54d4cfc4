"""Run benchmarks and print their sections: ``python -m benchmarks [NAME …]``; ``--write`` keeps them."""

import argparse
import re
from importlib import import_module
from pathlib import Path

from benchmarks.measure import machine

MODULES = ("startup", "scale", "jsonl", "rest", "database", "kafka", "fabric")
PEERS = ("database_peers",)
"""Not by default: they want other tools beside ours."""
PAGE = Path("docs/benchmarks.md")


def main() -> None:
    """Run the named benchmarks, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join((*MODULES, *PEERS))}")
    parser.add_argument("--write", action="store_true", help=f"replace their results in {PAGE}")
    arguments = parser.parse_args()
    for name in arguments.names or MODULES:
        section = f"{import_module(f'benchmarks.{name}').main()}\n\nMachine: {machine()}."
        print(f"\n{section}", flush=True)
        if arguments.write:
            PAGE.write_text(with_section(PAGE.read_text(), name, section))


def with_section(page: str, name: str, section: str) -> str:
    """*page* with what stands between the mark of *name* and the next one replaced, or added at its end."""
    mark = f"<!-- {name} -->"
    if mark not in page:
        return f"{page.rstrip()}\n\n{mark}\n\n{section}\n"
    before, _, rest = page.partition(mark)
    following = re.search(r"<!-- \w+ -->", rest)
    after = f"\n{rest[following.start() :]}" if following else ""
    return f"{before}{mark}\n\n{section}\n{after}"


if __name__ == "__main__":
    main()
