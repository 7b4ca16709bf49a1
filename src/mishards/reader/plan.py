"""What one read works on: the state of each unit it names, taken at one moment.

Invariant: a `ReadState` is complete: everything up to its `read_ts` is in it, and it does not
change while the read runs in whatever thread.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mishards.core.ids import Timestamp
from mishards.metadata.snapshot import CollectionView
from mishards.reader.filters import MaskCache, PackedMask, Selection
from mishards.reader.growing_reads import GrowingSpan
from mishards.reader.opened import OpenSegment
from mishards.rpc.messages import UnitFailure
from mishards.segments import bitmaps


class ReadState(NamedTuple):
    """The units of one read.

    Attributes:
        growing: None when no growing row is asked for, or there is none.
        expired: rows with timestamps up to this are not seen.
        failures: units that cannot be served.
    """

    view: CollectionView
    read_ts: Timestamp
    segments: list[OpenSegment]
    growing: GrowingSpan | None
    failures: tuple[UnitFailure, ...] = ()
    expired: Timestamp = Timestamp(0)


def rows_of_segment(
    opened: OpenSegment, state: ReadState, selection: Selection | None, masks: MaskCache
) -> PackedMask | None:
    """The rows that are visible and match; None when all do."""
    live, count = opened.mask.visible(state.read_ts)
    if state.expired >= opened.meta.min_ts:
        fresh = bitmaps.pack(opened.segment.timestamps > state.expired)
        live = fresh if live is None else live & fresh
        count = bitmaps.count(live)
    if selection is None:
        return None if live is None else PackedMask(live, count)
    if selection.key is None:
        rows = _matching(opened, selection)
        matching = PackedMask(bitmaps.pack(rows), int(np.count_nonzero(rows)))
    else:
        matching = masks.mask((opened.meta.id, selection.key), lambda: _matching(opened, selection))
    if live is None:
        return matching
    both = matching.bits & live
    return PackedMask(both, bitmaps.count(both))


def _matching(opened: OpenSegment, selection: Selection) -> bitmaps.Mask:
    segment = opened.segment
    if selection.keys is not None:
        return rows_with_keys(opened, selection.keys)
    columns = {name: segment.column(name) for name in selection.filter.columns}
    return selection.filter.mask(columns, segment.rows)


def rows_with_keys(opened: OpenSegment, keys: pa.Array) -> bitmaps.Mask:
    """Per row whether its primary key is one of `keys`."""
    mask = np.zeros(opened.segment.rows, np.bool_)
    mask[opened.segment.find(keys)[1]] = True
    return mask
