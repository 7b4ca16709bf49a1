"""Which traces are kept: chosen ones, slow ones, failed ones."""

from __future__ import annotations

import pytest

from mishards.observability.spans import Trace
from mishards.observability.tracer import Tracer
from mishards.observability.tracing import TraceStart
from mishards.testing.stepped import SteppedRuntime

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


class Kept:
    def __init__(self) -> None:
        self.runtime = SteppedRuntime()
        self.traces: list[tuple[str, Trace]] = []

    def tracer(self, share: float = 0.0) -> Tracer:
        return Tracer(self.runtime, "n", share=share, slow_s=0.5, takers=[self.take])

    def take(self, trace: Trace, why: str) -> None:
        self.traces.append((why, trace))

    def reasons(self) -> list[str]:
        return [why for why, _ in self.traces]


def call(
    tracer: Tracer, error: str = "", *, failed: bool = False, start: TraceStart | None = None
) -> None:
    """A request that takes no time."""
    recorder = tracer.begin("Search", start)
    assert recorder is not None
    tracer.end(recorder, error, failed=failed)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_a_quick_success_is_forgotten(kept: Kept) -> None:
    tracer = kept.tracer()
    call(tracer)
    call(tracer, "no such collection")
    assert kept.reasons() == []


def test_slow_and_failed_ones_are_kept(kept: Kept) -> None:
    tracer = kept.tracer()
    slow = tracer.begin("Search", None)
    assert slow is not None
    kept.runtime.advance(0.5)
    tracer.end(slow)
    call(tracer, "Unavailable: gone", failed=True)
    assert kept.reasons() == ["slow", "failed"]
    assert kept.traces[0][1].root.duration_s == pytest.approx(0.5)
    assert kept.traces[1][1].root.error == "Unavailable: gone"


def test_a_share_is_chosen_by_chance(kept: Kept) -> None:
    tracer = kept.tracer(share=0.25)
    for _ in range(1_000):
        call(tracer)
    assert 150 < len(kept.traces) < 350
    assert set(kept.reasons()) == {"sampled"}
    assert all(trace.sampled for _, trace in kept.traces)
    assert len({trace.trace_id for _, trace in kept.traces}) == len(kept.traces)


@pytest.mark.parametrize(("sampled", "share", "reasons"), [(True, 0, ["sampled"]), (False, 1, [])])
def test_the_callers_decision_counts(
    kept: Kept, sampled: bool, share: float, reasons: list[str]
) -> None:
    tracer = kept.tracer(share)
    call(tracer, start=TraceStart(TRACE_ID, 9, sampled))
    assert kept.reasons() == reasons
    assert all((t.trace_id, t.root.parent_id) == (TRACE_ID, 9) for _, t in kept.traces)


def test_a_caller_that_decides_nothing_leaves_it_to_chance(kept: Kept) -> None:
    tracer = kept.tracer(share=1.0)
    call(tracer, start=TraceStart(TRACE_ID, 9))
    assert [trace.trace_id for _, trace in kept.traces] == [TRACE_ID]


def test_a_taker_that_fails_harms_nobody(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    def broken(trace: Trace, why: str) -> None:
        raise RuntimeError("full")

    tracer = Tracer(kept.runtime, "n", share=1.0, takers=[broken, kept.take])
    call(tracer)
    assert kept.reasons() == ["sampled"]
    assert "was not taken" in caplog.text


def test_where_nothing_is_recorded_only_what_is_asked_for_is_and_none_is_kept(kept: Kept) -> None:
    tracer = Tracer(kept.runtime, "n", share=1.0, takers=[kept.take], record=False)
    assert tracer.begin("Search", TraceStart(TRACE_ID, 9, True)) is None
    asked = tracer.begin("Search", None, always=True)
    assert asked is not None
    tracer.end(asked, "Unavailable: gone", failed=True)
    assert kept.reasons() == []
