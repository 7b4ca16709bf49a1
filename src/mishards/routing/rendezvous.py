"""Rendezvous hashing with bounded loads: every pair of unit and node has a score, the best leads.

Invariants: without a bound, a unit moves only when its first node goes or a new node beats all
others for it. With a bound, no node is first for more weight than the greater of `bound` times
the average and the average plus the heaviest unit; a unit that would break that goes to the next
node in its order that has room, or to the least loaded where none has. Units take their places
from the heaviest on, so the order of arguments does not matter.
Sources: Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996; Mirrokni,
Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mishards.core.ids import NodeId
from mishards.routing.hashing import hash_text
from mishards.routing.protocol import Unit

BOUND = 1.25


class Rendezvous:
    """A `RoutingPolicy` that balances weights."""

    def __init__(self, bound: float | None = BOUND) -> None:
        """`bound`: how far above the average load a node may be, at least 1; None for no bound."""
        self._bound = bound

    def preferences(
        self, units: Sequence[Unit], nodes: Sequence[NodeId], weights: Mapping[Unit, int]
    ) -> dict[Unit, tuple[NodeId, ...]]:
        if not nodes or not units:
            return dict.fromkeys(units, ())
        names = sorted(nodes)
        order = np.argsort(_scores(units, names), axis=1, kind="stable")
        lists = {
            unit: [names[at] for at in row] for unit, row in zip(units, order.tolist(), strict=True)
        }
        if self._bound is not None:
            _balance(lists, names, weights, self._bound)
        return {unit: tuple(order) for unit, order in lists.items()}


def _balance(
    lists: dict[Unit, list[NodeId]],
    nodes: list[NodeId],
    weights: Mapping[Unit, int],
    bound: float,
) -> None:
    """Move to the front of each list the node that has room for the unit."""
    loads = dict.fromkeys(nodes, 0)
    room = bound * sum(weights.get(unit, 1) for unit in lists) / len(nodes)
    for unit in sorted(lists, key=lambda unit: (-weights.get(unit, 1), unit)):
        order = lists[unit]
        weight = weights.get(unit, 1)
        chosen = next((node for node in order if loads[node] + weight <= room), None)
        if chosen is None:
            chosen = min(order, key=loads.__getitem__)
        loads[chosen] += weight
        order.remove(chosen)
        order.insert(0, chosen)


def _scores(units: Sequence[Unit], nodes: list[NodeId]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The less the better, shape (units, nodes)."""
    of_units = _mix(np.array(units, np.int64).view(np.uint64))
    of_nodes = np.array([hash_text(node) for node in nodes], np.uint64)
    return _mix(of_units[:, None] ^ of_nodes[None, :])


def _mix(x: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A bijection of 64 bits in which every bit depends on every other (SplitMix64's finish)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
