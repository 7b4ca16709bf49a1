"""What a routing policy is: a pure function of units and nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from mishards.core.ids import NodeId

Unit = int
"""What is routed: a segment id, or minus a collection id for that collection's growing rows."""


class RoutingPolicy(Protocol):
    """Orders nodes per unit. Pure: equal arguments give equal answers in every process."""

    def preferences(
        self, units: Sequence[Unit], nodes: Sequence[NodeId], weights: Mapping[Unit, int]
    ) -> dict[Unit, tuple[NodeId, ...]]:
        """Per unit all nodes, the most preferred first.

        Args:
            units: distinct, in any order.
            nodes: distinct, in any order; when empty every unit gets `()`.
            weights: rows (or bytes) per unit, for policies that balance load; missing means 1.
        """
