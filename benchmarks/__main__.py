"""Run benchmarks and print their sections: ``python -m benchmarks [NAME …]``; ``--write`` keeps them."""

import argparse
from importlib import import_module
from pathlib import Path

from benchmarks.measure import machine

MODULES = ("startup", "jsonl", "rest", "database", "kafka", "fabric")
PAGE = Path("docs/benchmarks.md")
MARK = "<!-- results -->"


def main() -> None:
    """Run the named benchmarks, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(MODULES)}")
    parser.add_argument("--write", action="store_true", help=f"replace the results in {PAGE}")
    arguments = parser.parse_args()
    sections = [f"Machine: {machine()}."]
    print(sections[0], flush=True)
    for name in arguments.names or MODULES:
        sections.append(import_module(f"benchmarks.{name}").main())
        print(f"\n{sections[-1]}", flush=True)
    if arguments.write:
        head = PAGE.read_text().split(MARK)[0]
        PAGE.write_text(f"{head}{MARK}\n\n" + "\n\n".join(sections) + "\n")


if __name__ == "__main__":
    main()
