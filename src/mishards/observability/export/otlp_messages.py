"""Traces as messages of OTLP.

Invariant: each node of a trace is a resource of its own; attributes keep their types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1 import trace_pb2

from mishards.observability.export.kinds import Kind, kinds
from mishards.observability.export.protocol import Service
from mishards.observability.propagation import TRACESTATE
from mishards.observability.spans import Span, Trace, Value

_SAMPLED = 1
_LEAST, _GREATEST = -(2**63), 2**63 - 1
_KINDS = {
    Kind.INTERNAL: trace_pb2.Span.SPAN_KIND_INTERNAL,
    Kind.SERVER: trace_pb2.Span.SPAN_KIND_SERVER,
    Kind.CLIENT: trace_pb2.Span.SPAN_KIND_CLIENT,
}
_SCOPE = InstrumentationScope(name="mishards")


def request(traces: Sequence[Trace], service: Service) -> ExportTraceServiceRequest:
    """One export of all spans of the traces."""
    made = ExportTraceServiceRequest()
    by_node: dict[str, Any] = {}
    for trace in traces:
        trace_id = bytes.fromhex(trace.trace_id)
        for span, kind in zip(trace.spans, kinds(trace), strict=True):
            spans = by_node.get(span.node)
            if spans is None:
                spans = by_node[span.node] = _resource(made, service(span.node), span.node)
            _add(spans, trace_id, span, kind)
    return made


def _resource(made: ExportTraceServiceRequest, service: str, node: str) -> Any:
    """Where the spans of a node go."""
    group = made.resource_spans.add()
    _fill(group.resource.attributes, {"service.name": service, "service.instance.id": node})
    return group.scope_spans.add(scope=_SCOPE).spans


def _add(spans: Any, trace_id: bytes, span: Span, kind: Kind) -> None:
    # Filled in place: a message that is made by itself and then put into another takes three times
    # as long.
    made = spans.add(
        trace_id=trace_id,
        span_id=span.span_id.to_bytes(8, "big"),
        flags=_SAMPLED,
        name=span.name,
        kind=_KINDS[kind],
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
    )
    if span.parent_id:
        made.parent_span_id = span.parent_id.to_bytes(8, "big")
    _fill(made.attributes, span.attributes)
    if TRACESTATE in span.attributes:
        made.trace_state = str(span.attributes[TRACESTATE])
    for event in span.events:
        added = made.events.add(time_unix_nano=event.at_ns, name=event.name)
        _fill(added.attributes, event.attributes)
    if span.error:
        made.status.code = trace_pb2.Status.STATUS_CODE_ERROR
        made.status.message = span.error


def _fill(pairs: Any, attributes: Mapping[str, Value]) -> None:
    for name, value in attributes.items():
        into = pairs.add(key=name).value
        if isinstance(value, str):
            into.string_value = value
        elif isinstance(value, bool):
            into.bool_value = value
        elif isinstance(value, int) and _LEAST <= value <= _GREATEST:
            into.int_value = value
        else:
            into.double_value = float(value)
