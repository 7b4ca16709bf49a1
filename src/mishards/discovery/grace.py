"""Keeps nodes for a while whose entries vanished without a word from a registry with sessions.

A session ends with its process, and also when the servers were away, or when a link was cut, while
the node was well all the time. Invariants: who has left by itself is gone at once; who vanished is
gone when its absence lasted `ttl_s` of this observer's monotonic clock; the gap between two looks
counts for at most a third of it, so an observer's own pause buries nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Generic, TypeVar

import msgspec

from mishards.core.ids import NodeId

E = TypeVar("E")


class _Seen(msgspec.Struct, Generic[E]):
    entry: E
    absent_s: float = 0.0


class Grace(Generic[E]):
    """What one observer remembers of the entries. Not thread-safe."""

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._looked_s: float | None = None
        self._seen: dict[NodeId, _Seen[E]] = {}

    def look(
        self, present: Mapping[NodeId, E], left: Collection[NodeId], monotonic_s: float
    ) -> dict[NodeId, E]:
        """The entries to go by.

        Args:
            present: those that the registry has.
            left: nodes that are absent because they have left.
        """
        passed_s = 0.0
        if self._looked_s is not None:
            passed_s = min(monotonic_s - self._looked_s, self._ttl_s / 3)
        self._looked_s = monotonic_s
        for node_id in self._seen.keys() - present.keys():
            seen = self._seen[node_id]
            seen.absent_s += passed_s
            if node_id in left or seen.absent_s >= self._ttl_s:
                del self._seen[node_id]
        self._seen |= {node_id: _Seen(entry) for node_id, entry in present.items()}
        return {node_id: seen.entry for node_id, seen in self._seen.items()}

    def entries(self) -> dict[NodeId, E]:
        """As of the last look."""
        return {node_id: seen.entry for node_id, seen in self._seen.items()}
