"""Message batches unpacked in one loop; kafka-python asks a method for each number of each message.

Source: the format of records, kafka.apache.org/documentation/#record.
"""

# kafka-python has no types for these modules.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false, reportAttributeAccessIssue=false

from collections.abc import Iterator
from typing import Any

import kafka.record.memory_records
import msgspec
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint


class Record(msgspec.Struct, gc=False):
    """What the library asks of a record, as plain members."""

    size_in_bytes: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None

    def validate_crc(self) -> bool:
        """The checksum is that of the batch."""
        return True


class OneLoopBatch(DefaultRecordBatch):
    """The library's batch of format 2, which yields the same records and refuses the same bytes."""

    def __iter__(self) -> Iterator[Any]:
        if self.is_control_batch:
            return super().__iter__()
        self._maybe_uncompress()
        return self._records()

    def _records(self) -> Iterator[Any]:
        buffer, at, size = bytes(self._buffer), self._pos, len(self._buffer)
        first_offset, time_type = self.base_offset, self.timestamp_type
        first_time = self.max_timestamp if time_type == self.LOG_APPEND_TIME else self.first_timestamp
        moves = time_type != self.LOG_APPEND_TIME
        try:
            for _ in range(self.records_count):
                length, at = decode_varint(buffer, at)
                end = at + length
                # The first byte holds attributes, and none is in use.
                at += 1
                # Numbers of one byte stand in most of these places: even ones are positive, and mean half of that.
                if (time_delta := buffer[at]) < 0x80 and not time_delta & 1:
                    time_delta >>= 1
                    at += 1
                else:
                    time_delta, at = decode_varint(buffer, at)
                if (offset_delta := buffer[at]) < 0x80 and not offset_delta & 1:
                    offset_delta >>= 1
                    at += 1
                else:
                    offset_delta, at = decode_varint(buffer, at)
                if buffer[at] == 1:
                    key = None
                    at += 1
                else:
                    key_size, at = decode_varint(buffer, at)
                    key, at = buffer[at : at + key_size] if key_size >= 0 else None, at + max(key_size, 0)
                if (value_size := buffer[at + 1]) < 0x80 and (low := buffer[at]) & 0x81 == 0x80:
                    # Two bytes: a value of 64 to 8191 bytes.
                    value_size = (low & 0x7F | value_size << 7) >> 1
                    at += 2
                else:
                    value_size, at = decode_varint(buffer, at)
                value, at = buffer[at : at + value_size] if value_size >= 0 else None, at + max(value_size, 0)
                if buffer[at]:
                    headers, at = _headers(buffer, at)
                else:
                    headers = []
                    at += 1
                if at != end or end > size:
                    raise CorruptRecordError("a record is not as long as it says")
                time = first_time + time_delta if moves else first_time
                yield Record(length, first_offset + offset_delta, time, time_type, key, value, headers)
        except (ValueError, IndexError) as error:
            raise CorruptRecordError("a record cannot be read") from error
        if at != size:
            raise CorruptRecordError("bytes are left behind the last record")


def _headers(buffer: bytes, at: int) -> tuple[list[tuple[str, bytes | None]], int]:
    count, at = decode_varint(buffer, at)
    if count < 0:
        raise CorruptRecordError("a record has fewer than no headers")
    found: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        size, at = decode_varint(buffer, at)
        if size < 0:
            raise CorruptRecordError("a header has no name")
        name, at = buffer[at : at + size].decode(), at + size
        size, at = decode_varint(buffer, at)
        found.append((name, buffer[at : at + size] if size >= 0 else None))
        at += max(size, 0)
    return found, at


def use_one_loop() -> None:
    """Let kafka-python unpack batches this way."""
    kafka.record.memory_records.DefaultRecordBatch = OneLoopBatch
