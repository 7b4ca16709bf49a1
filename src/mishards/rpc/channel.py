"""The calling side: a channel to one peer that connects at need and carries many calls at once.

Invariants: concurrent callers share one connection and one attempt to connect; when a connection
breaks, every call on it ends with `Unavailable` at once and the next call connects anew, as it
does when the connection was idle for long, or when the peer owes an answer for long and says
nothing at all: whether such a one still works is not known. What is in flight on it may still be
answered there. Each stream has a connection of its own, so that a slow consumer holds up its own
stream and no call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar, cast

from mishards.core.errors import MishardsError, Unavailable
from mishards.core.runtime import Runtime
from mishards.rpc import frames
from mishards.rpc.dialled import CallConnection, DialledConnection, StreamConnection, late
from mishards.rpc.frames import request_frame
from mishards.rpc.handshake import Credentials
from mishards.rpc.messages import Message, Reply

_SILENT_S = 3.0
"""A connection on which nothing is heard for so long after a call gets no further ones."""

Dialled = TypeVar("Dialled", bound=DialledConnection)
Dial = Callable[[str, Callable[[], DialledConnection]], Awaitable[DialledConnection]]
"""Opens a connection to an address; raises OSError, TimeoutError or a `MishardsError`."""


class FramedChannel:
    """The channel to one peer; see `rpc.protocol.Channel`."""

    def __init__(
        self, runtime: Runtime, address: str, credentials: Credentials, dial: Dial, idle_s: float
    ) -> None:
        """`idle_s`: a connection on which nothing was heard for so long is not used again."""
        self.address = address
        self._runtime = runtime
        self._credentials = credentials
        self._dial = dial
        self._idle_s = idle_s
        self._connection: CallConnection | None = None
        self._connecting: asyncio.Future[CallConnection] | None = None
        self._streams: set[StreamConnection] = set()
        self._retired: set[CallConnection] = set()
        self._closed = False

    async def call(self, message: Message, *, timeout_s: float, traceparent: str = "") -> Reply:
        connection = self._usable()
        if connection is None or connection.paused:
            connection, timeout_s = await self._writable(timeout_s)
        call, future = connection.begin(message, timeout_s, traceparent)
        try:
            return await future
        except asyncio.CancelledError:
            connection.abandon(call)
            raise

    def begin(
        self, message: Message, *, timeout_s: float, traceparent: str = ""
    ) -> asyncio.Future[Reply] | None:
        connection = self._usable()
        if connection is None or connection.paused:
            return None
        call, future = connection.begin(message, timeout_s, traceparent)
        future.add_done_callback(partial(_abandon_cancelled, connection, call))
        return future

    def call_now(self, message: Message, traceparent: str = "") -> Reply | None:
        return None

    async def stream(self, message: Message) -> AsyncIterator[Reply]:
        connection = await self._open(StreamConnection)
        self._streams.add(connection)
        try:
            connection.write(request_frame(frames.STREAM, 1, message, 0.0, ""))
            while (item := await connection.next()) is not None:
                yield item
        finally:
            self._streams.discard(connection)
            connection.shut(Unavailable("the stream was closed"))

    async def close(self) -> None:
        self._closed = True
        connections: list[DialledConnection] = [*self._streams, *self._retired]
        if self._connection is not None:
            connections.append(self._connection)
        for connection in connections:
            connection.shut(Unavailable("the channel is closed"))
        for connection in connections:
            connection.abort()
            await asyncio.shield(connection.closed)

    def _usable(self) -> CallConnection | None:
        """The connection, where it works as far as is known."""
        connection = self._connection
        if connection is None or connection.error is not None:
            return None
        if connection.is_idle(self._idle_s):
            connection.shut(Unavailable(f"{self.address}: the connection was idle for long"))
            return None
        if connection.is_silent(_SILENT_S):
            self._retire(connection)
            return None
        return connection

    def _retire(self, connection: CallConnection) -> None:
        """Leave a connection to the calls in flight on it."""
        self._connection = None
        self._retired.add(connection)
        connection.closed.add_done_callback(lambda _: self._retired.discard(connection))
        connection.retire()

    async def _writable(self, timeout_s: float) -> tuple[CallConnection, float]:
        """A connection that takes a request now, and what is left of the time."""
        began_s = self._runtime.monotonic_s()
        try:
            connection = await self._runtime.timeout(self._wait_writable(), timeout_s)
        except TimeoutError:
            raise late(self.address, timeout_s) from None
        left_s = timeout_s - (self._runtime.monotonic_s() - began_s)
        if left_s <= 0:
            raise late(self.address, timeout_s)
        return connection, left_s

    async def _wait_writable(self) -> CallConnection:
        connection = self._usable() or await self._connect()
        while connection.paused:
            await connection.drained()
        return connection

    async def _connect(self) -> CallConnection:
        """The one connection: whoever comes while it is being made waits for the same attempt."""
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_future()
            self._runtime.spawn(self._try_connect(self._connecting), f"connect {self.address}")
        return await asyncio.shield(self._connecting)

    async def _try_connect(self, attempt: asyncio.Future[CallConnection]) -> None:
        try:
            self._connection = await self._open(CallConnection)
            attempt.set_result(self._connection)
        except MishardsError as error:
            attempt.set_exception(error)
            attempt.exception()  # all waiters may have gone
        finally:
            self._connecting = None
            attempt.cancel()  # where neither was set: the process is ending

    async def _open(self, kind: type[Dialled]) -> Dialled:
        if self._closed:
            raise Unavailable(f"{self.address}: the channel is closed")
        loop = asyncio.get_running_loop()
        connection = await self._dial(
            self.address, lambda: kind(loop, self.address, self._credentials)
        )
        if self._closed:
            connection.abort()
            raise Unavailable(f"{self.address}: the channel is closed")
        return cast("Dialled", connection)


def _abandon_cancelled(
    connection: CallConnection, call: int, future: asyncio.Future[Reply]
) -> None:
    if future.cancelled():
        connection.abandon(call)
