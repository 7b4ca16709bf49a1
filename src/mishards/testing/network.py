"""A simulated network: every link between two processes has its own delay, loss and cuts.

Invariants: messages are encoded and decoded on the way, so nothing is shared by reference; what a
stream delivers is in order and without a gap, as on a TCP connection: a loss breaks it or makes it
silent for ever. Only what may be repeated is ever delivered twice. Each link draws from its own
chance, so traffic on one leaves the others alone.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, cast

import msgspec

from mishards.core.errors import (
    ConfigError,
    DeadlineExceeded,
    MishardsError,
    NobodyListens,
    Unavailable,
    error_class,
)
from mishards.observability.tracing import Hops
from mishards.rpc.messages import (
    AllocateTimestamp,
    DdlOnce,
    Fetch,
    Flush,
    Message,
    NewestTimestamp,
    NodeStatus,
    Query,
    Reply,
    Search,
    Write,
)
from mishards.rpc.protocol import CallContext, Channel, Handler, Listener
from mishards.rpc.serving import answer, items
from mishards.testing.asked import Asked
from mishards.testing.processes import OUTSIDE, Process, first_of

_encode = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(Message).decode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode

_REPEATABLE = (
    AllocateTimestamp,
    DdlOnce,
    Fetch,
    Flush,
    NewestTimestamp,
    NodeStatus,
    Query,
    Search,
    Write,
)
Answer = bytes | tuple[str, str]
"""An encoded reply, or an error's class name and message."""


class Link:
    """One direction between two hosts.

    Attributes:
        delay_s: least and greatest time a message takes.
        loss: share of messages that are lost.
        repeats: share of requests that arrive twice, where they may be repeated.
        cut: nothing passes.
    """

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.delay_s = (0.0001, 0.001)
        self.loss = 0.0
        self.repeats = 0.0
        self.cut = False

    def heal(self) -> None:
        """Work well again."""
        self.cut, self.loss, self.repeats, self.delay_s = False, 0.0, 0.0, (0.0001, 0.001)

    def loses(self) -> bool:
        return self.cut or (self.loss > 0 and self.random.random() < self.loss)

    def draw_delay_s(self) -> float:
        return self.random.uniform(*self.delay_s)

    async def travel(self) -> None:
        """Take one message across; a lost one is noticed at once, or never.

        Raises:
            Unavailable: the connection was reset.
        """
        lost, delay_s = self.loses(), self.draw_delay_s()
        noticed = lost and self.random.random() < 0.5
        await asyncio.sleep(delay_s)
        if noticed:
            raise Unavailable("the connection was reset")
        if lost or self.cut:
            await asyncio.get_running_loop().create_future()


class SimulatedNetwork:
    """Joins the transports of all simulated processes."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._links: dict[tuple[str, str], Link] = {}
        self.listeners: dict[str, SimulatedListener] = {}
        self.messages = 0
        self.asked = Asked()

    def link(self, source: str, target: str) -> Link:
        """The link between two hosts, by name."""
        key = source, target
        if key not in self._links:
            self._links[key] = Link(f"{self._seed}/{source}>{target}")
        return self._links[key]

    def heal(self) -> None:
        """End all cuts, loss, repetitions and slowness."""
        for link in self._links.values():
            link.heal()

    def close_listener(self, address: str) -> None:
        """Let nothing answer there any more."""
        self.listeners.pop(address, None)

    def transport(self, host: str, process: Process) -> SimulatedTransport:
        return SimulatedTransport(self, host, process)


class SimulatedListener:
    """A process that answers at `sim://<host>`."""

    def __init__(
        self, network: SimulatedNetwork, host: str, process: Process, handler: Handler
    ) -> None:
        self.address = f"sim://{host}"
        self.host = host
        self.process = process
        self.handler = handler
        self._network = network
        network.listeners[self.address] = self

    async def close(self) -> None:
        if self._network.listeners.get(self.address) is self:
            del self._network.listeners[self.address]


class SimulatedTransport:
    """One process's `rpc.protocol.Transport`."""

    def __init__(self, network: SimulatedNetwork, host: str, process: Process) -> None:
        self._network = network
        self._host = host
        self._process = process

    async def listen(self, address: str, handler: Handler) -> Listener:
        if address != f"sim://{self._host}":
            raise ConfigError(f"{self._host} cannot listen on {address}: sim://{self._host} is it")
        return SimulatedListener(self._network, self._host, self._process, handler)

    def channel(self, address: str) -> Channel:
        return SimulatedChannel(self._network, self._host, self._process, address)

    def ask_now(
        self,
        requests: Sequence[tuple[str, Message]],
        timeout_s: float,
        hops: Hops | None = None,
    ) -> list[Reply] | None:
        return None

    async def close(self) -> None:
        """Channels hold nothing."""


class SimulatedChannel:
    """A way from one process to an address; see `rpc.protocol.Channel`."""

    def __init__(
        self, network: SimulatedNetwork, host: str, process: Process, address: str
    ) -> None:
        self.address = address
        self._network = network
        self._process = process
        peer = address.removeprefix("sim://")
        self._there = network.link(host, peer)
        self._back = network.link(peer, host)

    async def call(self, message: Message, *, timeout_s: float, traceparent: str = "") -> Reply:
        ask, reply = self._network.asked.begin(message), None
        try:
            async with asyncio.timeout(timeout_s):
                repeatable = isinstance(message, _REPEATABLE)
                data = await self._exchange(_encode(message), timeout_s, traceparent, repeatable)
        except TimeoutError:
            raise DeadlineExceeded(f"{self.address}: no answer within {timeout_s:.3f} s") from None
        else:
            reply = _decode(data)
        finally:
            if ask is not None:
                self._network.asked.end(ask, reply)
        return reply

    def call_now(self, message: Message, traceparent: str = "") -> Reply | None:
        return None

    def begin(
        self, message: Message, *, timeout_s: float, traceparent: str = ""
    ) -> asyncio.Future[Reply] | None:
        return None

    async def stream(self, message: Message) -> AsyncIterator[Reply]:
        listener = await self._reach()
        pipe = _Pipe(self._back)
        listener.process.death.add_done_callback(pipe.peer_died)
        work = _pump(listener.handler, _encode(message), pipe)
        task = listener.process.start(work)
        try:
            while (item := await pipe.get()) is not None:
                yield _decode(item)
        finally:
            listener.process.death.remove_done_callback(pipe.peer_died)
            self._cancel_later(task, listener.process)

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def _reach(self) -> SimulatedListener:
        self._process.check()
        self._network.messages += 1
        await self._there.travel()
        listener = self._network.listeners.get(self.address)
        if listener is None or not listener.process.alive:
            raise NobodyListens(f"{self.address}: the connection was refused")
        return listener

    async def _exchange(
        self, data: bytes, timeout_s: float, traceparent: str, repeatable: bool
    ) -> Answer:
        """The answer to one call. The callee goes on when the caller dies or gives up, until the
        news reaches it or its deadline passes."""
        listener = await self._reach()
        work = _serve(listener.handler, data, timeout_s, traceparent)
        task = listener.process.start(work)
        if repeatable and self._there.random.random() < self._there.repeats:
            listener.process.start(_serve(listener.handler, data, timeout_s, traceparent))
        death = listener.process.death
        try:
            await first_of(task, death)
        except asyncio.CancelledError:
            self._cancel_later(task, listener.process)
            raise
        await self._back.travel()
        if death.done() or task.cancelled():
            raise Unavailable(f"{self.address}: the connection broke")
        return task.result()

    def _cancel_later(self, task: asyncio.Task[Any], peer: Process) -> None:
        """The peer learns that the caller is gone, if anything still reaches it; one that stands
        still finds what it was asked before it finds this."""
        if not self._there.loses():
            loop = asyncio.get_running_loop()
            loop.call_later(self._there.draw_delay_s(), task.cancel, context=peer.context)


async def _serve(handler: Handler, data: bytes, timeout_s: float, traceparent: str) -> Answer:
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            reply = await answer(
                handler, _decode_message(data), CallContext(deadline_s, traceparent)
            )
    except TimeoutError:
        return "DeadlineExceeded", f"the call did not end within its {timeout_s:.3f} s"
    except MishardsError as error:
        return type(error).__name__, error.message
    return _encode(reply)


async def _pump(handler: Handler, data: bytes, pipe: _Pipe) -> None:
    try:
        stream = items(handler, _decode_message(data), CallContext(math.inf))
        async with aclosing(cast("Any", stream)) as replies:
            async for reply in replies:
                pipe.put(_encode(reply))
                # A peer that has much to say lets others speak.
                await asyncio.sleep(0)
        pipe.put(None)
    except MishardsError as error:
        pipe.put((type(error).__name__, error.message))


class _Pipe:
    """What one stream has sent and not delivered."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[Answer | None] = deque()
        self._filled = asyncio.Event()
        self._last_s = 0.0
        self._broken = False

    def put(self, item: Answer | None) -> None:
        if self._broken:
            return
        if self._link.loses():
            self._broken = True
            if self._link.cut or self._link.random.random() < 0.5:
                return
            item = ("Unavailable", "the connection was reset")
        arrival_s = max(self._last_s, self._loop.time() + self._link.draw_delay_s())
        self._last_s = arrival_s
        self._loop.call_at(arrival_s, self._arrive, item, context=OUTSIDE)

    def peer_died(self, _death: object) -> None:
        self.put(("Unavailable", "the connection broke"))
        self._broken = True

    async def get(self) -> Answer | None:
        while not self._arrived:
            self._filled.clear()
            await self._filled.wait()
        return self._arrived.popleft()

    def _arrive(self, item: Answer | None) -> None:
        self._arrived.append(item)
        self._filled.set()


def _decode(answer: Answer) -> Reply:
    if isinstance(answer, tuple):
        name, message = answer
        raise error_class(name)(message)
    return cast("Reply", _decode_reply(answer))
