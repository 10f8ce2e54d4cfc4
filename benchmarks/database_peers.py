"""The same table of PostgreSQL by other tools: ``make bench-peers``, which installs them into ``.peers/``."""

import sys
from pathlib import Path

from benchmarks.database import CREATE, FILL, RECORDS, run_case, write_interface
from benchmarks.measure import RUNS, Case, interleave, scratch, table
from tests.databases import postgres_server

PYTHON = Path(".peers/bin/python")
SCRIPT = Path("benchmarks/peers/dlt_table.py")
LEAST_OF_DEFAULT, LEAST_OF_CONNECTORX = 8, 1


def main(records: int = RECORDS, runs: int = RUNS) -> str:
    """A Markdown section: how many times as fast as dlt's ways to read a table.

    Raises:
        SystemExit: the other tools are not installed.
    """
    if not PYTHON.exists():
        sys.exit(f"{PYTHON} is missing; install the other tools with: make bench-peers")
    with scratch() as folder, postgres_server("-c shared_buffers=1GB -c jit=off -c synchronous_commit=off") as server:
        server.execute(CREATE, FILL.format(rows=records), "VACUUM (ANALYZE, FREEZE) events")
        write_interface(folder, "whole", {"kind": "postgres", "connection": server.url, "table": "events"})
        ways = (("sqlalchemy", "jsonl"), ("connectorx", "parquet"))
        cases = [run_case(folder, "whole", "rootsys run: everything")]
        for backend, file_format in ways:
            command = [str(PYTHON), str(SCRIPT), backend, file_format, server.url, "events", str(folder / "dlt")]
            cases.append(Case(f"dlt sql_table: {backend} to {file_format}", command))
        results = interleave(cases, runs)
    default, connectorx = (result.wall_ratio for result in results[1:])
    return (
        f"### Databases beside dlt, a table of {records:,} rows of PostgreSQL\n\n{table(results)}\n\n"
        f"Times as fast as its default backend: {default:.1f} (at least {LEAST_OF_DEFAULT}), "
        f"as its connectorx backend to Parquet: {connectorx:.2f} (at least {LEAST_OF_CONNECTORX})."
    )


if __name__ == "__main__":
    print(main())
