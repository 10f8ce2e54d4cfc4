"""The same table of PostgreSQL by other tools: ``make bench-peers``, which installs them into ``.peers/``."""

import sys
from pathlib import Path

from benchmarks.database import CREATE, FILL, RECORDS, run_case, write_interface
from benchmarks.measure import RUNS, Case, Result, interleave, scratch, table
from tests.databases import postgres_server

PYTHON = Path(".peers/bin/python")
SCRIPT = Path("benchmarks/peers/dlt_table.py")
LEAST_OF_DEFAULT, LEAST_OF_CONNECTORX = 8, 1


def main(records: int = RECORDS, runs: int = RUNS) -> str:
    """A Markdown section: how many times as fast as dlt's ways to read a table; its default is given a fifth of it.

    Raises:
        SystemExit: the other tools are not installed.
    """
    if not PYTHON.exists():
        sys.exit(f"{PYTHON} is missing; install the other tools with: make bench-peers")
    few = records // 5
    with scratch() as folder, postgres_server("-c shared_buffers=1GB -c jit=off -c synchronous_commit=off") as server:
        server.execute(CREATE, FILL.format(rows=records), "VACUUM (ANALYZE, FREEZE) events")
        server.execute(f"CREATE UNLOGGED TABLE fifth AS SELECT * FROM events WHERE id <= {few}")

        def against(backend: str, file_format: str, name: str) -> list[Result]:
            write_interface(folder, name, {"kind": "postgres", "connection": server.url, "table": name})
            command = [str(PYTHON), str(SCRIPT), backend, file_format, server.url, name, str(folder / "dlt")]
            peer = Case(f"dlt sql_table: {backend} to {file_format}", command)
            return interleave([run_case(folder, name, "rootsys run: everything"), peer], runs)

        connectorx = against("connectorx", "parquet", "events")
        default = against("sqlalchemy", "jsonl", "fifth")
    return (
        f"### Databases beside dlt, a table of PostgreSQL\n\n{records:,} rows:\n\n{table(connectorx)}\n\n"
        f"{few:,} rows:\n\n{table(default)}\n\n"
        f"Times as fast as its connectorx backend to Parquet: {connectorx[1].wall_ratio:.2f} (at least "
        f"{LEAST_OF_CONNECTORX}), as its default backend to JSONL: {default[1].wall_ratio:.1f} (at least "
        f"{LEAST_OF_DEFAULT})."
    )


if __name__ == "__main__":
    print(main())
