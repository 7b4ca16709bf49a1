"""On which side of a call a span is, told from where spans of one trace were made."""

from __future__ import annotations

from enum import Enum

from mishards.observability.spans import Trace


class Kind(Enum):
    """As OpenTelemetry and Zipkin tell them."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


def kinds(trace: Trace) -> list[Kind]:
    """Per span: SERVER where what is around it is not its node's, CLIENT where what it holds is
    not, else INTERNAL."""
    node_of = {span.span_id: span.node for span in trace.spans}
    callers = {
        span.parent_id
        for span in trace.spans
        if node_of.get(span.parent_id, span.node) != span.node
    }
    found = []
    for span in trace.spans:
        if node_of.get(span.parent_id) != span.node:
            found.append(Kind.SERVER)
        else:
            found.append(Kind.CLIENT if span.span_id in callers else Kind.INTERNAL)
    return found
