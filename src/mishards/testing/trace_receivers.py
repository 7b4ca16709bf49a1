"""Receivers of traces on loopback that decode what real collectors take: OTLP by HTTP and by gRPC,
and Zipkin's JSON.

Invariants: a receiver answers from entering its context to leaving it, and nothing of it is left
after; what it refuses it does not keep.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from mishards.observability.spans import Value
from mishards.testing.received_spans import ReceivedEvent, ReceivedSpan

_WORDS = "not now"
_PROTOBUF = "application/x-protobuf"


class Received:
    """What a receiver got, and how it is to answer. Any thread.

    Attributes:
        spans: all spans taken.
        headers: of the last request, names in lower case.
        paths: of the requests so far.
        refuse: status to answer with instead of taking spans: an HTTP status, for gRPC a
            number of its own; 0 to take them.
        reject: say that this many spans of each export were not taken.
        go: cleared, requests get no answer until it is set again.
    """

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.headers: dict[str, str] = {}
        self.paths: list[str] = []
        self.refuse = 0
        self.reject = 0
        self.go = threading.Event()
        self.go.set()


class TraceReceiver(Protocol):
    """A context manager."""

    received: Received

    @property
    def url(self) -> str:
        """The endpoint to configure."""

    @property
    def unavailable(self) -> int:
        """A status for `Received.refuse` that asks for another try, and `refused` one that does
        not."""

    @property
    def refused(self) -> int: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class _HttpReceiver:
    unavailable = 503
    refused = 400

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: what it serves TLS with; None for plain HTTP."""
        self.received = Received()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                received = receiver.received
                received.go.wait()
                received.paths.append(self.path)
                received.headers = {name.lower(): value for name, value in self.headers.items()}
                status, answer = received.refuse, _WORDS.encode()
                if not status:
                    status, answer = receiver.take(body, self.headers["content-type"])
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        if tls is not None:
            self._scheme = "https"
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def take(self, body: bytes, content_type: str) -> tuple[int, bytes]:
        """Status and body of the answer to spans that came."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.received.go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Closes its connections too, so that no thread waits for what a client may still send."""

    daemon_threads = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End what clients keep open."""
        for request in list(self._open):
            try:
                request.shutdown(2)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went, or that trusts this server not, is no error of a receiver."""


class OtlpHttpReceiver(_HttpReceiver):
    """OTLP/HTTP with binary protobuf, at `/v1/traces`."""

    def take(self, body: bytes, content_type: str) -> tuple[int, bytes]:
        if content_type != _PROTOBUF or self.received.paths[-1] != "/v1/traces":
            return 415, b"no protobuf for /v1/traces"
        answer = _taken(self.received, ExportTraceServiceRequest.FromString(body))
        return 200, answer.SerializeToString()


class ZipkinReceiver(_HttpReceiver):
    """Zipkin's API version 2."""

    def take(self, body: bytes, content_type: str) -> tuple[int, bytes]:
        if content_type != "application/json" or self.received.paths[-1] != "/api/v2/spans":
            return 415, b"no JSON for /api/v2/spans"
        spans = msgspec.json.decode(body, type=list[_ZipkinSpan], strict=True)
        self.received.spans += [span.read() for span in spans]
        return 202, b""


class OtlpGrpcReceiver:
    """OTLP/gRPC."""

    unavailable = int(grpc.StatusCode.UNAVAILABLE.value[0])
    refused = int(grpc.StatusCode.INVALID_ARGUMENT.value[0])

    def __init__(self, *, tls: tuple[bytes, bytes] | None = None) -> None:
        """`tls`: key and certificate that it serves TLS with."""
        self.received = Received()
        self._pool = ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool)
        add_TraceServiceServicer_to_server(_Servicer(self.received), self._server)
        if tls is None:
            self._scheme, self._port = "grpc", self._server.add_insecure_port("127.0.0.1:0")
        else:
            credentials = grpc.ssl_server_credentials([tls])
            self._scheme = "grpcs"
            self._port = self._server.add_secure_port("127.0.0.1:0", credentials)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.received.go.set()
        self._server.stop(0).wait()
        self._pool.shutdown()


class _Servicer(TraceServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        received = self._received
        received.go.wait()
        received.paths.append("Export")
        received.headers = dict(context.invocation_metadata())
        if received.refuse:
            context.abort(_STATUSES[received.refuse], _WORDS)
        return _taken(received, request)


_STATUSES = {code.value[0]: code for code in grpc.StatusCode}


def _taken(received: Received, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
    answer = ExportTraceServiceResponse()
    if received.reject:
        answer.partial_success.rejected_spans = received.reject
        answer.partial_success.error_message = _WORDS
    else:
        received.spans += _otlp_spans(request)
    return answer


def _otlp_spans(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    trace_id=span.trace_id.hex(),
                    span_id=int.from_bytes(span.span_id, "big"),
                    parent_id=int.from_bytes(span.parent_span_id, "big"),
                    name=span.name,
                    kind=type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    service=str(resource["service.name"]),
                    instance=str(resource["service.instance.id"]),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=_attributes(span.attributes),
                    events=tuple(
                        ReceivedEvent(e.name, e.time_unix_nano, _attributes(e.attributes))
                        for e in span.events
                    ),
                    error=span.status.message if span.status.code == 2 else "",
                )


def _attributes(pairs: Any) -> dict[str, Value]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class _ZipkinEndpoint(msgspec.Struct, rename="camel"):
    service_name: str


class _ZipkinAnnotation(msgspec.Struct):
    timestamp: int
    value: str


class _ZipkinSpan(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A span as Zipkin's description of its API has it."""

    trace_id: str
    id: str
    name: str
    timestamp: int
    duration: int
    local_endpoint: _ZipkinEndpoint
    tags: dict[str, str]
    kind: str = ""
    parent_id: str = ""
    annotations: list[_ZipkinAnnotation] = []

    def read(self) -> ReceivedSpan:
        tags: dict[str, Value] = dict(self.tags)
        return ReceivedSpan(
            trace_id=self.trace_id,
            span_id=int(self.id, 16),
            parent_id=int(self.parent_id or "0", 16),
            name=self.name,
            kind=self.kind.lower() or "internal",
            service=self.local_endpoint.service_name,
            instance=str(tags.pop("service.instance.id")),
            start_ns=self.timestamp * 1000,
            end_ns=(self.timestamp + self.duration) * 1000,
            error=str(tags.pop("error", "")),
            attributes=tags,
            events=tuple(ReceivedEvent(a.value, a.timestamp * 1000) for a in self.annotations),
        )
