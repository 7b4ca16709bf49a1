"""Spans as a receiver of traces decoded them, and the trees that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from mishards.observability.spans import Value


class ReceivedEvent(msgspec.Struct, frozen=True):
    """Attributes are empty where the format has none for events."""

    name: str
    at_ns: int
    attributes: dict[str, Value] = {}


class ReceivedSpan(msgspec.Struct, frozen=True):
    """One span, whatever format it came in.

    Attributes:
        kind: `internal`, `server` or `client`.
        service: name of the service that made it, and `instance` which of that.
        error: empty for none.
    """

    trace_id: str
    span_id: int
    parent_id: int
    name: str
    kind: str
    service: str
    instance: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    events: tuple[ReceivedEvent, ...]
    error: str


class Branch(msgspec.Struct, frozen=True):
    """A span with those below it, in the order they began."""

    span: ReceivedSpan
    below: tuple[Branch, ...]

    def __iter__(self) -> Iterator[ReceivedSpan]:
        """This span and all below it."""
        yield self.span
        for branch in self.below:
            yield from branch

    def named(self, start: str) -> list[Branch]:
        """The branches of this tree whose span's name begins so."""
        own = [self] if self.span.name.startswith(start) else []
        return own + [found for branch in self.below for found in branch.named(start)]


def trees(spans: Iterable[ReceivedSpan]) -> list[Branch]:
    """The spans as trees: a root for each whose parent was not received.

    Raises:
        ValueError: an id was received twice.
    """
    by_id: dict[tuple[str, int], ReceivedSpan] = {}
    for span in spans:
        if (span.trace_id, span.span_id) in by_id:
            raise ValueError(f"span {span.span_id:016x} of trace {span.trace_id} came twice")
        by_id[span.trace_id, span.span_id] = span
    below: dict[tuple[str, int], list[ReceivedSpan]] = {}
    for span in by_id.values():
        below.setdefault((span.trace_id, span.parent_id), []).append(span)

    def branch(span: ReceivedSpan) -> Branch:
        own = sorted(below.get((span.trace_id, span.span_id), []), key=lambda s: s.start_ns)
        return Branch(span, tuple(map(branch, own)))

    return [branch(span) for span in by_id.values() if (span.trace_id, span.parent_id) not in by_id]
