"""How a proxy records its calls of other nodes."""

from __future__ import annotations

import asyncio
from typing import Any

from mishards.observability.tracing import OpenSpan, Recorder
from mishards.rpc.messages import Message, Reply

_TAGS: dict[type[Any], str] = {}
"""Looked up once, since a struct's configuration is made anew for whoever looks at it."""


def span_name(message: Message, address: str) -> str:
    """`search_<address>`, `query_<address>`, `fetch_<address>`, `write_<address>`, …"""
    kind = type(message)
    if (tag := _TAGS.get(kind)) is None:
        tag = _TAGS[kind] = str(kind.__struct_config__.tag)
    return f"{tag}_{address}"


def spans_of(reply: Reply) -> bytes | memoryview:
    """What the node that answered has recorded; empty where that is nothing."""
    found: bytes | memoryview = getattr(reply, "trace", b"")
    return found


class Asked:
    """Ends the span of a call when its answer is there, whoever waits for that."""

    __slots__ = ("_recorder", "_span")

    def __init__(self, recorder: Recorder, span: OpenSpan) -> None:
        self._recorder = recorder
        self._span = span

    def __call__(self, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled():
            self._recorder.close(self._span, "given up")
        elif (error := answer.exception()) is not None:
            self._recorder.close(self._span, error_text(error))
        else:
            self._recorder.close(self._span)
            self._recorder.adopt(spans_of(answer.result()))


def error_text(error: BaseException) -> str:
    """What a span says of an error."""
    return f"{type(error).__name__}: {error}"
