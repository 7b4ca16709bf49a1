"""Slow requests: their list, their steps, and the same as text."""

from mishards.api.http.console.page_traces import slow_page, trace_page
from mishards.api.http.console.traces import as_text, slow_list, waterfall
from mishards.observability.spans import Span, SpanEvent, Trace

MS = 1_000_000
RETRY = SpanEvent("retry", 1050 * MS, {"why": "<i>"})


def span(name, number, parent, start, end, **more):
    return Span(name, number, parent, start * MS, end * MS, "n<1>", **more)


TRACE = Trace(
    "ab" * 16,
    False,
    (
        span("Search", 1, 0, 1000, 1100, attributes={"collection": "books<b>"}),
        span("do_merge", 4, 1, 1090, 1100),
        span("do_search", 2, 1, 1010, 1090, events=(RETRY,)),
        span("search", 3, 2, 900, 1060, error="Unavailable: gone"),
        span("orphan", 9, 77, 1000, 1200),
    ),
)


def test_steps_stand_below_their_parents_in_the_order_of_time():
    steps = waterfall(TRACE).steps
    assert [(s.name, s.depth) for s in steps] == [
        ("Search", 0),
        ("orphan", 1),
        ("do_search", 1),
        ("search", 2),
        ("do_merge", 1),
    ]
    assert (steps[2].start, round(steps[2].width, 6)) == (0.1, 0.8)
    assert (steps[3].start, steps[3].width) == (0.0, 0.6)
    assert steps[2].events[0].at == 0.5


def test_a_span_that_is_its_own_ancestor_does_no_harm():
    circle = Trace("0" * 32, False, (span("a", 1, 2, 0, 1), span("b", 2, 1, 0, 1)))
    assert [step.name for step in waterfall(circle).steps] == ["a", "b"]


def test_the_text_has_all_of_it():
    text = as_text(waterfall(TRACE))
    times = ("do_search  80 ms  +10 ms", "· retry  +50 ms")
    for said in ("trace abab", *times, "failed: Unavailable"):
        assert said in text


def test_pages_escape_names_and_are_bounded():
    for page in (trace_page(waterfall(TRACE)), slow_page(slow_list([TRACE]))):
        assert "<b>" not in page.replace("<b>retry</b>", "")
        assert "books&lt;b&gt;" in page or "books&lt;b&gt;" in page.replace("&quot;", "")
    large = Trace("0" * 32, False, tuple(span("s", n, max(0, n - 1), 0, n) for n in range(1, 1000)))
    assert (len(waterfall(large).steps), waterfall(large).more_steps) == (300, 699)
    assert len(slow_list([TRACE] * 500).page.items) == 50
    assert "does not remember" in trace_page(None)
