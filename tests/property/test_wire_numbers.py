"""Numbers cross between protobuf and numpy as protobuf itself would read and write them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.grpc_gen import schema_pb2

from mishards.api.milvus.wire import float_values, integer_values, put_floats

FLOATS = st.lists(st.floats(width=32, allow_nan=False), max_size=300)
KINDS: list[tuple[Any, Any, str]] = [
    (schema_pb2.FloatArray, np.float32, "<f"),
    (schema_pb2.DoubleArray, np.float64, "<d"),
]


def packed(values: list[float], code: str) -> bytes:
    body = b"".join(struct.pack(code, value) for value in values)
    size, length = len(body), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return b"\x0a" + length + bytes([size]) + body


def unpacked(values: list[float], code: str) -> bytes:
    tag = b"\x0d" if code == "<f" else b"\x09"
    return b"".join(tag + struct.pack(code, value) for value in values)


UNKNOWN = b"\x7a\x03abc"
"""A field that the message does not have, as a newer client might send."""


@pytest.mark.parametrize(("message", "dtype", "code"), KINDS)
@given(parts=st.lists(st.tuples(FLOATS, st.booleans()), max_size=4), unknown=st.booleans())
def test_floats_are_read_however_they_were_packed(
    message: Any, dtype: Any, code: str, parts: list[tuple[list[float], bool]], unknown: bool
) -> None:
    data = b"".join((packed if whole else unpacked)(values, code) for values, whole in parts)
    parsed = message.FromString(data + UNKNOWN * unknown)

    values = float_values(parsed, dtype)

    assert values.dtype == dtype
    assert values.tolist() == list(parsed.data) == [v for part, _ in parts for v in part]


@pytest.mark.parametrize(("message", "dtype", "code"), KINDS)
@given(before=FLOATS, values=FLOATS, step=st.integers(1, 3))
def test_floats_are_appended(
    message: Any, dtype: Any, code: str, before: list[float], values: list[float], step: int
) -> None:
    target = message(data=before)

    put_floats(target, 1, target.data, np.array(values, dtype)[::step])

    assert list(target.data) == before + values[::step]
    assert target.SerializeToString() == message(data=list(target.data)).SerializeToString()


@given(values=FLOATS)
def test_scores_stand_beside_other_fields(values: list[float]) -> None:
    results = schema_pb2.SearchResultData(num_queries=3, topks=[1, 2])

    put_floats(results, 4, results.scores, np.array(values, np.float32))

    assert results == schema_pb2.SearchResultData(num_queries=3, topks=[1, 2], scores=values)


@given(values=st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=100))
def test_integers(values: list[int]) -> None:
    array = integer_values(schema_pb2.LongArray(data=values).data, np.int64)
    assert (array.dtype, array.tolist()) == (np.int64, values)


@given(values=st.lists(st.booleans(), max_size=100))
def test_bools(values: list[bool]) -> None:
    array = integer_values(schema_pb2.BoolArray(data=values).data, np.bool_)
    assert (array.dtype, array.tolist()) == (np.bool_, values)
