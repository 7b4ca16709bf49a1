"""The queue before a collector: what is offered never waits, what is lost is counted and told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from mishards.core.errors import SystemFault, Unavailable
from mishards.observability.export.queue import ExportQueue
from mishards.observability.spans import Span, Trace

PATIENCE_S = 30.0


def trace(number: int, spans: int = 1) -> Trace:
    return Trace(f"{number:032x}", True, (Span("search", 1, 0, 0, 1, "node"),) * spans)


class Collector:
    """Keeps what comes; fails with `error` while there is one, and waits for `go`."""

    name = "the collector"

    def __init__(self) -> None:
        self.taken: list[Trace] = []
        self.error: Exception | None = None
        self.tries = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.closed = threading.Event()

    def export(self, traces: Sequence[Trace]) -> None:
        self.tries += 1
        self.begun.set()
        self.go.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        self.taken += traces

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.go.set()


def queue(collector: Collector, *, size: int = 100, flush_s: float = PATIENCE_S) -> ExportQueue:
    return ExportQueue(
        collector, size=size, flush_s=flush_s, interval_s=0.001, pauses_s=(0.001, 0.001)
    )


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def test_all_that_was_offered_is_sent_in_order(collector: Collector) -> None:
    sending = queue(collector, size=1000)
    offered = [trace(number) for number in range(300)]
    for one in offered:
        sending.offer(one)
    sending.close()
    assert collector.taken == offered
    assert (sending.exported, sending.dropped, sending.waiting) == (300, 0, 0)
    assert collector.closed.is_set()
    assert collector.tries < 300


def test_large_traces_go_alone(collector: Collector) -> None:
    collector.go.clear()
    sending = queue(collector)
    sending.offer(trace(0))
    until(collector.begun.is_set)
    for number in range(1, 4):
        sending.offer(trace(number, spans=1000))
    collector.go.set()
    sending.close()
    assert (sending.exported, collector.tries) == (4, 4)


def test_a_trace_is_sent_without_another_offer(collector: Collector) -> None:
    sending = queue(collector)
    sending.offer(trace(1))
    until(lambda: collector.taken)
    sending.close()


def test_beyond_the_size_traces_are_dropped_counted_and_told_once(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.go.clear()
    sending = queue(collector, size=5)
    sending.offer(trace(0))
    until(collector.begun.is_set)
    for number in range(1, 21):
        sending.offer(trace(number))
    assert (sending.waiting, sending.dropped) == (5, 15)
    assert len(caplog.records) == 1
    assert "more are made than it takes" in caplog.text
    collector.go.set()
    until(lambda: sending.exported == 6)
    sending.close()
    assert [one.trace_id[-1] for one in collector.taken] == list("012345")
    assert "sent to the collector again; 15 were dropped" in caplog.text


def test_what_may_pass_is_tried_again(collector: Collector) -> None:
    collector.error = Unavailable("the collector is away")
    sending = queue(collector)
    sending.offer(trace(1))
    until(lambda: collector.tries >= 2)
    collector.error = None
    until(lambda: sending.exported + sending.dropped == 1)
    sending.offer(trace(2))
    until(lambda: collector.taken and collector.taken[-1] == trace(2))
    sending.close()


def test_an_outage_is_told_once_with_its_reason_and_its_end(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    collector.error = Unavailable("the collector is away")
    sending = queue(collector)
    for number in range(5):
        sending.offer(trace(number))
        until(lambda least=number: sending.dropped > least)
    assert collector.tries == 15
    assert [record.getMessage() for record in caplog.records] == [
        "traces are not sent to the collector but dropped: the collector is away"
    ]
    collector.error = None
    sending.offer(trace(9))
    until(lambda: collector.taken)
    sending.close()
    assert caplog.records[-1].getMessage().endswith("again; 5 were dropped")


def test_what_is_refused_is_not_tried_again(collector: Collector) -> None:
    collector.error = SystemFault("the token is wrong")
    sending = queue(collector)
    sending.offer(trace(1))
    until(lambda: sending.dropped == 1)
    sending.close()
    assert collector.tries == 1


def test_a_defect_of_an_exporter_does_not_end_the_sending(collector: Collector) -> None:
    collector.error = ValueError("a defect")
    sending = queue(collector)
    sending.offer(trace(1))
    until(lambda: sending.dropped == 1)
    collector.error = None
    sending.offer(trace(2))
    sending.close()
    assert collector.taken == [trace(2)]


def test_closing_does_not_wait_for_a_collector_that_stands_still(collector: Collector) -> None:
    collector.go.clear()
    sending = queue(collector, flush_s=0.01)
    for number in range(3):
        sending.offer(trace(number))
    until(collector.begun.is_set)
    sending.close()
    assert collector.closed.is_set()
    sending.close()
    collector.go.set()
    until(lambda: sending.exported + sending.dropped == 3)


def test_what_comes_after_the_end_is_dropped(collector: Collector) -> None:
    sending = queue(collector)
    sending.close()
    sending.offer(trace(1))
    assert (sending.dropped, sending.waiting) == (1, 0)
    assert collector.taken == []
