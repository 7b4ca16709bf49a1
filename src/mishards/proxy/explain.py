"""What a search did and why, made of its trace and of the snapshot that it was planned on.

Pure. Ids are text: many a reader of JSON takes them for numbers and rounds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from mishards.metadata.snapshot import CollectionView
from mishards.observability.spans import Span, Trace, Value
from mishards.proxy.calls import SearchCall
from mishards.proxy.plan import read_scope
from mishards.proxy.prepare import compile_selection

OTHER_PARTITION = "its partition is not searched"
RULED_OUT = "its statistics rule the filter out"


class SegmentSearched(msgspec.Struct, frozen=True, kw_only=True):
    """How one reader searched a segment, or, where `segment` is empty, growing rows.

    Attributes:
        index: family of the index that was there, or `none`.
        method: `index`, `brute_force`, or one after the other; empty where no row was allowed.
        rows_allowed: visible rows that match the filter.
        selectivity: their share of the rows.
        rows_scanned: rows compared with each query; estimated for an index.
    """

    segment: str
    reader: str
    index: str
    method: str
    rows: int
    rows_allowed: int
    selectivity: float
    rows_scanned: int
    ms: float


class SegmentPruned(msgspec.Struct, frozen=True, kw_only=True):
    """A segment that was not searched."""

    segment: str
    rows: int
    why: str


class ReaderAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a reader, as the proxy saw it.

    Attributes:
        call: `search_<address>`, or `fetch_<address>` for output columns.
        reader: empty where it did not answer.
    """

    call: str
    reader: str
    ms: float
    error: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What a search did.

    Attributes:
        stages: time of each step at the proxy, in the order they were taken.
        events: what went otherwise than it should, with the span it happened in.
        spans: the whole trace, the root first.
    """

    trace_id: str
    collection: str
    ms: float
    stages: list[tuple[str, float]]
    readers: list[ReaderAsked]
    segments: list[SegmentSearched]
    pruned: list[SegmentPruned]
    events: list[dict[str, Any]]
    spans: list[dict[str, Any]]


def explained(trace: Trace, view: CollectionView, call: SearchCall) -> Explanation:
    """The explanation of a search of a collection."""
    root = trace.root
    names = {span.span_id: span.name for span in trace.spans}
    nodes = {span.parent_id: span.node for span in trace.spans}
    return Explanation(
        trace_id=trace.trace_id,
        collection=view.name,
        ms=_ms(root),
        stages=[(s.name, _ms(s)) for s in trace.spans if s.parent_id == root.span_id],
        readers=[
            ReaderAsked(
                call=span.name,
                reader=nodes.get(span.span_id, ""),
                ms=_ms(span),
                error=span.error,
            )
            for span in trace.spans
            if names.get(span.parent_id) in _ASKING
        ],
        segments=[_searched(span) for span in trace.spans if span.name in _SEARCHES],
        pruned=list(_pruned(view, call)),
        events=[
            {"event": event.name, "span": span.name, "node": span.node, **event.attributes}
            for span in trace.spans
            for event in span.events
        ],
        spans=[span_form(span) for span in trace.spans],
    )


def span_form(span: Span) -> dict[str, Any]:
    """A span as JSON takes it; ids are hexadecimal text."""
    return {
        "name": span.name,
        "span_id": f"{span.span_id:016x}",
        "parent_id": f"{span.parent_id:016x}" if span.parent_id else "",
        "node": span.node,
        "start_ns": span.start_ns,
        "ms": _ms(span),
        "attributes": {name: _form(value) for name, value in span.attributes.items()},
        "events": [
            {
                "name": event.name,
                "ms": (event.at_ns - span.start_ns) / 1e6,
                "attributes": {name: _form(value) for name, value in event.attributes.items()},
            }
            for event in span.events
        ],
        "error": span.error,
    }


_ASKING = ("do_search", "fetch")
_SEARCHES = ("search_segment", "search_growing")
_EXACT = 1 << 53


def _form(value: Value) -> Value:
    return str(value) if isinstance(value, int) and abs(value) >= _EXACT else value


def _ms(span: Span) -> float:
    return (span.end_ns - span.start_ns) / 1e6


def _searched(span: Span) -> SegmentSearched:
    told: dict[str, Any] = dict(span.attributes)
    rows = int(told.get("rows", 0))
    allowed = int(told.get("rows_allowed", rows))
    return SegmentSearched(
        segment=str(told.get("segment", "")),
        reader=span.node,
        index=str(told.get("index", "none")),
        method=str(told.get("method", "")),
        rows=rows,
        rows_allowed=allowed,
        selectivity=allowed / rows if rows else 1.0,
        rows_scanned=int(told.get("rows_scanned", 0)),
        ms=_ms(span),
    )


def _pruned(view: CollectionView, call: SearchCall) -> Iterator[SegmentPruned]:
    selection = compile_selection(call.filter, view.schema, call.templates)
    scope = read_scope(view, call.partitions, selection, growing=not call.ignore_growing)
    searched = set(scope.segments)
    for segment in view.segments.values():
        if segment.id in searched:
            continue
        elsewhere = bool(scope.partitions) and segment.partition_id not in scope.partitions
        yield SegmentPruned(
            segment=str(segment.id),
            rows=segment.rows,
            why=OTHER_PARTITION if elsewhere else RULED_OUT,
        )
