"""Number arrays between protobuf's repeated fields and numpy, in bulk.

Invariants: a float array costs a copy of its bytes in each direction, never a Python object per
number; the values are those that protobuf itself would give, however the client packed them,
because the parsing is protobuf's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_SMALL = 64
"""Up to this many numbers a plain `extend` is cheaper than going through bytes."""


def float_values(message: Any, dtype: type[np.floating[Any]]) -> Array:
    """The numbers of a `FloatArray` (float32) or `DoubleArray` (float64); may be read-only.

    Serialising such a message writes one packed record, whatever the client sent, and that is the
    array's memory behind a short header.
    """
    count = len(message.data)
    if not count:
        return np.empty(0, dtype)
    data = message.SerializeToString()
    start = 1
    while data[start] & 0x80:
        start += 1
    return np.frombuffer(data, dtype, count, start + 1)


def integer_values(repeated: Any, dtype: type[Any]) -> Array:
    """The numbers of a repeated integer or bool field."""
    return np.asarray(repeated, dtype=dtype)


def put_floats(message: Any, field_number: int, repeated: Any, values: Array) -> None:
    """Append float32 or float64 `values` to a packed repeated field of `message`.

    Args:
        field_number: number of the field in `message`.
        repeated: the field itself, of the same width as `values`.
    """
    if len(values) <= _SMALL:
        repeated.extend(values.tolist())
        return
    data = np.ascontiguousarray(values).data.cast("B")
    header = _varint(field_number << 3 | 2) + _varint(len(data))
    message.MergeFromString(b"".join((header, data)))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
