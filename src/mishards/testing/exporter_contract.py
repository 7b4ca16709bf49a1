"""What every `TraceExporter` has to do, as a suite for pytest.

Subclass `ExporterContract` under a name that starts with `Test` and give `name` and `receiver`:

    class TestMyExporter(ExporterContract):
        name = "my_package.export:open_mine"

        def receiver(self):
            return MyReceiver()

The receiver is a real server on loopback that decodes what comes; see `testing.trace_receivers`.
"""

from __future__ import annotations

from mishards.core.errors import SystemFault, Unavailable
from mishards.observability.export.protocol import ExporterSettings, TraceExporter
from mishards.observability.export.registry import open_exporter
from mishards.observability.spans import Span, SpanEvent, Trace
from mishards.testing.expect import refused
from mishards.testing.received_spans import trees
from mishards.testing.trace_receivers import TraceReceiver

PROXY, READER = "proxy-1", "reader-7"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = 0xB7AD6B7169203331
_START_NS = 1_790_000_000_000_000_000


def _span(
    span_id: int, parent_id: int, name: str, node: str, *, at_us: int, error: str = ""
) -> Span:
    start_ns = _START_NS + at_us * 1000
    return Span(
        name=name,
        span_id=span_id,
        parent_id=parent_id,
        start_ns=start_ns,
        end_ns=start_ns + 5_000,
        node=node,
        attributes={"collection": "books", "k": 10, "partial": False, "share": 0.5},
        events=(SpanEvent("cache miss", start_ns + 1000, {"segment": 3}),),
        error=error,
    )


def a_trace(trace_id: str = TRACE_ID, parent_id: int = CALLER) -> Trace:
    """A search by a proxy that asked one reader, which failed."""
    return Trace(
        trace_id=trace_id,
        sampled=True,
        spans=(
            _span(1, parent_id, "search", PROXY, at_us=0),
            _span(2, 1, "get_routing", PROXY, at_us=1),
            _span(3, 1, "do_search", PROXY, at_us=2),
            _span(4, 3, "search_tcp://10.0.0.7:1", PROXY, at_us=3),
            _span(5, 4, "search segments", READER, at_us=4, error="the segment is damaged"),
            _span(2**64 - 1, 1, "do_merge", PROXY, at_us=9),
        ),
    )


def service(node: str) -> str:
    return f"mishards-{node.partition('-')[0]}"


class ExporterContract:
    """Inherit, and override `name` and `receiver`."""

    name: str
    typed = True
    """Whether the format keeps the types of attributes, and attributes of events."""

    def receiver(self) -> TraceReceiver:
        """A receiver that does not serve yet."""
        raise NotImplementedError

    def open(self, url: str, *, timeout_s: float = 20.0, token: str = "") -> TraceExporter:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return open_exporter(
            self.name,
            ExporterSettings(endpoint=url, headers=headers, timeout_s=timeout_s, service=service),
        )

    def test_a_trace_arrives_as_the_tree_it_was(self) -> None:
        with self.receiver() as receiver:
            exporter = self.open(receiver.url)
            exporter.export([a_trace()])
            exporter.close()
            (root,) = trees(receiver.received.spans)
        assert (root.span.trace_id, root.span.parent_id) == (TRACE_ID, CALLER)
        assert [(b.span.name, b.span.span_id) for b in root.below] == [
            ("get_routing", 2),
            ("do_search", 3),
            ("do_merge", 2**64 - 1),
        ]
        ((hop,),) = (b.below for b in root.below if b.span.name == "do_search")
        (work,) = hop.below
        assert (hop.span.service, hop.span.instance) == ("mishards-proxy", PROXY)
        assert (work.span.service, work.span.instance) == ("mishards-reader", READER)
        kinds = {span.name: span.kind for span in root}
        assert kinds["search"] == kinds["search segments"] == "server"
        assert kinds["search_tcp://10.0.0.7:1"] == "client"
        assert kinds["do_merge"] == kinds["do_search"] == "internal"

    def test_times_attributes_events_and_errors_arrive(self) -> None:
        with self.receiver() as receiver:
            exporter = self.open(receiver.url)
            exporter.export([a_trace()])
            exporter.close()
            by_name = {span.name: span for span in receiver.received.spans}
        work = by_name["search segments"]
        assert (work.start_ns, work.end_ns) == (_START_NS + 4_000, _START_NS + 9_000)
        assert work.error == "the segment is damaged"
        assert by_name["search"].error == ""
        (event,) = work.events
        assert event.at_ns == _START_NS + 5_000
        if self.typed:
            assert work.attributes == {
                "collection": "books",
                "k": 10,
                "partial": False,
                "share": 0.5,
            }
            assert (event.name, event.attributes) == ("cache miss", {"segment": 3})
        else:
            assert work.attributes == {
                "collection": "books",
                "k": "10",
                "partial": "false",
                "share": "0.5",
            }
            assert event.name == "cache miss segment=3"

    def test_several_traces_go_together(self) -> None:
        ids = [f"{number:032x}" for number in range(1, 6)]
        with self.receiver() as receiver:
            exporter = self.open(receiver.url)
            exporter.export([a_trace(trace_id, 0) for trace_id in ids])
            exporter.export([a_trace()])
            exporter.close()
            found = trees(receiver.received.spans)
            assert len(receiver.received.paths) == 2
        assert sorted(tree.span.trace_id for tree in found) == sorted([*ids, TRACE_ID])
        assert [tree.span.parent_id for tree in found] == [0] * 5 + [CALLER]

    def test_headers_are_sent_and_their_values_not_shown(self) -> None:
        with self.receiver() as receiver:
            exporter = self.open(receiver.url, token="hush-hush")
            exporter.export([a_trace()])
            assert receiver.received.headers["authorization"] == "Bearer hush-hush"
            receiver.received.refuse = receiver.refused
            error = refused(SystemFault, lambda: exporter.export([a_trace()]))
            exporter.close()
        assert "hush" not in f"{error!r} {exporter.name}"

    def test_what_passes_is_told_from_what_does_not(self) -> None:
        with self.receiver() as receiver:
            exporter = self.open(receiver.url)
            receiver.received.refuse = receiver.unavailable
            refused(Unavailable, lambda: exporter.export([a_trace()]))
            receiver.received.refuse = receiver.refused
            error = refused(SystemFault, lambda: exporter.export([a_trace()]))
            assert not error.retriable
            assert "not now" in error.message
            receiver.received.refuse = 0
            exporter.export([a_trace()])
            exporter.close()
            assert len(receiver.received.spans) == len(a_trace().spans)

    def test_nobody_there_is_unavailable(self) -> None:
        with self.receiver() as receiver:
            url = receiver.url
        exporter = self.open(url)
        error = refused(Unavailable, lambda: exporter.export([a_trace()]))
        exporter.close()
        assert exporter.name in error.message

    def test_a_collector_that_does_not_answer_is_given_up(self) -> None:
        with self.receiver() as receiver:
            receiver.received.go.clear()
            exporter = self.open(receiver.url, timeout_s=0.2)
            refused(Unavailable, lambda: exporter.export([a_trace()]))
            exporter.close()
