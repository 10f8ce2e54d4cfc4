"""Pages at next to no cost, under granian: ``/pages?cursor=N`` of ``PAGES`` pages of 100 items.

Runs in the environment of the test servers.
"""

import json
import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

from benchmarks.data import defects

PAGES = int(os.environ["PAGES"])
ITEMS, BLOCKS = 100, 50


def items() -> Iterator[bytes]:
    """The lines of the other benchmarks that are JSON."""
    for line in defects(2 * BLOCKS * ITEMS):
        try:
            json.loads(line)
        except ValueError:
            continue
        if b"NaN" not in line:
            yield line


lines = items()
BODIES = [b",".join(islice(lines, ITEMS)) for _ in range(BLOCKS)]
HEADERS = [("content-type", "application/json")]


class Pages:
    """The application."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        number = int(scope.query_string.partition("cursor=")[2] or 0)
        following = b'"%d"' % (number + 1) if number + 1 < PAGES else b"null"
        body = b'{"items":[%b],"next":%b}' % (BODIES[number % BLOCKS], following)
        protocol.response_bytes(200, HEADERS, body)


app = Pages()
