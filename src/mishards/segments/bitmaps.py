"""Packed bitmaps of rows, as searches take them; see `index.protocol.Bitmap`.

Invariant: bits beyond the last row are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mishards.index.protocol import Bitmap, Offsets

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def pack(mask: Mask) -> Bitmap:
    """A bool per row to a bit per row."""
    return np.packbits(mask, bitorder="little")


def unpack(bitmap: Bitmap, rows: int) -> Mask:
    """A bit per row to a bool per row."""
    return np.unpackbits(bitmap, count=rows, bitorder="little").view(np.bool_)


def full(rows: int) -> Bitmap:
    """All rows."""
    bitmap = np.full((rows + 7) // 8, 0xFF, dtype=np.uint8)
    if rows % 8:
        bitmap[-1] = (1 << (rows % 8)) - 1
    return bitmap


def count(bitmap: Bitmap) -> int:
    """How many rows are in it."""
    return int(np.bitwise_count(bitmap).sum(dtype=np.int64))


def offsets(bitmap: Bitmap, rows: int) -> Offsets:
    """The rows in it, ascending."""
    return np.flatnonzero(unpack(bitmap, rows))


def intersect(one: Bitmap | None, other: Bitmap | None) -> Bitmap | None:
    """Rows in both; None stands for all rows."""
    if one is None:
        return other
    if other is None:
        return one
    return one & other
