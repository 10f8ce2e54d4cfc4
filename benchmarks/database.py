"""A table through the whole product, against what the database itself needs to print it as JSON."""

import json
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from benchmarks.measure import RUNS, Case, interleave, scratch, table
from tests.databases import Postgres, postgres_server

RECORDS = 1_000_000
LEAST_OF_COPY, LEAST_OF_CURSOR, MOST_MB = 0.6, 0.5, 200
ROOTSYS = str(Path(sys.executable).with_name("rootsys"))
CREATE = """
CREATE UNLOGGED TABLE events (
  id bigint PRIMARY KEY, defect_id text NOT NULL, lot_id text, at timestamptz NOT NULL, day date, qty int, sev smallint,
  amount numeric(14, 4), x double precision, ok boolean, uid uuid, notes text, attrs jsonb, tags text[], raw bytea)"""
FILL = """
INSERT INTO events SELECT i, 'D-' || lpad((i * 7)::text, 9, '0'),
  CASE WHEN i % 100 <> 0 THEN 'L-' || lpad((hashint8(i) & 262143)::text, 6, '0') END,
  timestamptz '2025-01-01 00:00Z' + i * interval '7.5 seconds', date '2025-01-01' + (i % 365)::int,
  hashint8(i + 2) & 65535, (i % 7)::smallint, (hashint8(i + 3) & 16777215)::numeric / 10000,
  hashint8(i + 4)::float8 / 1e6, (hashint8(i + 5) & 1) = 1, md5(i::text)::uuid,
  CASE WHEN i % 20 <> 0 THEN 'Lötfehler ' || md5((i + 1)::text) END,
  jsonb_build_object('temp_c', round((15 + (hashint8(i + 6) & 4095) / 100.0)::numeric, 2), 'op', 'Ivanova', 'seq', i),
  ARRAY['a' || (i % 10), 'b'], CASE WHEN i % 4 = 0 THEN decode(md5((i + 2)::text), 'hex') END
FROM generate_series(1, {rows}) i"""
CURSOR_LOOP = """
import base64, orjson, sqlite3, sys
cursor = sqlite3.connect(sys.argv[1]).execute("SELECT * FROM events")
names = [column[0] for column in cursor.description]
encode = lambda value: base64.b64encode(value).decode()
with open(sys.argv[2], "wb") as out:
    while rows := cursor.fetchmany(500):
        out.write(b"\\n".join([orjson.dumps(dict(zip(names, row)), default=encode) for row in rows]))
"""


def main(records: int = RECORDS, runs: int = RUNS) -> str:
    """A Markdown section with the ratios and what they should be at least."""
    with scratch() as folder, postgres_server("-c shared_buffers=1GB -c jit=off -c synchronous_commit=off") as server:
        server.execute(CREATE, FILL.format(rows=records), "VACUUM (ANALYZE, FREEZE) events")
        postgres = against_copy(server, folder, runs)
        make_sqlite(folder / "events.db", records)
        sqlite = against_cursor(folder, runs)
    return f"### Databases, tables of {records:,} rows\n\n{postgres}\n\n{sqlite}"


def against_copy(server: Postgres, folder: Path, runs: int) -> str:
    """PostgreSQL, whole and by a cursor."""
    db = {"kind": "postgres", "connection": server.url, "table": "events"}
    write_interface(folder, "whole", db)
    write_interface(folder, "behind", db, {"field": "id", "tie_breaker": ["defect_id"]})
    copy = "COPY (SELECT row_to_json(t) FROM events t) TO STDOUT"
    psql = ["sh", "-c", f'psql -q "{server.url}" -c "{copy}" > "{folder}/copy.jsonl"']
    cases = [Case("COPY (SELECT row_to_json(t)) to a file", psql)]
    cases += [run_case(folder, name, f"rootsys run: {how}") for name, how in WAYS]
    results = interleave(cases, runs)
    whole, behind = results[1], results[2]
    return (
        f"{table(results)}\n\nrows per second of COPY: {1 / whole.wall_ratio:.2f} everything, "
        f"{1 / behind.wall_ratio:.2f} behind the last row (at least {LEAST_OF_COPY}); peak memory "
        f"{whole.peak_mb:.0f} MB (under {MOST_MB})."
    )


WAYS = (("whole", "everything"), ("behind", "behind the last row"))


def against_cursor(folder: Path, runs: int) -> str:
    """SQLite."""
    write_interface(folder, "lite", {"kind": "sqlite", "connection": "events.db", "table": "events"})
    loop = [sys.executable, "-c", CURSOR_LOOP, str(folder / "events.db"), str(folder / "loop.jsonl")]
    results = interleave(
        [Case("sqlite3 cursor and orjson to a file", loop), run_case(folder, "lite", "rootsys run: everything")], runs
    )
    ratio = 1 / results[1].wall_ratio
    return f"{table(results)}\n\nrows per second of the loop: {ratio:.2f} (at least {LEAST_OF_CURSOR})."


def run_case(folder: Path, name: str, shown: str) -> Case:
    """One run of one interface that has no commits yet."""

    def forget() -> None:
        shutil.rmtree(folder / ".rootsys", ignore_errors=True)
        os.sync()

    return Case(shown, [ROOTSYS, "run", name, "--project", str(folder)], forget)


def write_interface(folder: Path, name: str, db: dict[str, str], incremental: dict[str, object] | None = None) -> None:
    """An interface file in the project in *folder*, allowed to run."""
    for part in ("interfaces", "contracts"):
        (folder / part).mkdir(exist_ok=True)
    document: dict[str, object] = {
        "name": name,
        "version": "v1",
        "driver": {"kind": "db", "db": db},
        "record_id_paths": ["/defect_id"],
        "required_paths": ["/defect_id"],
    }
    if incremental is not None:
        document["incremental"] = incremental
    (folder / "interfaces" / f"{name}.json").write_text(json.dumps(document))
    allowed = [{"name": path.stem, "version": "v1"} for path in (folder / "interfaces").glob("*.json")]
    (folder / "contracts" / "allowlist.json").write_text(json.dumps({"allowlist": allowed}))


def make_sqlite(path: Path, records: int) -> None:
    """The same kind of table in SQLite."""
    columns = (
        "id integer PRIMARY KEY, defect_id text, lot_id text, at text, qty integer, amount real, x real, notes, raw"
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE events ({columns})")
        rows = (
            (n, f"D-{n * 7:09d}", f"L-{n % 200000:06d}", f"2025-01-01T00:{n // 60 % 60:02d}:{n % 60:02d}Z", n % 65536,
             n % 10**7 / 10000, n / 7, f"scratch Lötfehler {n}", n.to_bytes(16, "big") if n % 4 == 0 else None)
            for n in range(1, records + 1)
        )  # fmt: skip
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


if __name__ == "__main__":
    print(main())
