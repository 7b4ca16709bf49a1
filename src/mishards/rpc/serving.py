"""The called side of a connection: requests become handler calls, their ends become frames.

Invariants: every request gets at most one reply or error; a call ends when its deadline passes,
when its caller cancels it and when the connection is gone; a handler's bug reaches the caller as
an `InternalError` and the log in full, and harms no other call.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, NamedTuple, cast

from mishards.core.errors import (
    DeadlineExceeded,
    InternalError,
    MishardsError,
    ProtocolError,
    Unavailable,
)
from mishards.core.runtime import Runtime
from mishards.rpc import frames
from mishards.rpc.frames import FrameConnection, empty_frame, error_frame, frame_of
from mishards.rpc.handshake import Credentials, Handshake, read_hello
from mishards.rpc.messages import Message, Reply
from mishards.rpc.protocol import CallContext, Handler

_log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 5.0
_HANDSHAKE_BYTES = 1024


def internal_error(message: Message, error: Exception) -> InternalError:
    """What a caller is told of a handler's bug; the log gets it with its trace."""
    _log.error("handling of %s failed", type(message).__name__, exc_info=error)
    return InternalError(f"{type(message).__name__} failed with {type(error).__name__}: {error}")


async def answer(handler: Handler, message: Message, context: CallContext) -> Reply:
    """The handler's reply; whatever else it raises becomes a `MishardsError`."""
    try:
        return await handler.handle(message, context)
    except MishardsError:
        raise
    except Exception as error:
        raise internal_error(message, error) from error


def answer_now(handler: Handler, message: Message, traceparent: str = "") -> Reply | None:
    """As `answer`, of `handle_now`."""
    try:
        return handler.handle_now(message, traceparent)
    except MishardsError:
        raise
    except Exception as error:
        raise internal_error(message, error) from error


async def items(handler: Handler, message: Message, context: CallContext) -> AsyncIterator[Reply]:
    """As `answer`, of `stream`; closing it closes the handler's stream."""
    try:
        # Handlers write their streams as async generators; those are to be closed, not left.
        async with aclosing(cast("Any", handler.stream(message, context))) as stream:
            async for item in stream:
                yield item
    except MishardsError:
        raise
    except Exception as error:
        raise internal_error(message, error) from error


class Accepted(NamedTuple):
    """What a listener holds: open connections, and the cancelled work of closed ones."""

    connections: set[ServerConnection]
    ending: set[asyncio.Task[None]]


class ServerConnection(FrameConnection):
    """One accepted connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        runtime: Runtime,
        handler: Handler,
        credentials: Credentials,
        accepted: Accepted,
    ) -> None:
        super().__init__(loop, _HANDSHAKE_BYTES)
        self._runtime = runtime
        self._handler = handler
        self._inline = bool(getattr(handler, "answers_inline", False))
        self._handshake: Handshake | None = Handshake(credentials)
        self._accepted = accepted
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._accepted.connections.add(self)
        self._patience = self.loop.call_later(HANDSHAKE_TIMEOUT_S, self.abort)
        assert self._handshake is not None
        self.write(frame_of(frames.HELLO, 0, self._handshake.challenge()))

    def pause_writing(self) -> None:
        # Who does not read its answers gets to ask nothing more.
        super().pause_writing()
        assert self.transport is not None
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def frame_received(self, kind: int, call: int, body: memoryview) -> None:
        if self._handshake is not None:
            self._greet(kind, body)
        elif kind == frames.REQUEST:
            self._request(call, body)
        elif kind == frames.CANCEL:
            self._cancel(call)
        elif kind == frames.STREAM:
            self._stream(call, body)
        elif kind == frames.ERROR and call == 0:
            self.shut(frames.read_error(body))
        else:
            raise ProtocolError(f"unexpected frame of kind {kind} from a caller")

    def ended(self, error: MishardsError) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._accepted.connections.discard(self)
        for call in list(self._tasks):
            self._cancel(call)

    async def stop(self, grace_s: float) -> None:
        """Cancel what runs, and close after sending what is buffered for at most `grace_s`."""
        self.shut(Unavailable("the listener is closed"))
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.shield(self.closed)
        except TimeoutError:
            self.abort()
            await asyncio.shield(self.closed)

    def _cancel(self, call: int) -> bool:
        """Cancel a call that is in progress; whether it was."""
        task = self._tasks.pop(call, None)
        if task is None:
            return False
        ending = self._accepted.ending
        ending.add(task)
        task.add_done_callback(ending.discard)
        task.cancel()
        return True

    def _greet(self, kind: int, body: memoryview) -> None:
        if kind != frames.HELLO:
            raise ProtocolError(f"a caller began with a frame of kind {kind}, not with a greeting")
        assert self._handshake is not None
        assert self._patience is not None
        try:
            acceptance = self._handshake.accept(read_hello(body))
        except ProtocolError as error:
            _log.warning("refused a connection from %s: %s", self._peer(), error.message)
            raise
        self._handshake = None
        self._patience.cancel()
        self.limit_bytes = frames.MAX_FRAME_BYTES
        self.write(frame_of(frames.HELLO, 0, acceptance))

    def _peer(self) -> object:
        assert self.transport is not None
        return self.transport.get_extra_info("peername") or "a Unix socket"

    def _request(self, call: int, body: memoryview) -> None:
        try:
            remaining_s, trace, message = frames.read_request(body)
            if self._inline:
                reply = answer_now(self._handler, message, trace)
                if reply is not None:
                    self.write(frame_of(frames.REPLY, call, reply))
                    return
        except MishardsError as error:
            self.write(error_frame(call, error))
            return
        context = CallContext(self._runtime.monotonic_s() + remaining_s, trace)
        self._tasks[call] = self.loop.create_task(self._serve(call, message, context, remaining_s))

    async def _serve(
        self, call: int, message: Message, context: CallContext, remaining_s: float
    ) -> None:
        deadline = self.loop.call_later(remaining_s, self._expire, call, remaining_s)
        try:
            reply = await answer(self._handler, message, context)
            self.write(frame_of(frames.REPLY, call, reply))
        except MishardsError as error:
            self.write(error_frame(call, error))
        finally:
            deadline.cancel()
            self._tasks.pop(call, None)

    def _expire(self, call: int, remaining_s: float) -> None:
        if self._cancel(call):
            late = DeadlineExceeded(f"the call did not end within its {remaining_s:.3f} s")
            self.write(error_frame(call, late))

    def _stream(self, call: int, body: memoryview) -> None:
        try:
            _, trace, message = frames.read_request(body)
        except ProtocolError as error:
            self.write(error_frame(call, error))
            return
        context = CallContext(math.inf, trace)
        self._tasks[call] = self.loop.create_task(self._serve_stream(call, message, context))

    async def _serve_stream(self, call: int, message: Message, context: CallContext) -> None:
        try:
            async with aclosing(cast("Any", items(self._handler, message, context))) as stream:
                async for item in stream:
                    if not self.write(frame_of(frames.ITEM, call, item)):
                        return  # nothing else would stop a stream that never has to wait
                    if self.paused:
                        await self.drained()
            self.write(empty_frame(frames.END, call))
        except MishardsError as error:
            self.write(error_frame(call, error))
        finally:
            self._tasks.pop(call, None)
