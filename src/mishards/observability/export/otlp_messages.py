"""Traces as messages of OTLP.

Invariant: each node of a trace is a resource of its own; attributes keep their types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
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
    by_node: dict[str, list[trace_pb2.Span]] = {}
    for trace in traces:
        trace_id = bytes.fromhex(trace.trace_id)
        for span, kind in zip(trace.spans, kinds(trace), strict=True):
            by_node.setdefault(span.node, []).append(_span(trace_id, span, kind))
    return ExportTraceServiceRequest(
        resource_spans=[
            trace_pb2.ResourceSpans(
                resource=Resource(
                    attributes=_attributes(
                        {"service.name": service(node), "service.instance.id": node}
                    )
                ),
                scope_spans=[trace_pb2.ScopeSpans(scope=_SCOPE, spans=spans)],
            )
            for node, spans in by_node.items()
        ]
    )


def _span(trace_id: bytes, span: Span, kind: Kind) -> trace_pb2.Span:
    return trace_pb2.Span(
        trace_id=trace_id,
        span_id=span.span_id.to_bytes(8, "big"),
        parent_span_id=span.parent_id.to_bytes(8, "big") if span.parent_id else b"",
        flags=_SAMPLED,
        trace_state=str(span.attributes.get(TRACESTATE, "")),
        name=span.name,
        kind=_KINDS[kind],
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=_attributes(span.attributes),
        events=[
            trace_pb2.Span.Event(
                time_unix_nano=event.at_ns,
                name=event.name,
                attributes=_attributes(event.attributes),
            )
            for event in span.events
        ],
        status=_status(span.error),
    )


def _status(error: str) -> trace_pb2.Status | None:
    if not error:
        return None
    return trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR, message=error)


def _attributes(attributes: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in attributes.items()]


def _value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int) and _LEAST <= value <= _GREATEST:
        return AnyValue(int_value=value)
    return AnyValue(double_value=float(value))
