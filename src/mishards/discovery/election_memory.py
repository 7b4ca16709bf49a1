"""An election inside one process: for tests, simulation, and all roles in one."""

from __future__ import annotations

from weakref import WeakValueDictionary

from mishards.core.errors import LeaseTaken
from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.election import NOBODY, Lease, next_lease


class MemoryElection:
    """An `Election` that lives as long as the Python object; share it to share the cluster."""

    def __init__(self) -> None:
        self._leases: dict[LogId, Lease] = {}

    async def look(self, log_id: LogId) -> Lease:
        return self._leases.get(log_id) or Lease(log_id=log_id)

    async def swap(self, seen: Lease, holder: NodeId, heir: NodeId = NOBODY) -> Lease:
        found = await self.look(seen.log_id)
        if found != seen:
            raise LeaseTaken(
                f"log {seen.log_id} is held by {found.holder!r} at beat {found.beat}, "
                f"no longer by {seen.holder!r} at beat {seen.beat}"
            )
        lease = self._leases[seen.log_id] = next_lease(seen, holder, heir)
        return lease

    async def close(self) -> None:
        """Nothing is held that the process does not own."""


_named: WeakValueDictionary[str, MemoryElection] = WeakValueDictionary()


def open_memory(runtime: Runtime, *, url: str) -> MemoryElection:
    """The election of that URL in this process while somebody holds it; without one a new one."""
    election = _named.get(url) if url else None
    if election is None:
        election = MemoryElection()
        if url:
            _named[url] = election
    return election
