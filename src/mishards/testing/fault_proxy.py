"""A TCP proxy that harms what passes: delay, loss, cuts, resets, connections that fall silent.

Invariants: bytes arrive in order and unchanged, or their connection is broken or silent; what a
cut holds back arrives once it ends, as TCP would send it again. Everything may be switched at any
time and from any thread; each direction of a proxy has its own `Flow`.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, TypeVar

T = TypeVar("T")

_READ_BYTES = 64 * 1024
_HELD_CHUNKS = 256
_LOOK_S = 0.005
_RETRANSMIT_S = 0.2
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Flow:
    """What happens to one direction of all connections of a proxy.

    Attributes:
        delay_s: how long bytes are under way.
        jitter_s: `delay_s` is more or less by up to this.
        loss: share of the chunks that are late by a retransmission (200 ms).
        resets: share of the chunks at which the connection is reset.
        bytes_per_s: most that passes; 0 for no limit.
        cut: nothing passes; it is kept, and passes when this ends.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self.heal()

    def heal(self) -> None:
        """Let everything pass at once."""
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.loss = 0.0
        self.resets = 0.0
        self.bytes_per_s = 0.0
        self.cut = False

    def draw_delay_s(self) -> float:
        """How long a chunk that comes now is under way."""
        delay_s = self.delay_s + self._random.uniform(-self.jitter_s, self.jitter_s)
        if self.loss and self._random.random() < self.loss:
            delay_s += _RETRANSMIT_S
        return max(delay_s, 0.0)

    def sending_s(self, size_bytes: int) -> float:
        """How long so many bytes occupy the line."""
        return size_bytes / self.bytes_per_s if self.bytes_per_s else 0.0

    def draw_reset(self) -> bool:
        return self.resets > 0 and self._random.random() < self.resets


class FaultProxy:
    """One listening port that forwards to a target; made by `FaultNetwork.link`.

    Attributes:
        port: where it listens, on the loopback.
        target: `(host, port)` that connections accepted from now on are forwarded to.
        there: from those who connect to the target.
        back: from the target to those who connect.
        accepts: what happens to a connection: `forward`; `silent`: accepted, and never a byte
            comes (half open); `reset`: reset at once.
        accepted: how many connections came so far.
    """

    def __init__(self, target: tuple[str, int], seed: str) -> None:
        self.port = 0
        self.target = target
        self.there = Flow(f"{seed}/there")
        self.back = Flow(f"{seed}/back")
        self.accepts: Literal["forward", "silent", "reset"] = "forward"
        self.accepted = 0
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: set[_Connection] = set()

    @property
    def open_connections(self) -> int:
        """Connections that have not ended."""
        return len(self._connections)

    @property
    def address(self) -> str:
        """As the internal protocol names it."""
        return f"tcp://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Let nothing pass in either direction."""
        self.there.cut = self.back.cut = True

    def heal(self) -> None:
        """Forward everything at once from now on; connections that were forgotten stay silent."""
        self.accepts = "forward"
        self.there.heal()
        self.back.heal()

    def reset(self) -> None:
        """Reset all connections there are."""
        self._on_loop(self._each(_Connection.abort))

    def forget(self) -> None:
        """Let all connections there are be silent for ever, both ends believing in them, as when a
        machine between them forgot about them; further ones are not touched."""
        self._on_loop(self._each(_Connection.forget))

    async def open(self) -> None:
        """Listen; on the network's loop."""
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Break everything; on the network's loop."""
        assert self._server is not None
        self._server.close()
        tasks = [task for connection in self._connections for task in connection.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._each(_Connection.abort)

    async def _each(self, do: Any) -> None:
        for connection in list(self._connections):
            do(connection)

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(writer)
        task = asyncio.current_task()
        assert task is not None
        connection.tasks.add(task)
        self._connections.add(connection)
        try:
            if self.accepts == "forward":
                await self._forward(connection, reader, writer)
            elif self.accepts == "silent":
                await reader.read(-1)
            else:
                connection.abort()
        except (OSError, asyncio.CancelledError):
            connection.abort()
        finally:
            connection.close()
            self._connections.discard(connection)

    async def _forward(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self.target)
        connection.writers.append(far_writer)
        pumps = (
            asyncio.ensure_future(_pump(connection, self.there, reader, far_writer)),
            asyncio.ensure_future(_pump(connection, self.back, far_reader, writer)),
        )
        connection.tasks.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        if any(pump.done() and pump.result() for pump in pumps):
            connection.abort()
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


class _Connection:
    """The two sockets of one forwarded connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.tasks: set[asyncio.Future[Any]] = set()
        self.forgotten = False

    def forget(self) -> None:
        self.forgotten = True

    def close(self) -> None:
        """Close both sockets once what was handed to them is sent."""
        for writer in self.writers:
            writer.close()

    def abort(self) -> None:
        """Break both sockets with a reset."""
        for writer in self.writers:
            found: socket.socket | None = writer.get_extra_info("socket")
            if found is not None:
                with suppress(OSError):
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()


async def _pump(
    connection: _Connection,
    flow: Flow,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bool:
    """Take bytes from one end to the other until either goes; whether the flow resets them."""
    held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD_CHUNKS)
    sending = asyncio.ensure_future(_send(connection, flow, held, writer))
    receiving = asyncio.ensure_future(_receive(flow, held, reader))
    try:
        await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
        if receiving.done() and receiving.result():
            return True
        await sending
        return False
    finally:
        for task in (sending, receiving):
            task.cancel()
        await asyncio.gather(sending, receiving, return_exceptions=True)


async def _receive(
    flow: Flow, held: asyncio.Queue[tuple[float, bytes]], reader: asyncio.StreamReader
) -> bool:
    """Put down what comes with its time of arrival; whether the connection is to be reset."""
    loop = asyncio.get_running_loop()
    last_s = free_s = 0.0
    with suppress(OSError):
        while data := await reader.read(_READ_BYTES):
            if flow.draw_reset():
                return True
            free_s = max(free_s, loop.time()) + flow.sending_s(len(data))
            last_s = max(last_s, free_s + flow.draw_delay_s())
            await held.put((last_s, data))
    await held.put((last_s, b""))
    return False


async def _send(
    connection: _Connection,
    flow: Flow,
    held: asyncio.Queue[tuple[float, bytes]],
    writer: asyncio.StreamWriter,
) -> None:
    """Hand on what is due, up to the end of the stream."""
    loop = asyncio.get_running_loop()
    while True:
        due_s, data = await held.get()
        if (left_s := due_s - loop.time()) > 0:
            await asyncio.sleep(left_s)
        while flow.cut or connection.forgotten:  # noqa: ASYNC110 - switched from other threads
            await asyncio.sleep(_LOOK_S)
        if not data:
            return
        writer.write(data)
        await writer.drain()


class FaultNetwork:
    """Runs proxies on a thread of its own; a context manager."""

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault network")
        self._thread.start()
        self.links: dict[str, FaultProxy] = {}

    def link(self, name: str, host: str, port: int) -> FaultProxy:
        """A proxy to `host:port` that listens on a port of its own.

        Raises:
            ValueError: there is a link of that name.
        """
        if name in self.links:
            raise ValueError(f"there is a link {name!r} already")
        proxy = FaultProxy((host, port), f"{self._seed}/{name}")
        self._run(proxy.open())
        self.links[name] = proxy
        return proxy

    def heal(self) -> None:
        """End all faults of all links."""
        for link in self.links.values():
            link.heal()

    def close(self) -> None:
        """End all proxies and the thread."""
        for link in self.links.values():
            self._run(link.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __enter__(self) -> FaultNetwork:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
