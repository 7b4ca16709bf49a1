"""The calling end of a connection: one for calls, one kind for streams.

Invariants: nothing is sent before the peer accepted this end; when the connection breaks, every
call on it ends with `Unavailable` at once; a stream whose consumer is behind stops being read.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from mishards.core.errors import (
    DeadlineExceeded,
    MishardsError,
    ProtocolError,
    TlsRefused,
    Unavailable,
)
from mishards.rpc import frames
from mishards.rpc.frames import FrameConnection, empty_frame, frame_of, request_frame
from mishards.rpc.handshake import Credentials, Handshake, read_hello
from mishards.rpc.messages import Message, Reply
from mishards.tls.cluster import why

_STREAM_ITEMS = 64
_STREAM_BYTES = 8 * 1024 * 1024


class DialledConnection(FrameConnection):
    """A connection that this end opened.

    Attributes:
        ready: done when the peer accepted this end; carries the error when it did not.
        error: why the connection is of no use any more, None while it is.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, address: str, credentials: Credentials
    ) -> None:
        super().__init__(loop, frames.MAX_FRAME_BYTES)
        self.address = address
        self.ready: asyncio.Future[None] = loop.create_future()
        self.error: MishardsError | None = None
        self._handshake = Handshake(credentials)
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

    def connection_lost(self, exc: Exception | None) -> None:
        if not (self.ready.done() or self._answered) and self._is_secure():
            self._end(TlsRefused(_refusal(exc)))
        super().connection_lost(exc)

    def _is_secure(self) -> bool:
        return self.transport is not None and bool(self.transport.get_extra_info("sslcontext"))

    def ended(self, error: MishardsError) -> None:
        kind = TlsRefused if isinstance(error, TlsRefused) else Unavailable
        self.error = kind(f"{self.address}: {error.message}")
        if not self.ready.done():
            self.ready.set_exception(self.error)
            self.ready.exception()  # who waited may have gone
        self.broken(self.error)

    def broken(self, error: MishardsError) -> None:
        """The connection is of no use any more."""
        raise NotImplementedError


class CallConnection(DialledConnection):
    """Many calls in flight.

    Attributes:
        heard_s: when the peer was last heard, on the loop's clock.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, address: str, credentials: Credentials
    ) -> None:
        super().__init__(loop, address, credentials)
        self.heard_s = loop.time()
        self._last_call = 0
        self._calls: dict[int, tuple[asyncio.Future[Reply], asyncio.TimerHandle]] = {}
        self._asked_s = 0.0
        self._retired = False

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
        if self._asked_s <= self.heard_s:
            self._asked_s = self.loop.time()
        self.write(frame)
        return call, future

    def is_idle(self, idle_s: float) -> bool:
        """Whether nothing is in flight and nothing was heard for so long: the peer, or a machine
        between, may have forgotten the connection without a word."""
        return not self._calls and self.loop.time() - self.heard_s > idle_s

    def is_silent(self, silent_s: float) -> bool:
        """Whether a call was made so long ago, and no word was heard since: the peer may be slow,
        or a machine between may have forgotten the connection."""
        asked_s = self._asked_s
        return asked_s > self.heard_s and self.loop.time() - asked_s > silent_s

    def retire(self) -> None:
        """Close once the calls in flight have ended; no further one is to be made."""
        self._retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and not self._calls and self.error is None:
            self.shut(Unavailable("the connection is not used any more"))

    def abandon(self, call: int) -> None:
        """The caller waits no more: let the peer stop too."""
        if (pending := self._calls.pop(call, None)) is not None:
            pending[1].cancel()
            self.write(empty_frame(frames.CANCEL, call))
            self._close_if_done()

    def answered(self, kind: int, call: int, body: memoryview) -> None:
        self.heard_s = self.loop.time()
        if kind not in (frames.REPLY, frames.ERROR):
            raise ProtocolError(f"unexpected frame of kind {kind} as an answer")
        pending = self._calls.pop(call, None)
        if pending is None:  # abandoned or late
            return
        future, timer = pending
        timer.cancel()
        if not future.done():
            _resolve(future, kind, body)
        self._close_if_done()

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
                pending[0].set_exception(late(self.address, timeout_s))
            self._close_if_done()


def _refusal(exc: Exception | None) -> str:
    """Why a peer went after TLS had begun, and before it greeted."""
    if isinstance(exc, ssl.SSLError):
        return why(exc)
    # Event loops close a connection that failed to verify without telling the other end why.
    return (
        "closed by the peer before its greeting: it refuses this node's certificate, as its log "
        "then says, or it is ending"
    )


def _resolve(future: asyncio.Future[Reply], kind: int, body: memoryview) -> None:
    if kind == frames.ERROR:
        future.set_exception(frames.read_error(body))
        return
    try:
        future.set_result(frames.read_reply(body))
    except ProtocolError as error:
        future.set_exception(error)


def late(address: str, timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"{address}: no answer within {timeout_s:.3f} s")


class StreamConnection(DialledConnection):
    """One stream of answers; reading stops while the consumer is behind."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, address: str, credentials: Credentials
    ) -> None:
        super().__init__(loop, address, credentials)
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
