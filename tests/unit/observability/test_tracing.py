"""Recording: stages and spans become one whole tree, across nodes, joint work, and limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mishards.observability import tracing
from mishards.observability.spans import Span, Trace
from mishards.observability.tracing import (
    Hops,
    PeerTraces,
    Recorder,
    current,
    recorded,
    recording,
)

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


class Clock:
    """Each look at it is a nanosecond later."""

    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def made(clock: Clock) -> Callable[..., Recorder]:
    def make(name: str = "Search", span_id: int = 100) -> Recorder:
        return Recorder(name, "proxy", clock, TRACE_ID, 7, span_id)

    return make


def children(trace: Trace, parent: Span) -> list[str]:
    return [span.name for span in trace.spans if span.parent_id == parent.span_id]


def test_stages_follow_one_another_below_the_root(made: Callable[..., Recorder]) -> None:
    recorder = made()
    recorder.begin("get_routing")
    recorder.begin("do_search")
    recorder.end()
    trace = recorder.trace()
    root, routing, search = trace.spans
    assert (trace.trace_id, root.name, root.parent_id) == (TRACE_ID, "Search", 7)
    assert children(trace, root) == ["get_routing", "do_search"]
    assert routing.end_ns == search.start_ns > routing.start_ns
    assert search.end_ns == root.end_ns


def test_between_stages_the_root_is_the_stage(made: Callable[..., Recorder]) -> None:
    recorder = made()
    recorder.begin("get_routing")
    recorder.leave()
    recorder.event("to_loop", reason="no reader")
    recorder.end()
    (root, routing) = recorder.trace().spans
    assert not routing.events
    assert [(event.name, event.attributes) for event in root.events] == [
        ("to_loop", {"reason": "no reader"})
    ]
    assert routing.end_ns < root.events[0].at_ns < root.end_ns


def test_what_was_in_vain_is_put_apart(made: Callable[..., Recorder]) -> None:
    recorder = made()
    recorder.begin("get_routing")
    recorder.begin("do_search")
    recorder.open("search_a")
    recorder.fold("in_thread")
    recorder.begin("get_routing")
    recorder.end()
    trace = recorder.trace()
    assert children(trace, trace.root) == ["in_thread", "get_routing"]
    (vain,) = (span for span in trace.spans if span.name == "in_thread")
    assert children(trace, vain) == ["get_routing", "do_search"]
    assert trace.root.start_ns == vain.start_ns < vain.end_ns < trace.root.end_ns


def test_spans_beside_one_another_have_ends_and_errors_of_their_own(
    made: Callable[..., Recorder],
) -> None:
    recorder = made()
    stage = recorder.begin("do_search")
    one, other, never = (recorder.open(f"search_{name}") for name in "abc")
    recorder.close(other, "Unavailable: gone")
    recorder.close(one)
    recorder.close(one, "the first end counts")
    recorder.end("Unavailable: gone")
    trace = recorder.trace()
    found = {span.name: span for span in trace.spans}
    assert {found[f"search_{name}"].parent_id for name in "abc"} == {stage.span_id}
    assert found["search_a"].end_ns > found["search_b"].end_ns
    assert [found[f"search_{name}"].error for name in "abc"] == ["", "Unavailable: gone", ""]
    assert found["search_c"].end_ns == trace.root.end_ns, never
    assert trace.root.error == "Unavailable: gone"
    assert len({span.span_id for span in trace.spans}) == 5


def test_a_peers_spans_go_below_the_call_that_asked_it(
    made: Callable[..., Recorder], clock: Clock
) -> None:
    recorder = made()
    recorder.begin("do_search")
    hops = Hops(recorder, ["search_a", "search_b"])
    peer = PeerTraces(clock, "reader").begin("search", hops.traceparent(1))
    assert peer is not None
    peer.begin("search_segment").attributes = {"rows": 5, "index": "HNSW"}
    recorder.adopt(memoryview(peer.given_back()))
    hops.answered(1)
    recorder.end()
    trace = recorder.trace()
    there = next(span for span in trace.spans if span.node == "reader")
    assert peer.trace_id == TRACE_ID
    assert there.parent_id == hops.spans[1].span_id
    assert children(trace, there) == ["search_segment"]
    assert trace.spans[-1].attributes == {"rows": 5, "index": "HNSW"}


def test_joint_work_is_in_each_ones_trace(made: Callable[..., Recorder]) -> None:
    one, other = made(span_id=100), made(span_id=5_000)
    one.begin("do_search")
    one.open("search_a")
    other.share(one)
    one.end()
    other.end()
    trace = other.trace()
    assert children(trace, trace.root) == ["do_search"]
    (search,) = (span for span in trace.spans if span.name == "do_search")
    assert children(trace, search) == ["search_a"]
    assert trace.root.span_id == 5_000


def test_a_peer_gives_back_no_more_than_it_may(made: Callable[..., Recorder], clock: Clock) -> None:
    peer = PeerTraces(clock, "reader").begin("search", made().traceparent(made().root))
    assert peer is not None
    for _ in range(tracing.MOST_SPANS + 50):
        if not peer.is_full:
            peer.begin("search_segment")
    recorder = made()
    recorder.adopt(peer.given_back())
    spans = recorder.trace().spans
    assert len(spans) == tracing.MOST_SPANS + 1
    assert spans[1].attributes == {"spans_left_out": 51}


def test_a_trace_takes_no_more_from_peers_than_it_may(made: Callable[..., Recorder]) -> None:
    recorder, peer = made(), made("search")
    peer.root.attributes["padding"] = "." * (400 << 10)
    for _ in range(4):
        recorder.adopt(peer.given_back())
    trace = recorder.trace()
    assert len(trace.spans) == 3
    assert trace.root.attributes == {"spans_left_out": 2}


def test_what_is_recorded_is_found_by_who_works_for_it(made: Callable[..., Recorder]) -> None:
    assert current() is None
    recorder = made()
    before = recording(recorder)
    assert current() is recorder
    recorded(before)
    assert current() is None
