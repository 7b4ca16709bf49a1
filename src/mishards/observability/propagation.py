"""What a client's headers say of its trace: W3C trace context, or B3 in one header or in several.

Invariants: headers that are not of their form say nothing, and no call fails for them; of several
kinds the first of W3C, B3 in one header, B3 in several is heard; no more of a header is kept than
a trace may hold.

Sources: W3C, Trace Context; openzipkin/b3-propagation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mishards.observability.spans import Value
from mishards.observability.tracing import TraceStart

Header = tuple[str, str | bytes]

TRACESTATE = "tracestate"
"""Attribute of a root span: the header of that name, as it came."""

_TOLD = {
    "client-request-id": "client.request_id",
    "client_request_id": "client.request_id",
    "client-request-unixmsec": "client.sent_unix_ms",
}
"""Headers of Milvus's clients, and the attributes that keep them."""
_CONTEXT = frozenset(
    {
        "traceparent",
        TRACESTATE,
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-sampled",
        "x-b3-flags",
    }
)
_HEARD = _CONTEXT | _TOLD.keys()
_LONGEST = 512
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_ID = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
_SPAN_ID = re.compile(r"[0-9a-f]{16}")
_DECISIONS = {"1": True, "true": True, "d": True, "0": False, "false": False}


def trace_start(headers: Iterable[Header]) -> TraceStart | None:
    """What the headers of a call say, names in lower case; None for nothing."""
    told: dict[str, Value] = {}
    context: dict[str, str] = {}
    for name, value in headers:
        if name in _HEARD and value and isinstance(value, str) and len(value) <= _LONGEST:
            if name in _CONTEXT:
                context.setdefault(name, value)
            else:
                told[_TOLD[name]] = value
    if context:
        trace_id, parent_id, sampled = _w3c(context) or _b3(context) or _b3_in_several(context)
        if trace_id and TRACESTATE in context and "traceparent" in context:
            told[TRACESTATE] = context[TRACESTATE]
        return TraceStart(trace_id, parent_id, sampled, told)
    return TraceStart("", 0, None, told) if told else None


_Context = tuple[str, int, bool | None]


def _w3c(heard: dict[str, str]) -> _Context | None:
    if (text := heard.get("traceparent")) is None:
        return None
    found = _TRACEPARENT.fullmatch(text.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    # Later versions may have more at the end, the first has not.
    if trace_id == _NO_TRACE or span_id == _NO_SPAN or (version == "00" and more):
        return None
    return trace_id, int(span_id, 16), bool(int(flags, 16) & 1)


def _b3(heard: dict[str, str]) -> _Context | None:
    if (text := heard.get("b3")) is None:
        return None
    parts = text.strip().lower().split("-")
    if len(parts) == 1:
        return ("", 0, _DECISIONS[parts[0]]) if parts[0] in _DECISIONS else None
    return _ids(parts[0], parts[1], _DECISIONS.get(parts[2]) if len(parts) > 2 else None)


def _b3_in_several(heard: dict[str, str]) -> _Context:
    sampled = _DECISIONS.get(heard.get("x-b3-sampled", "").lower())
    if heard.get("x-b3-flags") == "1":
        sampled = True
    trace_id, span_id = heard.get("x-b3-traceid", ""), heard.get("x-b3-spanid", "")
    return _ids(trace_id.lower(), span_id.lower(), sampled) or ("", 0, sampled)


def _ids(trace_id: str, span_id: str, sampled: bool | None) -> _Context | None:
    if _TRACE_ID.fullmatch(trace_id) is None or _SPAN_ID.fullmatch(span_id) is None:
        return None
    trace_id = trace_id.zfill(32)
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return trace_id, int(span_id, 16), sampled
