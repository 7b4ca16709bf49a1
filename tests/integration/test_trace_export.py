"""Searches of a cluster of processes, traced from the client's context on, at real receivers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.propagators.b3 import B3SingleFormat
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pymilvus import MilvusClient

from mishards.testing.client_rows import connected, create, insert, nearest, query_of
from mishards.testing.local_cluster import LocalCluster, free_port, wait_for
from mishards.testing.received_spans import Branch, trees
from mishards.testing.trace_receivers import OtlpHttpReceiver, TraceReceiver, ZipkinReceiver

SPAN_ID = 0xB7AD6B7169203331
_SEGMENTS = 6


W3C, B3 = TraceContextTextMapPropagator(), B3SingleFormat()


class ClientSpan(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Puts a span of the client's into the headers of each call, as OpenTelemetry's
    instrumentation of grpcio does."""

    def __init__(self) -> None:
        self.trace_id = 0
        """Of the calls to come; 0 to say nothing."""
        self.sampled = True
        self.propagator: TextMapPropagator = W3C

    def intercept_unary_unary(self, proceed: Any, details: Any, request: Any) -> Any:
        if self.trace_id:
            headers: dict[str, str] = {}
            flags = TraceFlags(int(self.sampled))
            context = SpanContext(self.trace_id, SPAN_ID, False, flags)
            self.propagator.inject(headers, set_span_in_context(NonRecordingSpan(context)))
            details = details._replace(metadata=[*(details.metadata or ()), *headers.items()])
        return proceed(details, request)


@pytest.fixture(scope="module")
def receiver() -> Iterator[TraceReceiver]:
    with OtlpHttpReceiver() as found:
        yield found


@pytest.fixture(scope="module")
def cluster(
    receiver: TraceReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalCluster]:
    settings = (
        "cluster.routing=rendezvous",
        "tracing.exporter=otlp",
        f"tracing.endpoint={receiver.url}",
        "tracing.slow_ms=1000000",
        "proxy.hedge=false",
    )
    with LocalCluster(tmp_path_factory.mktemp("traced"), *settings) as found:
        found.start_all(readers=2)
        yield found


@pytest.fixture(scope="module")
def caller() -> ClientSpan:
    return ClientSpan()


@contextmanager
def instrumented(uri: str, caller: ClientSpan) -> Iterator[MilvusClient]:
    """A client whose calls go out with the caller's headers."""
    plain = grpc.insecure_channel

    def traced(*args: Any, **options: Any) -> Any:
        return grpc.intercept_channel(plain(*args, **options), caller)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpc, "insecure_channel", traced)
        with connected(uri) as found:
            yield found


@pytest.fixture(scope="module")
def client(cluster: LocalCluster, caller: ClientSpan) -> Iterator[MilvusClient]:
    with instrumented(cluster.uri, caller) as found:
        create(found, "traced")
        for number in range(_SEGMENTS):
            insert(found, "traced", range(number * 20, (number + 1) * 20))
            found.flush("traced")
        nearest(found, "traced", query_of(1))
        yield found


def traced(receiver: TraceReceiver, trace_id: int) -> Branch:
    """The one tree of a trace, when it has come."""

    def found() -> list[Branch]:
        spans = [s for s in receiver.received.spans if s.trace_id == f"{trace_id:032x}"]
        return trees(spans)

    (tree,) = wait_for(found, f"trace {trace_id:032x}")
    return tree


def test_a_search_is_one_tree_below_the_clients_span(
    client: MilvusClient, caller: ClientSpan, receiver: TraceReceiver
) -> None:
    caller.trace_id, caller.sampled = 0xABC1, True
    nearest(client, "traced", query_of(2))
    caller.trace_id = 0
    root = traced(receiver, 0xABC1)
    assert (root.span.name, root.span.parent_id, root.span.kind) == ("Search", SPAN_ID, "server")
    assert (root.span.service, root.span.instance) == ("mishards-proxy", "proxy")
    assert {"get_routing", "do_search", "do_merge"} <= {b.span.name for b in root.below}
    (asking,) = (b for b in root.below if b.span.name == "do_search")
    hops = [branch for branch in asking.below if branch.span.name.startswith("search_tcp://")]
    assert {hop.span.kind for hop in hops} == {"client"}
    work = [below.span for hop in hops for below in hop.below]
    assert {(span.name, span.kind) for span in work} == {("search", "server")}
    assert {span.service for span in work} == {"mishards-reader"}
    assert {span.instance for span in work} == {"reader-1", "reader-2"}
    for span in root:
        assert root.span.start_ns <= span.start_ns <= span.end_ns


def test_a_write_is_followed_to_the_durable_entry(
    client: MilvusClient, caller: ClientSpan, receiver: TraceReceiver
) -> None:
    caller.trace_id, caller.sampled = 0xABC0, True
    insert(client, "traced", [1000])
    caller.trace_id = 0
    root = traced(receiver, 0xABC0)
    assert (root.span.name, root.span.parent_id) == ("Insert", SPAN_ID)
    (append,) = root.named("append")
    assert (append.span.service, append.span.instance) == ("mishards-writer", "writer")


def test_the_client_decides_that_a_trace_is_not_kept(
    client: MilvusClient, caller: ClientSpan, receiver: TraceReceiver
) -> None:
    caller.trace_id, caller.sampled = 0xABC2, False
    nearest(client, "traced", query_of(3))
    caller.trace_id, caller.sampled = 0xABC3, True
    nearest(client, "traced", query_of(3))
    caller.trace_id = 0
    traced(receiver, 0xABC3)
    assert f"{0xABC2:032x}" not in {span.trace_id for span in receiver.received.spans}


def test_the_clients_request_id_is_kept(
    client: MilvusClient, caller: ClientSpan, receiver: TraceReceiver
) -> None:
    caller.trace_id, caller.sampled = 0xABC4, True
    client.search("traced", [query_of(4)], limit=3, client_request_id="order-66")
    caller.trace_id = 0
    told = traced(receiver, 0xABC4).span.attributes
    assert told["client.request_id"] == "order-66"
    assert int(str(told["client.sent_unix_ms"])) > 0


def test_a_collector_that_stands_still_costs_no_search(
    client: MilvusClient, caller: ClientSpan, receiver: TraceReceiver
) -> None:
    receiver.received.go.clear()
    caller.sampled = True
    for number in range(30):
        caller.trace_id = 0xD000 + number
        assert len(nearest(client, "traced", query_of(number))) == 10
    caller.trace_id = 0
    receiver.received.go.set()
    traced(receiver, 0xD000 + 29)


def test_b3_through_grpcio_to_zipkin(
    cluster: LocalCluster, client: MilvusClient, caller: ClientSpan
) -> None:
    with ZipkinReceiver() as receiver:
        port = free_port()
        settings = (
            "tracing.exporter=zipkin",
            f"tracing.endpoint={receiver.url}",
            "proxy.edge=grpcio",
        )
        options = [word for setting in settings for word in ("--set", setting)]
        proxy = cluster.start("proxy", "--port", str(port), *options, name="proxy-b3").wait_ready()
        with instrumented(f"http://127.0.0.1:{port}", caller) as other:
            caller.trace_id, caller.sampled, caller.propagator = 0xB3, True, B3
            nearest(other, "traced", query_of(5))
            caller.trace_id, caller.propagator = 0, W3C
        root = traced(receiver, 0xB3)
        assert (root.span.name, root.span.parent_id) == ("Search", SPAN_ID)
        assert (root.span.service, root.span.instance) == ("mishards-proxy", "proxy-b3")
        assert proxy.stop() == 0
