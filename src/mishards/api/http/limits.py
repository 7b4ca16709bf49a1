"""How much, and for how long, one request may send.

Invariants: a body is never held beyond its limit, whatever its headers say; who sends slowly is let
go of, so that connections come free.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_HEADER_BYTES = 16 * 1024
MOST_BODY_BYTES = 1024 * 1024
HEADERS_WITHIN_S = 10.0
BODY_WITHIN_S = 30.0


class _TooMuch(Exception):
    """The body is over the limit, or did not come in time."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class BodyLimit:
    """An ASGI application before another one: counts what that reads of a body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive)
        answered = False

        async def note(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            body.announced(Headers(scope=scope).get("content-length", ""))
            await self._app(scope, body.receive, note)
        except _TooMuch as error:
            if answered:
                raise
            refusal = JSONResponse(
                {"error": str(error)}, error.status, headers={"Connection": "close"}
            )
            await refusal(scope, receive, send)


class _Body:
    """One request's body as it comes in."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0
        self._whole = False
        self._until: float | None = None

    def announced(self, length: str) -> None:
        """Refuse at once what says that it is too large."""
        if length.isdecimal():
            _check(int(length))

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + BODY_WITHIN_S
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise _TooMuch(408, f"the body did not come within {BODY_WITHIN_S:g} s") from None
        self._size += len(message.get("body", b""))
        _check(self._size)
        self._whole = not message.get("more_body", False)
        return message


def _check(size: int) -> None:
    if size > MOST_BODY_BYTES:
        raise _TooMuch(413, f"a body of up to {MOST_BODY_BYTES} bytes is allowed")


class BoundedConnection(H11Protocol):
    """A connection that is closed when a request's headers take too long, the first's included."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._patience = self.loop.call_later(HEADERS_WITHIN_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._forget()
        elif self._patience is None:
            self._patience = self.loop.call_later(HEADERS_WITHIN_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
