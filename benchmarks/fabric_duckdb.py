"""The same merge by DuckDB: ``python -m benchmarks.fabric_duckdb QUERY THREADS OUTPUT INPUT …``."""

import sys

import duckdb

LINES = "SELECT json, row_number() OVER () AS place FROM read_json_objects({inputs}, format='newline_delimited')"
KEY = "json_extract_string(json, ['/source', '/interface/name', '/interface/version', '/record_id'])"
COLUMNS = (
    "{{source: 'VARCHAR', interface: 'STRUCT(name VARCHAR, version VARCHAR)', record_id: 'VARCHAR', "
    "ingested_at_unix_ms: 'BIGINT', payload: 'JSON', metadata: 'JSON', warnings: 'JSON'}}"
)
QUERIES = {
    # The first of each key, whatever the number of threads.
    "first": f"SELECT arg_min(json, place) FROM ({LINES}) GROUP BY {KEY}",
    # Some record of each key: with more than one thread not always the first. Members are parsed and written anew.
    "any": "SELECT DISTINCT ON (source, interface, record_id) * "
    f"FROM read_json({{inputs}}, format='newline_delimited', columns={COLUMNS})",
}
FORMATS = {"first": "FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x1f'", "any": "FORMAT json"}


def main(query: str, threads: int, output: str, inputs: list[str]) -> None:
    """Write one record per key to *output*. *threads* of 0 leaves the number to DuckDB."""
    connection = duckdb.connect()
    if threads:
        connection.execute(f"SET threads = {threads}")
    connection.execute(f"COPY ({QUERIES[query].format(inputs=inputs)}) TO '{output}' ({FORMATS[query]})")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:])
