"""Columns of rows that a search or query found before."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mishards.core.columns import encode_batch
from mishards.core.errors import FieldNotFound, InvalidParameter
from mishards.core.ids import SegmentId
from mishards.metadata.snapshot import CollectionView
from mishards.reader.gather import Array, Take, check_size, from_growing, from_segment, gather
from mishards.reader.growing_view import GrowingView
from mishards.reader.opened import OpenSegment
from mishards.rpc.messages import Fetch, Rows


def wanted_units(message: Fetch) -> Array:
    """The units of a fetch, each once.

    Raises:
        InvalidParameter: units and offsets differ in number.
    """
    units = np.frombuffer(message.units, np.int64)
    if len(units) * 8 != len(memoryview(message.offsets).cast("B")):
        raise InvalidParameter(f"{len(units)} units do not go with the offsets given")
    return np.unique(units)


def fetch_rows(
    view: CollectionView,
    growing: GrowingView,
    segments: Mapping[SegmentId, OpenSegment],
    message: Fetch,
) -> Rows:
    """The rows in the order given.

    Args:
        segments: at least those the message names.

    Raises:
        StalePlan: a growing row is no longer kept.
        FieldNotFound, InvalidParameter: a column or a row does not exist.
        ParameterTooLarge: the columns of all rows are too much for an answer.
    """
    for name in message.output:
        if name not in view.schema.by_name:
            raise FieldNotFound(f"field {name!r} not found in collection {view.name!r}")
    units = np.frombuffer(message.units, np.int64)
    offsets = np.frombuffer(message.offsets, np.int64)
    if not len(units):
        return Rows(columns=b"")
    check_size(view.schema, message.output, len(units))
    sealed = np.unique(units[units > 0])
    takes: list[Take] = []
    for unit in sealed.tolist():
        opened = segments[SegmentId(unit)]
        _check_offsets(offsets[units == unit], opened)
        takes.append(from_segment(opened, message.output))
    sources = np.searchsorted(sealed, units)
    grown = units <= 0
    if grown.any():
        sources[grown] = len(takes)
        takes.append(from_growing(growing, message.output))
        offsets = offsets.copy()
        offsets[grown] = growing.places(-units[grown], offsets[grown])
    return Rows(columns=encode_batch(gather(takes, sources, offsets)))


def _check_offsets(offsets: Array, opened: OpenSegment) -> None:
    if offsets.min() < 0 or offsets.max() >= opened.segment.rows:
        raise InvalidParameter(
            f"segment {opened.meta.id} has {opened.segment.rows} rows; "
            f"row {int(offsets.max())} was asked for"
        )
