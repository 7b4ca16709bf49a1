"""What elections have in common whose calls to a service block: they are made off the loop.

Invariant: whatever the service fails with reaches the caller as `Unavailable`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.election import NOBODY, Lease, next_lease, no_longer_held
from mishards.discovery.service import ask_service

T = TypeVar("T")


class BlockingElection(ABC):
    """An `Election`; give the three methods that block, which any thread may be made to call."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def look(self, log_id: LogId) -> Lease:
        return await self._do(self._look_now, log_id)

    async def swap(self, seen: Lease, holder: NodeId, heir: NodeId = NOBODY) -> Lease:
        lease = next_lease(seen, holder, heir)
        if not await self._do(self._swap_now, seen, lease):
            raise no_longer_held(seen)
        return lease

    async def close(self) -> None:
        await self._runtime.blocking(self._close_now)

    async def _do(self, work: Callable[..., T], *args: object) -> T:
        return await ask_service(self._runtime, "the election", work, *args)

    @abstractmethod
    def _look_now(self, log_id: LogId) -> Lease:
        """The log's lease.

        Raises:
            SystemFault: it cannot be read; names the service.
        """

    @abstractmethod
    def _swap_now(self, seen: Lease, lease: Lease) -> bool:
        """Put a lease where `seen` still is; whether it was. Raises as `_look_now`."""

    @abstractmethod
    def _close_now(self) -> None:
        """Let go of connections."""
