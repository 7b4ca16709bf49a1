"""Output columns of rows that lie in several units, in the order asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mishards.core.errors import ParameterTooLarge
from mishards.core.limits import MAX_ANSWER_BYTES
from mishards.core.schema import CollectionSchema
from mishards.reader.growing_reads import take_growing
from mishards.reader.growing_view import GrowingView
from mishards.reader.opened import OpenSegment
from mishards.reader.plan import ReadState

Array = np.ndarray[Any, Any]
_LEAST_BYTES = 1
Take = Callable[[Array], pa.RecordBatch]
"""Columns of the rows at given offsets of one unit."""


def gather(takes: Sequence[Take], sources: Array, offsets: Array) -> pa.RecordBatch:
    """Rows of several units; row i is row `offsets[i]` of `takes[sources[i]]`. At least one row."""
    wanted = np.unique(sources)
    if len(wanted) == 1:
        return takes[wanted[0]](offsets)
    parts, order = [], []
    for source in wanted.tolist():
        chosen = np.flatnonzero(sources == source)
        parts.append(takes[source](offsets[chosen]))
        order.append(chosen)
    back = np.argsort(np.concatenate(order), kind="stable")
    return pa.concat_batches(parts).take(pa.array(back))


def check_size(schema: CollectionSchema, names: Sequence[str], rows: int) -> None:
    """Refuse to gather more than an answer may hold, as far as types alone tell.

    Raises:
        ParameterTooLarge: names rows, fields and the limit.
    """
    fields = [schema.by_name[name] for name in names if name in schema.by_name]
    row_bytes = sum(max(4 * field.dim, _LEAST_BYTES) for field in fields)
    if rows * row_bytes > MAX_ANSWER_BYTES:
        raise ParameterTooLarge(
            f"{rows} rows with the fields {', '.join(names)} are at least {rows * row_bytes} "
            f"bytes; at most {MAX_ANSWER_BYTES} are allowed in an answer: ask for fewer rows "
            "or fields"
        )


def from_segment(opened: OpenSegment, names: Sequence[str]) -> Take:
    return lambda offsets: opened.segment.take(names, offsets)


def from_growing(view: GrowingView, names: Sequence[str]) -> Take:
    """Offsets are places in the view."""
    return lambda places: take_growing(view, names, places)


def gather_columns(
    state: ReadState, names: Sequence[str], sources: Array, offsets: Array
) -> pa.RecordBatch:
    """Columns of rows; `sources` counts the segments of `state`, then its growing rows, whose
    offsets are places in their view.

    Raises:
        ParameterTooLarge: see `check_size`.
    """
    check_size(state.view.schema, names, len(offsets))
    takes = [from_segment(opened, names) for opened in state.segments]
    if state.growing is not None:
        takes.append(from_growing(state.growing.view, names))
    return gather(takes, sources, offsets)
