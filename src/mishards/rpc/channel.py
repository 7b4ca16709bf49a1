"""The calling side: a channel to one peer that connects at need and carries many calls at once.

Invariants: concurrent callers share one connection and one attempt to connect; when a connection
breaks, every call on it ends with `Unavailable` at once and the next call connects anew. Each
stream has a connection of its own, so that a slow consumer holds up its own stream and no call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar, cast

from mishards.core.errors import DeadlineExceeded, MishardsError, ProtocolError, Unavailable
from mishards.core.runtime import Runtime
from mishards.rpc import frames
from mishards.rpc.frames import FrameConnection, empty_frame, frame_of, request_frame
from mishards.rpc.handshake import Handshake, read_hello
from mishards.rpc.messages import Message, Reply

_STREAM_ITEMS = 64
_STREAM_BYTES = 8 * 1024 * 1024


class DialledConnection(FrameConnection):
    """A connection that this end opened.

    Attributes:
        ready: done when the peer accepted this end; carries the error when it did not.
        error: why the connection is of no use any more, None while it is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str, secret: bytes) -> None:
        super().__init__(loop, frames.MAX_FRAME_BYTES)
        self.address = address
        self.ready: asyncio.Future[None] = loop.create_future()
        self.error: MishardsError | None = None
        self._handshake = Handshake(secret)
        self._answered = False

    def frame_received(self, kind: int, call: int, body: memoryview) -> None:
        if kind == frames.ERROR and call == 0:
            self.shut(frames.read_error(body))
        elif self.ready.done():
            self.answered(kind, call, body)
        elif kind != frames.HELLO:
            raise ProtocolError(f"a peer began with a frame of kind {kind}, not with a greeting")
        elif not self._answered:
            self._answered = True
            self.write(frame_of(frames.HELLO, 0, self._handshake.answer(read_hello(body))))
        else:
            self._handshake.confirm(read_hello(body))
            self.ready.set_result(None)

    def answered(self, kind: int, call: int, body: memoryview) -> None:
        """A frame after the handshake."""
        raise NotImplementedError

    def ended(self, error: MishardsError) -> None:
        self.error = Unavailable(f"{self.address}: {error.message}")
        if not self.ready.done():
            self.ready.set_exception(self.error)
            self.ready.exception()  # who waited may have gone
        self.broken(self.error)

    def broken(self, error: MishardsError) -> None:
        """The connection is of no use any more."""
        raise NotImplementedError


class CallConnection(DialledConnection):
    """Many calls in flight."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str, secret: bytes) -> None:
        super().__init__(loop, address, secret)
        self._last_call = 0
        self._calls: dict[int, tuple[asyncio.Future[Reply], asyncio.TimerHandle]] = {}

    def begin(
        self, message: Message, timeout_s: float, traceparent: str
    ) -> tuple[int, asyncio.Future[Reply]]:
        """Send a call; its number and the future of its reply.

        Raises:
            ProtocolError: the message is larger than a frame may be.
            Unavailable: the connection broke.
        """
        if self.error is not None:
            raise Unavailable(self.error.message)
        call = self._last_call = self._last_call + 1
        frame = request_frame(frames.REQUEST, call, message, timeout_s, traceparent)
        future: asyncio.Future[Reply] = self.loop.create_future()
        timer = self.loop.call_later(timeout_s, self._expire, call, timeout_s)
        self._calls[call] = (future, timer)
        self.write(frame)
        return call, future

    def abandon(self, call: int) -> None:
        """The caller waits no more: let the peer stop too."""
        if (pending := self._calls.pop(call, None)) is not None:
            pending[1].cancel()
            self.write(empty_frame(frames.CANCEL, call))

    def answered(self, kind: int, call: int, body: memoryview) -> None:
        if kind not in (frames.REPLY, frames.ERROR):
            raise ProtocolError(f"unexpected frame of kind {kind} as an answer")
        pending = self._calls.pop(call, None)
        if pending is None:  # abandoned or late
            return
        future, timer = pending
        timer.cancel()
        if future.done():
            return
        if kind == frames.ERROR:
            future.set_exception(frames.read_error(body))
            return
        try:
            future.set_result(frames.read_reply(body))
        except ProtocolError as error:
            future.set_exception(error)

    def broken(self, error: MishardsError) -> None:
        calls, self._calls = self._calls, {}
        for future, timer in calls.values():
            timer.cancel()
            if not future.done():
                future.set_exception(Unavailable(error.message))

    def _expire(self, call: int, timeout_s: float) -> None:
        if (pending := self._calls.pop(call, None)) is not None:
            self.write(empty_frame(frames.CANCEL, call))
            if not pending[0].done():
                pending[0].set_exception(_late(self.address, timeout_s))


def _late(address: str, timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"{address}: no answer within {timeout_s:.3f} s")


class StreamConnection(DialledConnection):
    """One stream of answers; reading stops while the consumer is behind."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str, secret: bytes) -> None:
        super().__init__(loop, address, secret)
        self._items: deque[tuple[Reply, int]] = deque()
        self._held_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._finished: MishardsError | bool = False
        self._resting = False

    async def next(self) -> Reply | None:
        """The next answer, None at the end of the stream.

        Raises:
            MishardsError: what the peer raised, or `Unavailable` when the connection broke; after
                all answers that came before.
        """
        while not self._items:
            if isinstance(self._finished, MishardsError):
                raise self._finished
            if self._finished:
                return None
            self._waiter = self.loop.create_future()
            await self._waiter
        item, size_bytes = self._items.popleft()
        self._held_bytes -= size_bytes
        if self._resting and len(self._items) < _STREAM_ITEMS // 2:
            self._rest(self._held_bytes > _STREAM_BYTES // 2)
        return item

    def answered(self, kind: int, call: int, body: memoryview) -> None:
        if kind == frames.ITEM:
            self._items.append((frames.read_reply(body), len(body)))
            self._held_bytes += len(body)
            if len(self._items) >= _STREAM_ITEMS or self._held_bytes >= _STREAM_BYTES:
                self._rest(True)
        elif kind == frames.END:
            self._finish(True)
        elif kind == frames.ERROR:
            self._finish(frames.read_error(body))
        else:
            raise ProtocolError(f"unexpected frame of kind {kind} in a stream")
        self._notify()

    def broken(self, error: MishardsError) -> None:
        self._finish(error)
        self._notify()

    def _finish(self, how: MishardsError | bool) -> None:
        if self._finished is False:
            self._finished = how

    def _rest(self, resting: bool) -> None:
        if resting != self._resting and self.transport is not None:
            self._resting = resting
            if not self.transport.is_closing():
                (self.transport.pause_reading if resting else self.transport.resume_reading)()

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


Dialled = TypeVar("Dialled", bound=DialledConnection)
Dial = Callable[[str, Callable[[], DialledConnection]], Awaitable[DialledConnection]]
"""Opens a connection to an address; raises OSError, TimeoutError or a `MishardsError`."""


class FramedChannel:
    """The channel to one peer; see `rpc.protocol.Channel`."""

    def __init__(self, runtime: Runtime, address: str, secret: bytes, dial: Dial) -> None:
        self.address = address
        self._runtime = runtime
        self._secret = secret
        self._dial = dial
        self._connection: CallConnection | None = None
        self._connecting: asyncio.Future[CallConnection] | None = None
        self._streams: set[StreamConnection] = set()
        self._closed = False

    async def call(self, message: Message, *, timeout_s: float, traceparent: str = "") -> Reply:
        connection = self._connection
        if connection is None or connection.error is not None or connection.paused:
            connection, timeout_s = await self._writable(timeout_s)
        call, future = connection.begin(message, timeout_s, traceparent)
        try:
            return await future
        except asyncio.CancelledError:
            connection.abandon(call)
            raise

    def call_now(self, message: Message) -> Reply | None:
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
        connections: list[DialledConnection] = [*self._streams]
        if self._connection is not None:
            connections.append(self._connection)
        for connection in connections:
            connection.shut(Unavailable("the channel is closed"))
        for connection in connections:
            connection.abort()
            await asyncio.shield(connection.closed)

    async def _writable(self, timeout_s: float) -> tuple[CallConnection, float]:
        """A connection that takes a request now, and what is left of the time."""
        began_s = self._runtime.monotonic_s()
        try:
            connection = await self._runtime.timeout(self._wait_writable(), timeout_s)
        except TimeoutError:
            raise _late(self.address, timeout_s) from None
        left_s = timeout_s - (self._runtime.monotonic_s() - began_s)
        if left_s <= 0:
            raise _late(self.address, timeout_s)
        return connection, left_s

    async def _wait_writable(self) -> CallConnection:
        connection = self._connection
        if connection is None or connection.error is not None:
            connection = await self._connect()
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
        connection = await self._dial(self.address, lambda: kind(loop, self.address, self._secret))
        if self._closed:
            connection.abort()
            raise Unavailable(f"{self.address}: the channel is closed")
        return cast("Dialled", connection)
