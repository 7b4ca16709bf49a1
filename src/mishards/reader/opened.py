"""An open segment as a reader serves it.

Invariants: `indexes` is replaced, never changed, so a search sees one state of it; an index that
is attached is of the segment's files. Any thread may search while the loop's thread attaches an
index or applies deletes.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from mishards.core.ids import IndexId
from mishards.index.protocol import VectorIndex
from mishards.metadata.models import IndexMeta, SegmentMeta
from mishards.segments.deletes import DeleteMask
from mishards.segments.read import Segment

RAW = "raw"
READS = itertools.count()
"""Counts reads, in all threads."""


class AttachedIndex(NamedTuple):
    """An index in use; `name` is its file's."""

    index_id: IndexId
    name: str
    family: str
    opened: VectorIndex


class OpenSegment:
    """A segment, the deletes that concern it, and its indexes by field.

    Attributes:
        meta: of the newest metadata that named it.
        unique_keys: no primary key stands in two of its rows.
        last_read: rises with each read of any segment.
    """

    __slots__ = ("indexes", "last_read", "mask", "meta", "segment", "unique_keys")

    def __init__(self, meta: SegmentMeta, segment: Segment, mask: DeleteMask) -> None:
        self.meta = meta
        self.segment = segment
        self.mask = mask
        self.unique_keys = _are_unique(segment)
        self.indexes: dict[str, AttachedIndex] = {}
        self.last_read = next(READS)

    def index(self, wanted: IndexMeta) -> VectorIndex | None:
        """The attached index that `wanted` describes; None when the raw vectors are searched."""
        attached = self.indexes.get(wanted.field)
        return attached.opened if attached and attached.index_id == wanted.id else None

    def described(self) -> str:
        """What is searched: the index families, or `raw`."""
        return ",".join(sorted({a.family for a in self.indexes.values()})) or RAW


def _are_unique(segment: Segment) -> bool:
    """Keys are sorted, so equal ones are neighbours."""
    keys = segment.keys
    if isinstance(keys, np.ndarray):
        return not bool((keys[1:] == keys[:-1]).any())
    if segment.rows < 2:
        return True
    same: bool = pc.any(pc.equal(keys.slice(1), keys.slice(0, segment.rows - 1))).as_py()
    return not same
