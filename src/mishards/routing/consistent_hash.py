"""Consistent hashing: nodes and units on a ring, every node at many points of it.

Invariants: a unit's preferences are the nodes in the order of the ring from the unit's place on;
so a node that comes or goes changes no order among the others, and moves only the units next to
its own points. Pure: the ring of a set of nodes is kept, which shows in nothing but speed.
Source: Karger et al., "Consistent Hashing and Random Trees", 1997.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache

from mishards.core.ids import NodeId
from mishards.routing.hashing import hash_text, hash_unit
from mishards.routing.protocol import Unit

POINTS_PER_NODE = 128
_KEPT_RINGS = 8
_KEPT_ORDERS_NODES = 64
"""Up to so many nodes the order of each place on the ring is kept: at most 8,192 tuples."""


class ConsistentHash:
    """A `RoutingPolicy` that ignores weights."""

    def __init__(self, points_per_node: int = POINTS_PER_NODE) -> None:
        self._points_per_node = points_per_node

    def preferences(
        self, units: Sequence[Unit], nodes: Sequence[NodeId], weights: Mapping[Unit, int]
    ) -> dict[Unit, tuple[NodeId, ...]]:
        if not nodes:
            return dict.fromkeys(units, ())
        ring = _ring(tuple(sorted(nodes)), self._points_per_node)
        return {unit: ring.order_from(hash_unit(unit)) for unit in units}


class _Ring:
    def __init__(self, nodes: tuple[NodeId, ...], points_per_node: int) -> None:
        points = sorted(
            (hash_text(f"{node}#{number}"), node)
            for node in nodes
            for number in range(points_per_node)
        )
        self._places = [place for place, _ in points]
        self._owners = [owner for _, owner in points]
        self._count = len(nodes)
        self._kept: dict[int, tuple[NodeId, ...]] = {}

    def order_from(self, place: int) -> tuple[NodeId, ...]:
        """All nodes in the order in which the ring meets them after `place`."""
        start = bisect_right(self._places, place) % len(self._places)
        order = self._kept.get(start)
        if order is None:
            order = self._walk(start)
            if self._count <= _KEPT_ORDERS_NODES:
                self._kept[start] = order
        return order

    def _walk(self, start: int) -> tuple[NodeId, ...]:
        met: dict[NodeId, None] = {}
        owners = self._owners
        at = start
        while len(met) < self._count:
            met.setdefault(owners[at])
            at += 1
            if at == len(owners):
                at = 0
        return tuple(met)


@lru_cache(maxsize=_KEPT_RINGS)
def _ring(nodes: tuple[NodeId, ...], points_per_node: int) -> _Ring:
    return _Ring(nodes, points_per_node)
