"""Looking up primary keys in a sorted column.

Invariants: the column is sorted and without nulls; equal keys are all found. Text is ordered by
its UTF-8 bytes, as Arrow sorts it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mishards.index.protocol import Offsets

_SCAN_SHARE = 32
"""One text look-up by bisection costs about as much as scanning this many rows."""


def find_integers(
    column: np.ndarray[Any, np.dtype[np.int64]], keys: np.ndarray[Any, np.dtype[np.int64]]
) -> tuple[Offsets, Offsets]:
    """Where `keys` stand in `column`: (positions in `keys`, offsets in `column`), a pair for
    each match, by position."""
    low = np.searchsorted(column, keys, side="left")
    high = np.searchsorted(column, keys, side="right")
    return _expand(low, high)


def find_texts(column: pa.StringArray, keys: pa.Array) -> tuple[Offsets, Offsets]:
    """As `find_integers`, for text."""
    if len(keys) * _SCAN_SHARE < len(column):
        view = _Texts(column)
        wanted = [key.encode() for key in keys.to_pylist()]
        low = np.array([bisect_left(view, key) for key in wanted], dtype=np.int64)
        high = np.array([bisect_right(view, key) for key in wanted], dtype=np.int64)
        return _expand(low, high)
    encoded = keys.dictionary_encode()
    codes = pc.index_in(column, value_set=encoded.dictionary)
    matched = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
    found = codes.fill_null(-1).to_numpy(zero_copy_only=False)[matched]
    # The column is sorted, so the rows of one key are a run: its start and its length say all.
    unique, first = np.unique(found, return_index=True)
    low = np.zeros(len(encoded.dictionary), dtype=np.int64)
    low[unique] = matched[first]
    high = low + np.bincount(found, minlength=len(low))
    picked = encoded.indices.to_numpy()
    return _expand(low[picked], high[picked])


def _expand(low: Offsets, high: Offsets) -> tuple[Offsets, Offsets]:
    """All offsets of the ranges [low, high), with the position of the range each is of."""
    counts = high - low
    positions = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    offsets = np.arange(len(positions)) - np.repeat(starts - low, counts)
    return positions, offsets


class _Texts:
    """A text column as a sequence of bytes, each read where it lies."""

    def __init__(self, column: pa.StringArray) -> None:
        _, ends, data = column.buffers()
        self._length = len(column)
        self._ends = np.frombuffer(ends, dtype=np.int32)[column.offset :]
        self._data = memoryview(data) if data is not None else memoryview(b"")

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> bytes:
        return bytes(self._data[self._ends[row] : self._ends[row + 1]])
