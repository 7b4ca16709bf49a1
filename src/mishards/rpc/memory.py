"""Calls between roles of one process: `mem://name`. Messages pass by reference.

Invariants: deadlines, cancellation and errors are those of the network; a closed listener ends
the calls it was serving with `Unavailable`, as a dead process would.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, cast

from mishards.core.errors import ConfigError, DeadlineExceeded, NobodyListens, Unavailable
from mishards.core.runtime import Runtime
from mishards.observability.tracing import Hops
from mishards.rpc.messages import Message, Reply
from mishards.rpc.protocol import CallContext, Channel, Handler, Listener
from mishards.rpc.serving import answer, answer_now, items

T = TypeVar("T")


class MemoryTransport:
    """Joins all that listen and call on the same instance; see `rpc.protocol.Transport`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._listeners: dict[str, MemoryListener] = {}
        self._channels: dict[str, MemoryChannel] = {}

    async def listen(self, address: str, handler: Handler) -> Listener:
        _check(address)
        if address in self._listeners:
            raise ConfigError(f"cannot listen on {address}: the name is taken")
        listener = MemoryListener(address, handler, self._listeners)
        self._listeners[address] = listener
        return listener

    def channel(self, address: str) -> Channel:
        channel = self._channels.get(address)
        if channel is None:
            _check(address)
            channel = MemoryChannel(self._runtime, address, self._listeners)
            self._channels[address] = channel
        return channel

    def ask_now(
        self,
        requests: Sequence[tuple[str, Message]],
        timeout_s: float,
        hops: Hops | None = None,
    ) -> list[Reply] | None:
        return None

    async def close(self) -> None:
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()


class MemoryListener:
    """A name that answers, and the work that is being done for its callers."""

    def __init__(
        self, address: str, handler: Handler, listeners: dict[str, MemoryListener]
    ) -> None:
        self.address = address
        self.handler = handler
        self._listeners = listeners
        self._work: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, work: Coroutine[Any, Any, T], calls: set[asyncio.Task[Any]]) -> T:
        """Do `work` in a task that ends with this listener or with the caller's `calls`."""
        if self._closed:
            work.close()
            raise self._broken()
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        calls.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and caller is not None and not caller.cancelling():
                raise self._broken() from None
            raise
        finally:
            self._work.discard(task)
            calls.discard(task)

    async def close(self) -> None:
        if self._listeners.get(self.address) is self:
            del self._listeners[self.address]
        self._closed = True
        await _cancel_all(self._work)

    def _broken(self) -> Unavailable:
        return Unavailable(f"{self.address}: the connection broke")


class MemoryChannel:
    """See `rpc.protocol.Channel`."""

    def __init__(
        self, runtime: Runtime, address: str, listeners: dict[str, MemoryListener]
    ) -> None:
        self.address = address
        self._runtime = runtime
        self._listeners = listeners
        self._calls: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def call(self, message: Message, *, timeout_s: float, traceparent: str = "") -> Reply:
        listener = self._listener()
        context = CallContext(self._runtime.monotonic_s() + timeout_s, traceparent)
        work = listener.run(answer(listener.handler, message, context), self._calls)
        try:
            return await self._runtime.timeout(work, timeout_s)
        except TimeoutError:
            raise DeadlineExceeded(f"{self.address}: no answer within {timeout_s:.3f} s") from None

    def begin(
        self, message: Message, *, timeout_s: float, traceparent: str = ""
    ) -> asyncio.Future[Reply] | None:
        return None

    def call_now(self, message: Message, traceparent: str = "") -> Reply | None:
        return answer_now(self._listener().handler, message, traceparent)

    async def stream(self, message: Message) -> AsyncIterator[Reply]:
        listener = self._listener()
        context = CallContext(math.inf)
        async with aclosing(cast("Any", items(listener.handler, message, context))) as stream:
            while True:
                item: Reply | None = await listener.run(_next(stream), self._calls)
                if item is None:
                    return
                yield item

    async def close(self) -> None:
        self._closed = True
        await _cancel_all(self._calls)

    def _listener(self) -> MemoryListener:
        listener = self._listeners.get(self.address)
        if self._closed:
            raise Unavailable(f"{self.address}: the channel is closed")
        if listener is None:
            raise NobodyListens(f"{self.address}: nothing listens there")
        return listener


async def _next(stream: AsyncIterator[Reply]) -> Reply | None:
    return await anext(stream, None)


async def _cancel_all(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel and wait for the end, but of the task that calls."""
    current = asyncio.current_task()
    ending = [task for task in tasks if task is not current]
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def _check(address: str) -> None:
    if not address.startswith("mem://") or address == "mem://":
        raise ConfigError(f"invalid address {address!r}: mem://name is allowed")
