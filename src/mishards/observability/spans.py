"""What one request did, as a tree of spans: the form in which nodes hand it to one another.

A trace is recorded in memory by the node that took the request. A node that is asked to record
gives its spans back with its answer, so the node that asked holds the whole tree, and alone decides
whether it is kept, exported, or forgotten.

Invariants: ids are those of W3C trace context; a span's times are of one clock, its node's; values
of attributes are what both OTLP and Zipkin can carry.
"""

from __future__ import annotations

import msgspec

Value = str | bool | int | float


class SpanEvent(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened within a span: a retry, a hedge, a cache miss, a wait.

    Attributes:
        at_ns: Unix time.
    """

    name: str
    at_ns: int
    attributes: dict[str, Value] = {}


class Span(msgspec.Struct, frozen=True, array_like=True):
    """A step of a request.

    Attributes:
        span_id: 64 bits, never 0.
        parent_id: of the span around it; 0 for none.
        start_ns: Unix time.
        end_ns: not before the start.
        node: id of the node that did it.
        error: what went wrong; empty when nothing did.
    """

    name: str
    span_id: int
    parent_id: int
    start_ns: int
    end_ns: int
    node: str
    attributes: dict[str, Value] = {}
    events: tuple[SpanEvent, ...] = ()
    error: str = ""

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


class Trace(msgspec.Struct, frozen=True, array_like=True):
    """All that is known of one request. The first span is its root.

    Attributes:
        trace_id: 32 lower-case hex digits: the client's, where it sent one.
        sampled: chosen before it began, by the client or by chance; others are kept for being slow
            or failed.
    """

    trace_id: str
    sampled: bool
    spans: tuple[Span, ...]

    @property
    def root(self) -> Span:
        return self.spans[0]
