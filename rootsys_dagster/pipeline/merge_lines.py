"""Keys of record lines in plain files: any valid IntegrationRecord on a line of its own, whoever wrote it.

Whole blocks are decoded at once, as far as the key needs it and with the syntax of the rest checked. A block with
anything unusual in it is looked at line by line. Source: spec/1-reference.md 1.4 (what a record is) and 1.12.
"""

from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from typing import Literal

import msgspec
import numpy as np
import orjson

from rootsys_dagster.core.record import key_seed, record_key
from rootsys_dagster.pipeline.merge_copy import LineBlock
from rootsys_dagster.pipeline.merge_index import Mask

OPEN, CLOSE = b"{}"


class InterfaceName(msgspec.Struct, frozen=True, gc=False):
    """The member ``interface``."""

    name: str
    version: str


class Payload(msgspec.Struct, gc=False):
    """The member ``payload``; what is in it is only checked to be JSON."""

    kind: Literal["Json", "Text", "Binary"]
    data: msgspec.Raw


class RecordLine(msgspec.Struct, gc=False):
    """What makes a JSON document an IntegrationRecord; other members are tolerated."""

    source: str
    interface: InterfaceName
    record_id: str
    ingested_at_unix_ms: int
    payload: Payload
    warnings: list[msgspec.Raw]


class BadLineError(ValueError):
    """A line is not a record. ``line`` counts from 1 within the block."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


_decoder = msgspec.json.Decoder(RecordLine)
_head = attrgetter("source", "interface")
_record_id = attrgetter("record_id")


@lru_cache(1024)
def _seed(head: tuple[str, InterfaceName]) -> int:
    return key_seed(head[0], head[1].name, head[1].version)


def block_keys(block: LineBlock) -> tuple[bytes, Mask]:
    """The keys of the records in *block*, 16 bytes each, and which of its lines are records: all but blank ones.

    Raises:
        BadLineError: a line is neither a record nor blank.
    """
    try:
        records = _plain_records(block)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        records = None
    if records is not None:
        return _keys(records), np.ones(len(records), np.bool_)
    found = [_one_record(number, line) for number, line in enumerate(block.data.split(b"\n")[:-1], 1)]
    return _keys([record for record in found if record]), np.array([record is not None for record in found], np.bool_)


def _plain_records(block: LineBlock) -> list[RecordLine] | None:
    """All records of a block in which each line is exactly one object, None when that is not certain."""
    data, ends = block
    characters = np.frombuffer(data, np.uint8)
    # Inside a document no newline stands between } and {: all that do are the ends of documents.
    if data[0] != OPEN or (characters[ends - 2] != CLOSE).any() or (characters[ends[:-1]] != OPEN).any():
        return None
    # The decoder does not look at the UTF-8 of what it skips.
    if not data.isascii():
        data.decode()
    records = _decoder.decode_lines(data)
    return records if len(records) == len(ends) else None


def _one_record(number: int, line: bytes) -> RecordLine | None:
    try:
        if not line.strip(b" \t\r"):
            return None
        line.decode()
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        raise BadLineError(number, f"is not an IntegrationRecord: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadLineError(number, f"is not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise BadLineError(number, f"is not UTF-8 at byte {error.start}") from error


def _keys(records: list[RecordLine]) -> bytes:
    heads = set(map(_head, records))
    seeds = repeat(_seed(heads.pop())) if len(heads) == 1 else map(_seed, map(_head, records))
    return b"".join(map(record_key, map(orjson.dumps, map(_record_id, records)), seeds))
