"""What every `RoutingPolicy` has to do, as a suite for pytest.

Subclass `RoutingContract` under a name that starts with `Test` and give `policy`. Balance and
movement are a policy's own and tested beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mishards.core.ids import NodeId
from mishards.routing.protocol import RoutingPolicy, Unit

_EDGES = (0, 1, -1, 449_000_000_000_000_000, (1 << 63) - 1, -(1 << 63))
UNITS: tuple[Unit, ...] = (*_EDGES, *range(7, 60))
NODES = tuple(NodeId(f"reader-{number}") for number in range(7))
WEIGHTS: Mapping[Unit, int] = {unit: 1 + abs(unit) % 1000 for unit in UNITS[::2]}


class RoutingContract:
    """Inherit, and override `policy`."""

    def policy(self) -> RoutingPolicy:
        raise NotImplementedError

    def route(
        self, units: Sequence[Unit] = UNITS, nodes: Sequence[NodeId] = NODES
    ) -> dict[Unit, tuple[NodeId, ...]]:
        return self.policy().preferences(units, nodes, WEIGHTS)

    def test_every_unit_lists_every_node_once(self) -> None:
        for count in (1, 2, 7):
            found = self.route(nodes=NODES[:count])
            assert set(found) == set(UNITS)
            for order in found.values():
                assert isinstance(order, tuple)
                assert sorted(order) == sorted(NODES[:count])

    def test_without_nodes_every_list_is_empty(self) -> None:
        assert self.route(nodes=()) == dict.fromkeys(UNITS, ())

    def test_without_units_there_is_nothing(self) -> None:
        assert self.route(units=()) == {}

    def test_the_order_of_arguments_does_not_matter(self) -> None:
        expected = self.route()
        assert self.route(units=UNITS[::-1], nodes=NODES[::-1]) == expected
        assert self.route(units=UNITS[20:] + UNITS[:20], nodes=NODES[3:] + NODES[:3]) == expected

    def test_answers_are_those_of_another_instance(self) -> None:
        first = self.policy()
        first.preferences(UNITS[:3], NODES[:2], {})
        assert first.preferences(UNITS, NODES, WEIGHTS) == self.route()

    def test_all_nodes_get_work(self) -> None:
        units = range(1000)
        found = self.policy().preferences(units, NODES, {})
        assert {order[0] for order in found.values()} == set(NODES)
