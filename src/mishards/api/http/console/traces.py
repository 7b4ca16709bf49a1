"""The slow and failed requests that this proxy remembers, and one of them as a waterfall. Pure."""

from __future__ import annotations

import json

import msgspec

from mishards.api.http.console.figures import duration
from mishards.api.http.console.paging import Page, cut
from mishards.observability.spans import Span, Trace, Value

_MOST_SPANS = 300
_MOST_DEPTH = 32


class TraceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A request. `about` is its collection, where it says."""

    trace_id: str
    name: str
    started_ms: int
    duration_s: float
    spans: int
    about: str
    error: str


class EventMark(msgspec.Struct, frozen=True, kw_only=True):
    """Something within a step; `at` from 0 to 1 of the whole request."""

    name: str
    at: float
    after_s: float
    said: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A span, where it stands in the request.

    Attributes:
        depth: 0 for the root.
        start: from 0 to 1 of the whole request.
        width: likewise.
    """

    name: str
    node: str
    depth: int
    start: float
    width: float
    start_s: float
    duration_s: float
    said: str
    events: list[EventMark]
    error: str


class Waterfall(msgspec.Struct, frozen=True, kw_only=True):
    """One request, step by step in the order in which they began, children below their parents."""

    row: TraceRow
    steps: list[Step]
    more_steps: int


class SlowList(msgspec.Struct, frozen=True):
    """The newest first."""

    page: Page[TraceRow]


def slow_list(traces: list[Trace], number: int = 1) -> SlowList:
    """The list of requests, a page of it."""
    page = cut(traces, number)
    rows = [trace_row(trace) for trace in page.items]
    return SlowList(Page(rows, page.number, page.pages, page.total))


def trace_row(trace: Trace) -> TraceRow:
    """A request in a line."""
    root = trace.root
    about = next(
        (s.attributes["collection"] for s in trace.spans if "collection" in s.attributes), ""
    )
    return TraceRow(
        trace_id=trace.trace_id,
        name=root.name,
        started_ms=root.start_ns // 1_000_000,
        duration_s=root.duration_s,
        spans=len(trace.spans),
        about=str(about),
        error=root.error,
    )


def waterfall(trace: Trace) -> Waterfall:
    """The steps of a request.

    Clocks of nodes differ: what one of another node says to have begun before the request, or
    ended after it, is drawn at its edge.
    """
    root = trace.root
    whole_ns = max(1, root.end_ns - root.start_ns)
    children: dict[int, list[Span]] = {}
    known = {span.span_id for span in trace.spans}
    for span in trace.spans[1:]:
        parent = span.parent_id if span.parent_id in known else root.span_id
        children.setdefault(parent, []).append(span)
    steps: list[Step] = []
    waiting = [(root, 0)]
    met: set[int] = set()
    while waiting:
        span, depth = waiting.pop()
        if span.span_id in met:
            continue
        met.add(span.span_id)
        steps.append(_step(span, depth, root.start_ns, whole_ns))
        below = sorted(children.get(span.span_id, ()), key=lambda one: one.start_ns, reverse=True)
        waiting.extend((one, min(depth + 1, _MOST_DEPTH)) for one in below)
    return Waterfall(
        row=trace_row(trace),
        steps=steps[:_MOST_SPANS],
        more_steps=max(0, len(steps) - _MOST_SPANS),
    )


def _step(span: Span, depth: int, start_ns: int, whole_ns: int) -> Step:
    start = _within((span.start_ns - start_ns) / whole_ns)
    end = _within((span.end_ns - start_ns) / whole_ns)
    return Step(
        name=span.name,
        node=span.node,
        depth=depth,
        start=start,
        width=max(0.0, end - start),
        start_s=(span.start_ns - start_ns) / 1e9,
        duration_s=span.duration_s,
        said=_said(span.attributes),
        events=[
            EventMark(
                name=event.name,
                at=_within((event.at_ns - start_ns) / whole_ns),
                after_s=(event.at_ns - start_ns) / 1e9,
                said=_said(event.attributes),
            )
            for event in span.events
        ],
        error=span.error,
    )


def as_text(view: Waterfall) -> str:
    """The same, to be copied."""
    lines = [f"trace {view.row.trace_id}"]
    for step in view.steps:
        indent = "  " * step.depth
        line = f"{indent}{step.name}  {duration(step.duration_s)}  +{duration(step.start_s)}"
        lines.append(f"{line}  at {step.node}  {step.said}".rstrip())
        if step.error:
            lines.append(f"{indent}    failed: {step.error}")
        lines += [
            f"{indent}    · {event.name}  +{duration(event.after_s)}  {event.said}".rstrip()
            for event in step.events
        ]
    if view.more_steps:
        lines.append(f"({view.more_steps} more steps)")
    return "\n".join(lines)


def _within(share: float) -> float:
    return min(1.0, max(0.0, share))


def _said(attributes: dict[str, Value]) -> str:
    return ", ".join(f"{key}={_value(value)}" for key, value in attributes.items())


def _value(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
