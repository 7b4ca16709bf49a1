"""Calls that block the thread that makes them: for threads that serve one request at a time.

A thread writes its requests to all peers, then reads the answers, without an event loop between:
on a busy machine that spares two changes of thread. Invariants: a connection belongs to one
thread; one on which anything went wrong, or nothing happened for long, is closed; a peer that
failed is left alone for a while, so that its trouble costs the waiting time once and not with
every call.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from mishards.core.errors import MishardsError, ProtocolError, Unavailable
from mishards.observability.tracing import Hops
from mishards.rpc import frames
from mishards.rpc.address import parse_address
from mishards.rpc.handshake import Credentials, Handshake, read_hello
from mishards.rpc.messages import Message, Reply
from mishards.tls.cluster import ClusterTls

_HEADER = struct.Struct("<IBQ")
_RECEIVE_BYTES = 64 * 1024
_REST_S = 2.0


class BlockingCalls:
    """Connections of all threads, one per thread and peer. Thread-safe."""

    def __init__(
        self,
        credentials: Credentials,
        monotonic_s: Callable[[], float],
        idle_s: float,
        tls: ClusterTls | None = None,
    ) -> None:
        """`idle_s`: a connection that was not used for so long is made anew."""
        self._credentials = credentials
        self._tls = tls
        self._monotonic_s = monotonic_s
        self._idle_s = idle_s
        self._own = threading.local()
        self._all: set[BlockingConnection] = set()
        self._resting: dict[str, float] = {}
        self._closed = False

    def ask(
        self,
        requests: Sequence[tuple[str, Message]],
        timeout_s: float,
        hops: Hops | None = None,
    ) -> list[Reply] | None:
        """See `Transport.ask_now`."""
        end_s = self._monotonic_s() + timeout_s
        if self._closed or any(self._resting.get(a, 0.0) > end_s - timeout_s for a, _ in requests):
            return None
        asked: list[BlockingConnection] = []
        address = ""
        try:
            for place, (address, message) in enumerate(requests):
                connection = self._connection(address, timeout_s)
                asked.append(connection)
                connection.used_s = self._monotonic_s()
                trace = "" if hops is None else hops.traceparent(place)
                connection.send(message, timeout_s, trace)
            replies = []
            for place, connection in enumerate(asked):
                address = connection.address
                replies.append(connection.receive(max(end_s - self._monotonic_s(), 0.001)))
                if hops is not None:
                    hops.answered(place)
        except (OSError, MishardsError):
            for connection in asked:
                self._drop(connection)
            self._resting[address] = self._monotonic_s() + _REST_S
            return None
        return replies

    def close(self) -> None:
        """Close all connections; later calls give None."""
        self._closed = True
        for connection in list(self._all):
            self._drop(connection)

    def _connection(self, address: str, timeout_s: float) -> BlockingConnection:
        known: dict[str, BlockingConnection] | None = getattr(self._own, "connections", None)
        if known is None:
            known = self._own.connections = {}
        connection = known.get(address)
        if connection is not None and self._monotonic_s() - connection.used_s > self._idle_s:
            self._drop(connection)
        if connection is None or connection.closed:
            connection = known[address] = BlockingConnection(
                address, self._credentials, timeout_s, self._tls
            )
            self._all.add(connection)
        return connection

    def _drop(self, connection: BlockingConnection) -> None:
        connection.close()
        self._all.discard(connection)


class BlockingConnection:
    """One connection: a request, then its answer. For one thread.

    Attributes:
        used_s: when a request was last sent, on its users' clock; infinite before the first.
    """

    def __init__(
        self, address: str, credentials: Credentials, timeout_s: float, tls: ClusterTls | None
    ) -> None:
        """Connect and shake hands.

        Raises:
            OSError, ProtocolError: why it cannot.
        """
        self.address = address
        self.closed = False
        self.used_s = math.inf
        self._call = 0
        self._held = bytearray()
        self._socket = _connected(address, timeout_s, tls)
        try:
            self._greet(Handshake(credentials))
        except BaseException:
            self.close()
            raise

    def send(self, message: Message, timeout_s: float, traceparent: str = "") -> None:
        """Send a request.

        Raises:
            OSError: the connection is of no use any more.
        """
        self._call += 1
        frame = frames.request_frame(frames.REQUEST, self._call, message, timeout_s, traceparent)
        self._socket.sendall(frame)

    def receive(self, timeout_s: float) -> Reply:
        """The answer to the request sent last.

        Raises:
            TimeoutError, OSError, ProtocolError, Unavailable: the connection is of no use any more.
            MishardsError: what the peer raised.
        """
        self._socket.settimeout(timeout_s)
        kind, call, body = self._frame()
        if kind == frames.ERROR:
            raise frames.read_error(body)
        if kind != frames.REPLY or call != self._call:
            raise ProtocolError(f"{self.address}: unexpected frame of kind {kind} as an answer")
        return frames.read_reply(body)

    def close(self) -> None:
        self.closed = True
        with contextlib.suppress(OSError):
            self._socket.close()

    def _greet(self, handshake: Handshake) -> None:
        answer = handshake.answer(read_hello(self._hello()))
        self._socket.sendall(frames.frame_of(frames.HELLO, 0, answer))
        handshake.confirm(read_hello(self._hello()))

    def _hello(self) -> memoryview:
        kind, _, body = self._frame()
        if kind == frames.ERROR:
            raise frames.read_error(body)
        if kind != frames.HELLO:
            raise ProtocolError(f"{self.address}: a frame of kind {kind} instead of a greeting")
        return body

    def _frame(self) -> tuple[int, int, memoryview]:
        """The next frame; its body is a copy of its own."""
        self._fill(_HEADER.size)
        length, kind, call = _HEADER.unpack_from(self._held)
        if length > frames.MAX_FRAME_BYTES:
            raise ProtocolError(f"{self.address}: a frame of {length} bytes is over the limit")
        end = _HEADER.size + length
        self._fill(end)
        body = bytes(self._held[_HEADER.size : end])
        del self._held[:end]
        return kind, call, memoryview(body)

    def _fill(self, count: int) -> None:
        while len(self._held) < count:
            data = self._socket.recv(max(_RECEIVE_BYTES, count - len(self._held)))
            if not data:
                raise Unavailable(f"{self.address}: closed by the peer")
            self._held += data


def _connected(address: str, timeout_s: float, tls: ClusterTls | None) -> socket.socket:
    match parse_address(address):
        case Path() as path:
            made = socket.socket(socket.AF_UNIX)
            made.settimeout(timeout_s)
            try:
                made.connect(str(path))
            except BaseException:
                made.close()
                raise
        case (host, port):
            made = socket.create_connection((host, port), timeout_s)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                made = _wrapped(made, tls)
    return made


def _wrapped(plain: socket.socket, tls: ClusterTls) -> socket.socket:
    try:
        return tls.client().wrap_socket(plain)
    except BaseException:
        plain.close()
        raise
