"""Frames of the internal protocol: their layout, and a connection that cuts bytes into them.

A frame is a header (`length` u32 of what follows the header, `kind` u8, `call` u64, little
endian) and a body. Of requests and stream requests the body starts with the seconds that remain
(f64), the length of the trace context (u16) and the trace context; then comes MessagePack.

Invariants: a delivered frame owns its bytes, so views into it stay valid; no byte of a frame that
is larger than the receive buffer is copied after the kernel gave it; a body over the limit
is never allocated.
"""

from __future__ import annotations

import asyncio
import math
import struct
from typing import Any, cast

import msgspec
import numpy as np

from mishards.core.errors import MishardsError, ProtocolError, Unavailable, error_class
from mishards.rpc.messages import Message, Reply

REQUEST, REPLY, ERROR, CANCEL, STREAM, ITEM, END, HELLO = range(1, 9)

MAX_FRAME_BYTES = 512 * 1024 * 1024
_RECEIVE_BYTES = 64 * 1024
_WRITE_HIGH_WATER_BYTES = 4 * 1024 * 1024

_HEADER = struct.Struct("<IBQ")
_CALL = struct.Struct("<dH")
_HEADER_BYTES = _HEADER.size
_CALL_BYTES = _CALL.size

_encoder = msgspec.msgpack.Encoder()
_messages: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Message)
_replies: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Reply)
_errors = msgspec.msgpack.Decoder(tuple[str, str])
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def request_frame(
    kind: int, call: int, message: Message, timeout_s: float, traceparent: str
) -> bytearray:
    """A call as bytes.

    Raises:
        ProtocolError: it is larger than a frame may be.
    """
    trace = traceparent.encode() if traceparent else b""
    start = _HEADER_BYTES + _CALL_BYTES + len(trace)
    frame = bytearray(start)
    _encoder.encode_into(message, frame, start)
    _CALL.pack_into(frame, _HEADER_BYTES, timeout_s, len(trace))
    if trace:
        frame[_HEADER_BYTES + _CALL_BYTES : start] = trace
    _seal(frame, kind, call)
    return frame


def frame_of(kind: int, call: int, content: Any) -> bytearray:
    """Any other frame, `content` encoded as its body. Raises as `request_frame`."""
    frame = bytearray(_HEADER_BYTES)
    _encoder.encode_into(content, frame, _HEADER_BYTES)
    _seal(frame, kind, call)
    return frame


def empty_frame(kind: int, call: int) -> bytes:
    return _HEADER.pack(0, kind, call)


def error_frame(call: int, error: MishardsError) -> bytearray:
    return frame_of(ERROR, call, (type(error).__name__, error.message))


def _seal(frame: bytearray, kind: int, call: int) -> None:
    length = len(frame) - _HEADER_BYTES
    if length > MAX_FRAME_BYTES:
        raise ProtocolError(
            f"a message of {length} bytes is over the limit of {MAX_FRAME_BYTES} bytes"
        )
    _HEADER.pack_into(frame, 0, length, kind, call)


def read_request(body: memoryview) -> tuple[float, str, Message]:
    """Remaining seconds, trace context and message of a request's body.

    Raises:
        ProtocolError: it is none.
    """
    try:
        remaining_s, trace_bytes = _CALL.unpack_from(body)
        start = _CALL_BYTES + trace_bytes
        trace = str(body[_CALL_BYTES:start], "ascii") if trace_bytes else ""
        message = _messages.decode(body[start:])
    except (struct.error, *_UNDECODABLE) as error:
        raise ProtocolError(f"not a request of the internal protocol: {error}") from error
    if not math.isfinite(remaining_s):
        raise ProtocolError(f"{remaining_s} seconds are no time that may remain for a call")
    return remaining_s, trace, message


def read_reply(body: memoryview) -> Reply:
    """Raises `ProtocolError` when `body` is no reply."""
    try:
        return cast("Reply", _replies.decode(body))
    except _UNDECODABLE as error:
        raise ProtocolError(f"not a reply of the internal protocol: {error}") from error


def read_error(body: memoryview) -> MishardsError:
    """The error that the peer raised, as an instance of the same class."""
    try:
        name, message = _errors.decode(body)
    except _UNDECODABLE as error:
        return ProtocolError(f"not an error of the internal protocol: {error}")
    return error_class(name)(message)


class FrameConnection(asyncio.BufferedProtocol):
    """One connection: subclasses implement `frame_received` and `ended`.

    Attributes:
        paused: the peer does not read as fast as we write; await `drained()` before writing more.
        closed: done when the connection is gone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_bytes: int) -> None:
        self.loop = loop
        self.paused = False
        self.closed: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport | None = None
        self.limit_bytes = limit_bytes
        self._scratch = memoryview(bytearray(_RECEIVE_BYTES))
        self._held = 0
        self._large: memoryview | None = None
        self._large_header = (0, 0)
        self._filled = 0
        self._drain: list[asyncio.Future[None]] = []
        self._ended = False

    def frame_received(self, kind: int, call: int, body: memoryview) -> None:
        """A whole frame. A `ProtocolError` raised here closes the connection."""
        raise NotImplementedError

    def ended(self, error: MishardsError) -> None:
        """The connection is of no use any more, and `error` says why; called once."""
        raise NotImplementedError

    def write(self, frame: bytes | bytearray) -> bool:
        """Send a frame; whether the connection was open to take it."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        transport.write(frame)
        return True

    async def drained(self) -> None:
        """Wait until the peer has read most of what was written, or the connection is gone."""
        if self.paused and not self.closed.done():
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._drain.append(waiter)
            await waiter

    def shut(self, error: MishardsError) -> None:
        """Close after sending what is buffered; `ended` is told `error`."""
        if self.transport is not None:
            self.transport.close()
        self._end(error)

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    # --- asyncio's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = "closed by the peer" if exc is None else str(exc) or type(exc).__name__
        self._end(Unavailable(f"the connection broke: {reason}"))
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._large is not None:
            return self._large[self._filled :]
        return self._scratch[self._held :]

    def buffer_updated(self, nbytes: int) -> None:
        try:
            if self._large is None:
                self._cut(self._held + nbytes)
            else:
                self._fill(nbytes)
        except ProtocolError as error:
            self.write(error_frame(0, error))
            self.shut(error)

    def _fill(self, count: int) -> None:
        self._filled += count
        large = cast("memoryview", self._large)
        if self._filled == len(large):
            self._large = None
            self.frame_received(*self._large_header, large.toreadonly())

    def _cut(self, end: int) -> None:
        """Deliver the whole frames in the first `end` bytes of the buffer, keep the rest."""
        scratch = self._scratch
        start = 0
        while end - start >= _HEADER_BYTES and not self._ended:
            length, kind, call = _HEADER.unpack_from(scratch, start)
            body = start + _HEADER_BYTES
            stop = body + length
            if length > self.limit_bytes:
                raise ProtocolError(
                    f"a frame of {length} bytes is over the limit of {self.limit_bytes} bytes"
                )
            if stop > end:
                if _HEADER_BYTES + length > _RECEIVE_BYTES:
                    self._begin_large(length, kind, call, scratch[body:end])
                    start = end
                break
            start = stop
            self.frame_received(kind, call, memoryview(bytes(scratch[body:stop])))
        rest = end - start
        if rest and start:
            scratch[:rest] = bytes(scratch[start:end])
        self._held = rest

    def _begin_large(self, length: int, kind: int, call: int, have: memoryview) -> None:
        large = np.empty(length, np.uint8).data  # not zeroed, unlike a bytearray
        large[: len(have)] = have
        self._large = large
        self._large_header = (kind, call)
        self._filled = len(have)

    def _end(self, error: MishardsError) -> None:
        self.paused = False
        self._wake()
        if not self._ended:
            self._ended = True
            self.ended(error)

    def _wake(self) -> None:
        waiters, self._drain = self._drain, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
