"""Exports traces by OTLP, the OpenTelemetry protocol: HTTP/protobuf or gRPC, by the URL's scheme.

Source: OpenTelemetry, OTLP specification 1.x; the messages are those of `opentelemetry-proto`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import grpc
import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from mishards.core.errors import ConfigError, SystemFault, Unavailable
from mishards.observability.export.endpoint import Endpoint, parse_endpoint, require_ca
from mishards.observability.export.otlp_messages import request
from mishards.observability.export.post import Poster
from mishards.observability.export.protocol import ExporterSettings, TraceExporter
from mishards.observability.spans import Trace

_DEFAULT = "http://127.0.0.1:4318"
_PORTS = {"http": 4318, "https": 4318, "grpc": 4317, "grpcs": 4317}
_PATH = "/v1/traces"
_AGAIN = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Statuses that OTLP's specification names as passing."""


def open_otlp(settings: ExporterSettings) -> TraceExporter:
    """The exporter; without an endpoint, to a collector on this machine over HTTP."""
    endpoint = parse_endpoint(settings.endpoint or _DEFAULT, _PORTS)
    if endpoint.scheme in ("grpc", "grpcs"):
        return OtlpGrpcExporter(endpoint, settings)
    return OtlpHttpExporter(endpoint, settings)


class OtlpHttpExporter:
    """OTLP/HTTP with binary protobuf; a URL without a path gets `/v1/traces`."""

    def __init__(self, endpoint: Endpoint, settings: ExporterSettings) -> None:
        if not endpoint.path:
            endpoint = msgspec.structs.replace(endpoint, path=_PATH)
        self._poster = Poster(endpoint, settings, "application/x-protobuf")
        self._service = settings.service

    @property
    def name(self) -> str:
        return self._poster.name

    def export(self, traces: Sequence[Trace]) -> None:
        answer = self._poster.post(request(traces, self._service).SerializeToString())
        try:
            _require_all(self.name, ExportTraceServiceResponse.FromString(answer))
        except DecodeError as error:
            raise SystemFault(f"{self.name} answers what is no answer of OTLP") from error

    def close(self) -> None:
        self._poster.close()


class OtlpGrpcExporter:
    """OTLP/gRPC; `grpcs` is TLS."""

    def __init__(self, endpoint: Endpoint, settings: ExporterSettings) -> None:
        if endpoint.account or endpoint.path:
            raise ConfigError(
                f"tracing.endpoint = {endpoint.name!r} is not allowed: gRPC has neither path nor "
                "account; a token goes into tracing.headers"
            )
        require_ca(settings.ca)
        self.name = endpoint.name
        self._settings = settings
        self._channel = _channel(endpoint, settings.ca)
        self._stub = TraceServiceStub(self._channel)

    def export(self, traces: Sequence[Trace]) -> None:
        try:
            answer = self._stub.Export(
                request(traces, self._settings.service),
                metadata=tuple(self._settings.headers.items()),
                timeout=self._settings.timeout_s,
            )
        except grpc.RpcError as error:
            kind = Unavailable if error.code() in _AGAIN else SystemFault
            words = f"{self.name} answers {error.code().name}: {error.details()}"
            raise kind(words) from error
        except ValueError as error:
            raise Unavailable(f"the way to {self.name} is closed") from error
        _require_all(self.name, answer)

    def close(self) -> None:
        self._channel.close()


def _channel(endpoint: Endpoint, ca: str) -> grpc.Channel:
    options = [("grpc.enable_retries", 0), ("grpc.max_reconnect_backoff_ms", 5000)]
    if endpoint.scheme == "grpc":
        return grpc.insecure_channel(endpoint.address, options=options)
    roots = Path(ca).read_bytes() if ca else None
    credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    return grpc.secure_channel(endpoint.address, credentials, options=options)


def _require_all(name: str, answer: ExportTraceServiceResponse) -> None:
    """Raises `SystemFault` where the collector says that it did not take all."""
    partial = answer.partial_success
    if partial.rejected_spans:
        raise SystemFault(f"{name} refused {partial.rejected_spans} spans: {partial.error_message}")
