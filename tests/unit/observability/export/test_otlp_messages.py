"""Traces as OTLP's messages, where they are not as the exporters' contract has them."""

from __future__ import annotations

from typing import Any

from mishards.observability.export.otlp_messages import request
from mishards.observability.spans import Span, Trace, Value


def message(**attributes: Value) -> Any:
    span = Span("Search", 1, 0, 5, 9, "n", attributes)
    made = request([Trace("a" * 32, True, (span,))], lambda node: "mishards")
    return made.resource_spans[0].scope_spans[0].spans[0]


def test_a_tracestate_goes_where_otlp_has_it() -> None:
    assert message(tracestate="vendor=1").trace_state == "vendor=1"
    assert message().trace_state == ""


def test_numbers_beyond_64_bits_are_sent_as_floats() -> None:
    made = message(most=2**63 - 1, beyond=2**64)
    values = {pair.key: pair.value for pair in made.attributes}
    assert values["most"].int_value == 2**63 - 1
    assert values["beyond"].double_value == float(2**64)
