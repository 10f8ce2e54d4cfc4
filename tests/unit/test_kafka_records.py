"""Message batches in one loop against the library's own way."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import CorruptRecordError
from kafka.record.default_records import (  # pyright: ignore[reportMissingImports]
    DefaultRecordBatch,
    DefaultRecordBatchBuilder,
)

from rootsys_dagster.drivers.kafka.record_batch import OneLoopBatch

texts = st.none() | st.binary(max_size=200)
messages = st.tuples(
    st.integers(0, 1 << 40), texts, texts, st.lists(st.tuples(st.text(max_size=70), texts), max_size=3)
)


def packed(batch: list[Any], codec: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 20)
    for offset, (time, key, value, headers) in enumerate(batch):
        builder.append(offset, time, key, value, headers)
    return bytes(builder.build())


def outcome(kind: type[Any], data: bytes) -> Any:
    try:
        return [
            (record.offset, record.timestamp, record.key, record.value, record.headers, record.size_in_bytes)
            for record in kind(data)
        ]
    except CorruptRecordError:
        return "corrupt"


@given(st.lists(messages, min_size=1, max_size=100), st.sampled_from([0, 1, 2, 3, 4]))
def test_every_record_is_what_the_library_makes_of_it(batch: list[Any], codec: int) -> None:
    data = packed(batch, codec)
    assert outcome(OneLoopBatch, data) == outcome(DefaultRecordBatch, data)
    assert len(outcome(OneLoopBatch, data)) == len(batch)


@given(st.lists(messages, min_size=1, max_size=5), st.data())
def test_damaged_records_are_refused_or_the_same(batch: list[Any], data: st.DataObject) -> None:
    whole = bytearray(packed(batch))
    at = data.draw(st.integers(DefaultRecordBatch.HEADER_STRUCT.size, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(at + 1, len(whole)))])
    assert outcome(OneLoopBatch, cut) == outcome(DefaultRecordBatch, cut)


def test_bytes_behind_the_last_record_are_refused() -> None:
    with pytest.raises(CorruptRecordError):
        list(OneLoopBatch(packed([(1, b"k", b"v", [])]) + b"\0"))
