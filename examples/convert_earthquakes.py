"""Cut the USGS feed of the npm package vega-datasets into one compressed JSON Lines file per UTC day.

npm pack vega-datasets@3.2.1 && tar xzf vega-datasets-3.2.1.tgz
python examples/convert_earthquakes.py package/data/earthquakes.json data/earthquakes
"""

import gzip
import json
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

HEAD = b'"features":['
TAIL = b'],"bbox":'


def feature_lines(collection: bytes) -> list[bytes]:
    """The features of the feed in its own order, each exactly as published.

    The published file holds one feature per line, so text is cut and nothing is re-serialised: ``2`` stays ``2``
    and ``1.60`` would stay ``1.60``.
    """
    body = collection[collection.index(HEAD) + len(HEAD) : collection.rindex(TAIL)]
    return [line.removesuffix(b",") for line in body.split(b"\n")]


def by_day(lines: list[bytes]) -> dict[str, list[bytes]]:
    """The lines grouped by the UTC day (``2018-02-01``) of the event; within a day the order of the feed stays."""
    days: defaultdict[str, list[bytes]] = defaultdict(list)
    for line in lines:
        event_ms = json.loads(line)["properties"]["time"]
        days[datetime.fromtimestamp(event_ms / 1000, UTC).date().isoformat()].append(line)
    return days


def main(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for day, lines in sorted(by_day(feature_lines(source.read_bytes())).items()):
        # No name and no time in the gzip header: the same input gives the same bytes.
        packed = gzip.compress(b"".join(line + b"\n" for line in lines), compresslevel=9, mtime=0)
        (folder / f"{day}.jsonl.gz").write_bytes(packed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
