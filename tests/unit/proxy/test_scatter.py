"""Fail-over and hedging: only what failed is sent again, and every unit is answered for once."""

import asyncio
import time

import msgspec
import pytest

from mishards.core.errors import (
    CorruptObject,
    DeadlineExceeded,
    InvalidParameter,
    SegmentUnavailable,
    Unavailable,
)
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.observability.instruments import Metrics
from mishards.observability.tracing import Recorder, recorded, recording
from mishards.proxy.assignment import Assignment
from mishards.proxy.config import ProxyConfig
from mishards.proxy.hedging import HedgeClock
from mishards.proxy.measures import ProxyMeasures
from mishards.proxy.scatter import Scatter
from mishards.rpc.messages import UnitFailure

GROWING = -7


class Asked(msgspec.Struct, frozen=True):
    units: tuple[int, ...]


class Partial(msgspec.Struct, frozen=True):
    node: str
    units: tuple[int, ...]
    failures: tuple[UnitFailure, ...] = ()


class FakeMembership:
    """As much of `Membership` as scattering needs."""

    def __init__(self, names):
        self.nodes = tuple(NodeInfo(id=n, roles=("reader",), address=f"mem://{n}") for n in names)
        self.suspected = []

    @property
    def view(self):
        return self

    def suspect(self, node, seconds):
        self.suspected.append(node)


class FakeTransport:
    """Channels whose answers are functions of the units, per node."""

    def __init__(self, answers):
        self.answers = answers
        self.calls = []

    def channel(self, address):
        transport, node = self, address.removeprefix("mem://")

        class Channel:
            def begin(self, message, *, timeout_s, traceparent=""):
                return None

            async def call(self, message, *, timeout_s, traceparent=""):
                transport.calls.append((node, message.units))
                return await transport.answers[node](message.units)

        return Channel()


def serving(node):
    async def answer(units):
        return Partial(node, units)

    return answer


def raising(error):
    async def answer(units):
        raise error

    return answer


def failing_on(node, unit):
    async def answer(units):
        return Partial(node, units, (UnitFailure(unit, "CorruptObject", f"segment {unit}"),))

    return answer


def never():
    async def answer(units):
        await asyncio.Event().wait()

    return answer


def scatter(answers, preferences, **options):
    """Run one scatter that has to be complete; gives (served, transport, membership)."""
    gathered, transport, membership = gather(answers, preferences, **options)
    assert gathered.missing == {}
    return gathered.served, transport, membership


def gather(
    answers,
    preferences,
    *,
    config=None,
    hedges=None,
    deadline_s=10.0,
    growing=None,
    partial=False,
    measures=None,
):
    """Run one scatter; gives (gathered, transport, membership)."""
    config = config or ProxyConfig(hedge=False)

    async def run():
        runtime = SystemRuntime()
        transport, membership = FakeTransport(answers), FakeMembership(answers)
        assignment = Assignment(preferences, tuple(preferences), growing)
        try:
            gathered = await Scatter(
                runtime, transport, membership, config, hedges or HedgeClock(config), assignment,
                lambda units: Asked(tuple(units)), runtime.monotonic_s() + deadline_s,
                measures, partial=partial,
            ).run()  # fmt: skip
        finally:
            await runtime.close()
        return gathered, transport, membership

    return asyncio.run(run())


def test_units_go_to_their_first_readers_in_one_request_each():
    answers = {"a": serving("a"), "b": serving("b")}
    served, transport, _ = scatter(answers, {1: ("a", "b"), 2: ("b", "a"), 3: ("a", "b")})
    assert sorted(transport.calls) == [("a", (1, 3)), ("b", (2,))]
    assert sorted(u for units, _ in served for u in units) == [1, 2, 3]


def test_growing_rows_go_to_a_reader_that_is_asked_anyway():
    answers = {"a": serving("a"), "b": serving("b")}
    preferences = {1: ("a", "b"), GROWING: ("b", "a")}
    _, transport, _ = scatter(answers, preferences, growing=GROWING)
    assert transport.calls == [("a", (1, GROWING))]


def test_units_of_a_dead_reader_go_to_the_next():
    answers = {"a": raising(Unavailable("gone")), "b": serving("b"), "c": serving("c")}
    preferences = {1: ("a", "b", "c"), 2: ("a", "c", "b"), 3: ("b", "a", "c")}
    served, transport, membership = scatter(answers, preferences)
    assert sorted(transport.calls) == [("a", (1, 2)), ("b", (1,)), ("b", (3,)), ("c", (2,))]
    assert sorted(u for units, _ in served for u in units) == [1, 2, 3]
    assert membership.suspected == ["a"]


def test_only_the_failed_unit_of_an_answer_is_sent_again():
    answers = {"a": failing_on("a", 2), "b": serving("b")}
    served, transport, _ = scatter(answers, {1: ("a", "b"), 2: ("a", "b")})
    assert transport.calls == [("a", (1, 2)), ("b", (2,))]
    assert [list(units) for units, _ in served] == [[1], [2]]


def test_without_another_reader_the_cause_is_the_answer():
    with pytest.raises(Unavailable, match="gone"):
        scatter({"a": raising(Unavailable("gone"))}, {1: ("a",)})


def test_a_unit_without_readers_is_an_error():
    with pytest.raises(SegmentUnavailable, match="segment 1"):
        scatter({}, {1: ()})


def test_bad_input_is_not_retried():
    answers = {"a": raising(InvalidParameter("k")), "b": serving("b")}
    with pytest.raises(InvalidParameter):
        scatter(answers, {1: ("a", "b")})


def test_a_partial_answer_names_what_every_reader_has_failed():
    answers = {"a": failing_on("a", 2), "b": failing_on("b", 2)}
    preferences = dict.fromkeys((1, 2, 3), ("a", "b"))
    gathered, transport, _ = gather(answers, preferences, partial=True)
    assert sorted(u for units, _ in gathered.served for u in units) == [1, 3]
    assert {unit: str(error) for unit, error in gathered.missing.items()} == {2: "segment 2"}
    assert isinstance(gathered.missing[2], CorruptObject)
    assert transport.calls == [("a", (1, 2, 3)), ("b", (2,))]


def test_a_partial_answer_is_complete_where_another_reader_serves_the_unit():
    answers = {"a": failing_on("a", 2), "b": serving("b")}
    gathered, _, _ = gather(answers, {1: ("a", "b"), 2: ("a", "b")}, partial=True)
    assert gathered.missing == {}


def test_units_of_readers_that_are_all_gone_are_missing():
    answers = {"a": raising(Unavailable("a is gone")), "b": raising(Unavailable("b is gone"))}
    gathered, _, membership = gather(answers, {1: ("a", "b"), GROWING: ("a", "b")}, partial=True)
    assert gathered.served == []
    assert set(gathered.missing) == {1, GROWING}
    assert membership.suspected == ["a", "b"]


def test_a_whole_copy_counts_before_a_partial_answer():
    config = ProxyConfig(hedge_least_ms=1, hedge_budget=1.0, stall_s=10)

    async def later(units):
        await asyncio.sleep(0.05)
        return Partial("a", units)

    answers = {"a": later, "b": failing_on("b", 1)}
    gathered, transport, _ = gather(
        answers, {1: ("a", "b")}, config=config, hedges=warm_hedges(config), partial=True
    )
    assert transport.calls == [("a", (1,)), ("b", (1,))]
    assert gathered.missing == {}
    assert [partial.node for _, partial in gathered.served] == ["a"]


def test_bad_input_is_an_error_where_partial_answers_are_allowed():
    with pytest.raises(InvalidParameter):
        gather({"a": raising(InvalidParameter("k"))}, {1: ("a",)}, partial=True)


def test_nothing_is_sent_past_the_deadline():
    with pytest.raises(DeadlineExceeded):
        scatter({"a": serving("a")}, {1: ("a",)}, deadline_s=0)


def warm_hedges(config):
    """A hedge clock that has seen many quick answers."""
    hedges = HedgeClock(config)
    for _ in range(64):
        hedges.delay_s()
        hedges.observe(0.001)
    return hedges


def test_a_slow_reader_is_hedged_and_the_copy_wins():
    config = ProxyConfig(hedge_least_ms=1, hedge_budget=1.0)
    answers = {"a": never(), "b": serving("b")}
    served, transport, _ = scatter(
        answers, {1: ("a", "b")}, config=config, hedges=warm_hedges(config)
    )
    assert transport.calls == [("a", (1,)), ("b", (1,))]
    assert [partial.node for _, partial in served] == ["b"]


def test_hedges_stay_within_their_budget():
    config = ProxyConfig(hedge_budget=0.05)
    hedges = warm_hedges(config)
    for _ in range(1_000):
        hedges.delay_s()
        hedges.take()
    allowed = sum(hedges.take() for _ in range(1_000))
    assert allowed == 0
    assert hedges._hedged <= 0.05 * hedges._sent


def traced(answers, preferences, **options):
    """Run one scatter, recorded; the spans of its calls by reader, and the events beside them."""
    recorder = Recorder("Search", "proxy", time.time_ns, "0" * 32, 0, 1)
    recorder.begin("do_search")
    before = recording(recorder)
    try:
        scatter(answers, preferences, **options)
    finally:
        recorded(before)
    recorder.end()
    _, stage, *calls = recorder.trace().spans
    assert {call.parent_id for call in calls} <= {stage.span_id}
    return {call.attributes["reader"]: call for call in calls}, stage.events


def test_each_call_is_recorded():
    calls, events = traced({"a": serving("a"), "b": serving("b")}, {1: ("a", "b"), 2: ("b", "a")})
    assert sorted(calls) == ["a", "b"]
    assert [call.error for call in calls.values()] == ["", ""]
    assert not events


def test_a_failed_call_and_its_retry_are_recorded():
    calls, events = traced(
        {"a": raising(Unavailable("gone")), "b": serving("b")}, {1: ("a", "b"), 2: ("a", "b")}
    )
    assert (calls["a"].error, calls["b"].error) == ("Unavailable: gone", "")
    assert calls["a"].end_ns <= calls["b"].start_ns
    (retry,) = events
    assert (retry.name, retry.attributes["reader"]) == ("retry", "a")
    assert retry.attributes["units"] == 2


def test_a_hedge_is_recorded():
    config = ProxyConfig(hedge_least_ms=1, hedge_budget=1.0)
    calls, events = traced(
        {"a": never(), "b": serving("b")},
        {1: ("a", "b")},
        config=config,
        hedges=warm_hedges(config),
    )
    assert [(event.name, event.attributes["reader"]) for event in events] == [("hedge", "a")]
    assert calls["b"].error == ""
    assert calls["a"].start_ns < calls["b"].start_ns


def test_what_went_wrong_on_the_way_is_counted():
    measures = ProxyMeasures(Metrics())
    answers = {"a": raising(Unavailable("gone")), "b": serving("b"), "c": serving("c")}
    preferences = {1: ("a", "b", "c"), 2: ("a", "c", "b"), 3: ("b", "a", "c")}
    scatter(answers, preferences, measures=measures)
    assert measures.sub_requests.value == 4
    assert measures.retries.value == 1
    assert measures.suspicions.value == 1
    assert sum(measures.sub_request_seconds.state()[0]) == 3
    assert measures.hedges.value == 0


def test_hedged_copies_are_counted():
    measures = ProxyMeasures(Metrics())
    config = ProxyConfig(hedge_least_ms=1, hedge_budget=1.0)
    answers = {"a": never(), "b": serving("b")}
    scatter(answers, {1: ("a", "b")}, config=config, hedges=warm_hedges(config), measures=measures)
    assert measures.hedges.value == 1
    assert measures.sub_requests.value == 2
