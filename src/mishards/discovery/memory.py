"""A registry inside one process: for tests, simulation, and all roles in one.

Invariant: a node that was not renewed for `ttl_s` of monotonic time is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo


class MemoryRegistry:
    """A `Registry` that lives as long as the Python object; share it to share the cluster."""

    def __init__(self, runtime: Runtime, *, ttl_s: float) -> None:
        self._runtime = runtime
        self._ttl_s = ttl_s
        self._nodes: dict[NodeId, tuple[NodeInfo, float]] = {}

    async def announce(self, node: NodeInfo) -> None:
        self._nodes[node.id] = (node, self._runtime.monotonic_s() + self._ttl_s)

    async def withdraw(self, node_id: NodeId) -> None:
        self._nodes.pop(node_id, None)

    async def nodes(self) -> tuple[NodeInfo, ...]:
        now_s = self._runtime.monotonic_s()
        self._nodes = {key: held for key, held in self._nodes.items() if held[1] > now_s}
        return tuple(node for _, (node, _) in sorted(self._nodes.items()))

    async def close(self) -> None:
        """Nothing is held that the process does not own."""


_named: WeakValueDictionary[str, MemoryRegistry] = WeakValueDictionary()


def open_memory(
    runtime: Runtime, *, url: str, nodes: Sequence[str], ttl_s: float
) -> MemoryRegistry:
    """The registry of that URL in this process while somebody holds it; without a URL a new one."""
    registry = _named.get(url) if url else None
    if registry is None:
        registry = MemoryRegistry(runtime, ttl_s=ttl_s)
        if url:
            _named[url] = registry
    return registry
