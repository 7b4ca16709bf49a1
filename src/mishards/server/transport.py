"""A transport that takes the short way to the node's own roles.

A node that holds several roles calls them directly; everything else goes through the transport it
wraps.
"""

from __future__ import annotations

from collections.abc import Sequence

from mishards.core.errors import ConfigError
from mishards.observability.tracing import Hops
from mishards.rpc.address import advertised
from mishards.rpc.memory import MemoryTransport
from mishards.rpc.messages import Message, Reply
from mishards.rpc.protocol import Channel, Handler, Listener, Transport


class OwnFirstTransport:
    """Implements `Transport`: the address it is known by is reached in memory.

    Attributes:
        address: where others reach what listens here; empty before `listen`.
    """

    def __init__(self, outer: Transport, inner: MemoryTransport, advertise: str = "") -> None:
        """`advertise`: see `rpc.address.advertised`."""
        self.address = ""
        self._advertise = advertise
        self._outer = outer
        self._inner = inner
        self._own: dict[str, Channel] = {}
        self._inner_listeners: list[Listener] = []

    async def listen(self, address: str, handler: Handler) -> Listener:
        listener = await self._outer.listen(address, handler)
        try:
            self.address = advertised(listener.address, self._advertise)
        except ConfigError:
            await listener.close()
            raise
        name = f"mem://{listener.address}"
        self._inner_listeners.append(await self._inner.listen(name, handler))
        self._own[self.address] = self._inner.channel(name)
        return listener

    def channel(self, address: str) -> Channel:
        return self._own.get(address) or self._outer.channel(address)

    def ask_now(
        self,
        requests: Sequence[tuple[str, Message]],
        timeout_s: float,
        hops: Hops | None = None,
    ) -> list[Reply] | None:
        if any(address in self._own for address, _ in requests):
            return None
        return self._outer.ask_now(requests, timeout_s, hops)

    async def close(self) -> None:
        for listener in self._inner_listeners:
            await listener.close()
        await self._inner.close()
        await self._outer.close()
