"""A node's entry in the registry, renewed for as long as it lives.

Invariant: once a node has left, nothing announces it again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping

import msgspec

from mishards.core.errors import MishardsError
from mishards.core.ids import Epoch, LogId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo, Registry

_log = logging.getLogger(__name__)


class Presence:
    """Announces a node every `heartbeat_s`, and at once when what it says has changed."""

    def __init__(
        self,
        runtime: Runtime,
        registry: Registry,
        node: NodeInfo,
        reigns: Callable[[], Mapping[LogId, Epoch]],
        heartbeat_s: float,
    ) -> None:
        self._runtime = runtime
        self._registry = registry
        self._node = msgspec.structs.replace(node, pid=os.getpid(), host=socket.gethostname())
        self._reigns = reigns
        self._heartbeat_s = heartbeat_s
        self._reachable = True
        self._left = False
        # A renewal under way cannot be called back, and would undo a leave that overtakes it.
        self._turn = asyncio.Lock()

    def set_addresses(self, edge: str, http: str) -> None:
        """Say from the next announcement on where clients and health checks reach the node."""
        self._node = msgspec.structs.replace(self._node, edge=edge, http=http)

    async def announce(self, *, ready: bool) -> None:
        """Say it now; a registry that cannot be reached is an error."""
        async with self._turn:
            if self._left:
                return
            self._node = self._as_of_now(ready)
            await self._registry.announce(self._node)

    @property
    def introduction(self) -> NodeInfo:
        """What the node says to whom asks it: as it would announce itself now."""
        return self._as_of_now(self._node.ready and not self._left)

    def _as_of_now(self, ready: bool) -> NodeInfo:
        reigns = self._reigns()
        return msgspec.structs.replace(
            self._node, ready=ready, leads=tuple(reigns), epochs=tuple(reigns.values())
        )

    async def renew(self) -> None:
        """Say at once what has changed; what cannot be said now is said at the next beat."""
        try:
            await self.announce(ready=self._node.ready)
        except MishardsError as error:
            _log.warning("cannot renew this node in the registry: %s", error.message)

    async def run(self) -> None:
        """Renew for ever; a registry that cannot be reached is logged once and tried again."""
        while True:
            await self._runtime.sleep(self._heartbeat_s)
            try:
                await self.announce(ready=self._node.ready)
            except MishardsError as error:
                if self._reachable:
                    _log.warning("cannot renew this node in the registry: %s", error.message)
                self._reachable = False
            else:
                self._reachable = True

    async def withdraw(self) -> None:
        """Leave; what cannot be said now expires by itself."""
        self._left = True
        try:
            async with self._turn:
                await self._registry.withdraw(self._node.id)
        except MishardsError as error:
            _log.warning("cannot leave the registry: %s", error.message)
