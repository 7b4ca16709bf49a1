"""Exports traces to Zipkin, as JSON of its API version 2.

Source: Zipkin's OpenAPI description, `POST /api/v2/spans`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from mishards.observability.export.endpoint import parse_endpoint
from mishards.observability.export.kinds import Kind, kinds
from mishards.observability.export.post import PORTS, Poster
from mishards.observability.export.protocol import ExporterSettings, Service, TraceExporter
from mishards.observability.spans import Span, SpanEvent, Trace, Value

_DEFAULT = "http://127.0.0.1:9411"
_PATH = "/api/v2/spans"
_INSTANCE = "service.instance.id"

_Text = str | msgspec.UnsetType
_KINDS: dict[Kind, _Text] = {
    Kind.SERVER: "SERVER",
    Kind.CLIENT: "CLIENT",
    Kind.INTERNAL: msgspec.UNSET,
}


class _Annotation(msgspec.Struct, frozen=True):
    timestamp: int
    value: str


class _LocalEndpoint(msgspec.Struct, frozen=True, rename="camel"):
    service_name: str


class _Span(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A span of Zipkin's; times in microseconds."""

    trace_id: str
    id: str
    name: str
    timestamp: int
    duration: int
    local_endpoint: _LocalEndpoint
    tags: dict[str, str]
    parent_id: _Text = msgspec.UNSET
    kind: _Text = msgspec.UNSET
    annotations: list[_Annotation] = []


class ZipkinExporter:
    """Posts lists of spans."""

    def __init__(self, settings: ExporterSettings) -> None:
        endpoint = parse_endpoint(settings.endpoint or _DEFAULT, PORTS)
        if not endpoint.path:
            endpoint = msgspec.structs.replace(endpoint, path=_PATH)
        self._poster = Poster(endpoint, settings, "application/json")
        self._service = settings.service

    @property
    def name(self) -> str:
        return self._poster.name

    def export(self, traces: Sequence[Trace]) -> None:
        self._poster.post(encoded(traces, self._service))

    def close(self) -> None:
        self._poster.close()


def open_zipkin(settings: ExporterSettings) -> TraceExporter:
    """The exporter; without an endpoint, to a Zipkin on this machine."""
    return ZipkinExporter(settings)


def encoded(traces: Sequence[Trace], service: Service) -> bytes:
    """All spans of the traces, as Zipkin takes them."""
    return msgspec.json.encode([span for trace in traces for span in _spans(trace, service)])


def _spans(trace: Trace, service: Service) -> Iterator[_Span]:
    for span, kind in zip(trace.spans, kinds(trace), strict=True):
        yield _Span(
            trace_id=trace.trace_id,
            id=f"{span.span_id:016x}",
            parent_id=f"{span.parent_id:016x}" if span.parent_id else msgspec.UNSET,
            name=span.name,
            kind=_KINDS[kind],
            timestamp=span.start_ns // 1000,
            # What took less than a microsecond would else be a span that has not ended.
            duration=max(1, (span.end_ns - span.start_ns) // 1000),
            local_endpoint=_LocalEndpoint(service(span.node)),
            tags=_tags(span),
            annotations=[_Annotation(e.at_ns // 1000, _words(e)) for e in span.events],
        )


def _tags(span: Span) -> dict[str, str]:
    tags = {name: _text(value) for name, value in span.attributes.items()}
    tags[_INSTANCE] = span.node
    if span.error:
        tags["error"] = span.error
    return tags


def _words(event: SpanEvent) -> str:
    """An event in one line: Zipkin's have no attributes."""
    said = (f"{name}={_text(value)}" for name, value in event.attributes.items())
    return " ".join((event.name, *said))


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
