"""What headers of clients say of their traces, checked against OpenTelemetry's own propagators."""

from __future__ import annotations

import pytest
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mishards.observability.propagation import trace_start
from mishards.observability.tracing import TraceStart

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = int(SPAN, 16)


def said(**headers: str) -> TraceStart | None:
    return trace_start([(name.replace("_", "-"), value) for name, value in headers.items()])


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize(
    "propagator", [TraceContextTextMapPropagator(), B3SingleFormat(), B3MultiFormat()]
)
def test_what_opentelemetry_injects_is_understood(
    propagator: TextMapPropagator, sampled: bool
) -> None:
    headers: dict[str, str] = {}
    context = SpanContext(int(TRACE, 16), PARENT, False, TraceFlags(int(sampled)))
    propagator.inject(headers, set_span_in_context(NonRecordingSpan(context)))
    assert trace_start(headers.items()) == TraceStart(TRACE, PARENT, sampled, {})


def test_nothing_said_is_nothing() -> None:
    assert trace_start([]) is None
    assert said(dbname="books", authorization="x", client_request_id="") is None


@pytest.mark.parametrize(
    ("header", "start"),
    [
        (f"00-{TRACE}-{SPAN}-01", (TRACE, PARENT, True)),
        (f" 00-{TRACE}-{SPAN}-03 ", (TRACE, PARENT, True)),
        (f"01-{TRACE}-{SPAN}-00-more", (TRACE, PARENT, False)),
        (f"00-{TRACE}-{SPAN}-01-more", ("", 0, None)),
        (f"ff-{TRACE}-{SPAN}-01", ("", 0, None)),
        (f"00-{TRACE.upper()}-{SPAN}-01", ("", 0, None)),
        (f"00-{'0' * 32}-{SPAN}-01", ("", 0, None)),
        (f"00-{TRACE}-{'0' * 16}-01", ("", 0, None)),
        (f"00-{TRACE}-{SPAN}", ("", 0, None)),
        ("rubbish", ("", 0, None)),
    ],
)
def test_w3c(header: str, start: tuple[str, int, bool | None]) -> None:
    assert said(traceparent=header) == TraceStart(*start, {})


@pytest.mark.parametrize(
    ("header", "start"),
    [
        (f"{TRACE}-{SPAN}", (TRACE, PARENT, None)),
        (f"{TRACE}-{SPAN}-1", (TRACE, PARENT, True)),
        (f"{TRACE}-{SPAN}-0-05e3ac9a4f6e3b90", (TRACE, PARENT, False)),
        (f"{TRACE}-{SPAN}-d", (TRACE, PARENT, True)),
        (f"{TRACE[16:]}-{SPAN}-1", ("0" * 16 + TRACE[16:], PARENT, True)),
        ("0", ("", 0, False)),
        ("1", ("", 0, True)),
        ("d", ("", 0, True)),
        (f"{TRACE}-short-1", ("", 0, None)),
        ("x", ("", 0, None)),
    ],
)
def test_b3_in_one_header(header: str, start: tuple[str, int, bool | None]) -> None:
    assert said(b3=header) == TraceStart(*start, {})


def test_b3_in_several_headers() -> None:
    ids = {"x_b3_traceid": TRACE, "x_b3_spanid": SPAN}
    assert said(**ids) == TraceStart(TRACE, PARENT, None, {})
    assert said(**ids, x_b3_sampled="1") == TraceStart(TRACE, PARENT, True, {})
    assert said(**ids, x_b3_sampled="false") == TraceStart(TRACE, PARENT, False, {})
    assert said(**ids, x_b3_flags="1") == TraceStart(TRACE, PARENT, True, {})
    assert said(x_b3_sampled="0") == TraceStart("", 0, False, {})
    assert said(x_b3_traceid=TRACE, x_b3_sampled="1") == TraceStart("", 0, True, {})


def test_of_several_kinds_the_first_is_heard() -> None:
    other = "f" * 32
    w3c = f"00-{TRACE}-{SPAN}-01"
    assert said(traceparent=w3c, b3=f"{other}-{SPAN}-0") == TraceStart(TRACE, PARENT, True, {})
    found = said(traceparent="rubbish", b3=f"{other}-{SPAN}-0", x_b3_traceid=TRACE)
    assert found == TraceStart(other, PARENT, False, {})


def test_what_milvus_clients_tell_is_kept() -> None:
    found = said(client_request_id="abc", client_request_unixmsec="1790000000000")
    assert found == TraceStart(
        "", 0, None, {"client.request_id": "abc", "client.sent_unix_ms": "1790000000000"}
    )


def test_a_tracestate_is_kept_with_its_traceparent_only() -> None:
    w3c = f"00-{TRACE}-{SPAN}-01"
    found = said(traceparent=w3c, tracestate="vendor=1,other=2")
    assert found == TraceStart(TRACE, PARENT, True, {"tracestate": "vendor=1,other=2"})
    assert said(tracestate="vendor=1") == TraceStart("", 0, None, {})


def test_long_and_binary_headers_say_nothing() -> None:
    assert said(traceparent="0" * 513) is None
    assert trace_start([("traceparent", b"\x00")]) is None
