"""Bodies that are larger than allowed, announced or not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mishards.api.http import limits
from mishards.api.http.limits import MOST_BODY_BYTES, BodyLimit


def answered(parts: list[int], **headers: str) -> tuple[int, int]:
    """The status for a body that comes in parts of such sizes, and how many bytes were taken."""
    left = list(parts)
    taken = 0
    statuses: list[int] = []

    async def receive() -> Any:
        if not left:
            await asyncio.Event().wait()
        size = left.pop(0)
        return {"type": "http.request", "body": bytes(size), "more_body": bool(left)}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal taken
        more = True
        while more:
            message = await receive()
            taken += len(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})

    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": named}
    asyncio.run(BodyLimit(application)(scope, receive, send))
    (status,) = statuses
    return status, taken


def test_a_body_of_the_limit_is_taken() -> None:
    assert answered([MOST_BODY_BYTES - 1, 1]) == (200, MOST_BODY_BYTES)


def test_a_larger_one_is_refused_as_it_comes() -> None:
    assert answered([MOST_BODY_BYTES, 1, 10**6]) == (413, MOST_BODY_BYTES)


def test_one_that_says_so_is_refused_unread() -> None:
    assert answered([1], content_length=str(MOST_BODY_BYTES + 1)) == (413, 0)
    assert answered([1], content_length="rubbish") == (200, 1)


def test_one_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_WITHIN_S", 0.0)
    assert answered([]) == (408, 0)
