"""Withdraws what a process has announced and no longer renews, where a session would keep it alive.

Invariants: only time in which this process runs counts as silence; an attempt to renew counts as a
renewal, whether or not the registry could be reached.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mishards.core.errors import SystemFault
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime

_log = logging.getLogger(__name__)
_LOOKS_PER_TTL = 3


class Renewals:
    """What was announced here, and how long ago. From the loop's thread."""

    def __init__(
        self, runtime: Runtime, ttl_s: float, withdraw: Callable[[NodeId], Awaitable[None]]
    ) -> None:
        """`withdraw` takes a node out of the registry that was silent for `ttl_s`."""
        self._runtime = runtime
        self._look_s = ttl_s / _LOOKS_PER_TTL
        self._withdraw = withdraw
        self._silent_looks: dict[NodeId, int] = {}
        self._task: asyncio.Task[None] | None = None

    def renewed(self, node_id: NodeId) -> None:
        """The node is about to be announced."""
        self._silent_looks[node_id] = 0
        if self._task is None:
            self._task = self._runtime.spawn(self._watch(), "renewals in the registry")

    def forget(self, node_id: NodeId) -> None:
        """The node has left."""
        self._silent_looks.pop(node_id, None)

    async def close(self) -> None:
        """Withdraw nothing any more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            await self._runtime.sleep(self._look_s)
            for node_id in list(self._silent_looks):
                if node_id in self._silent_looks:
                    await self._look(node_id)

    async def _look(self, node_id: NodeId) -> None:
        self._silent_looks[node_id] += 1
        if self._silent_looks[node_id] < _LOOKS_PER_TTL:
            return
        _log.warning("node %r was not renewed: it is withdrawn from the registry", node_id)
        try:
            await self._withdraw(node_id)
        except SystemFault as error:
            _log.warning("cannot withdraw node %r: %s", node_id, error.message)
