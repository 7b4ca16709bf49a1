"""What a node that comes or goes moves, for any cluster."""

from collections.abc import Sequence
from math import sqrt
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.core.ids import NodeId
from mishards.routing.consistent_hash import POINTS_PER_NODE, ConsistentHash
from mishards.routing.protocol import RoutingPolicy
from mishards.routing.rendezvous import Rendezvous

UNITS = list(range(1000))
POLICIES = [ConsistentHash(), Rendezvous(bound=None)]
each_policy = pytest.mark.parametrize("policy", POLICIES, ids=["ring", "rendezvous"])
clusters = st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=8, unique=True)


def _route(policy: RoutingPolicy, nodes: Sequence[str]) -> dict[int, tuple[NodeId, ...]]:
    return policy.preferences(UNITS, [NodeId(node) for node in nodes], {})


@each_policy
@settings(max_examples=25)
@given(nodes=clusters)
def test_a_node_that_goes_leaves_the_order_of_the_others(
    policy: RoutingPolicy, nodes: list[str]
) -> None:
    """So exactly its own units move, each to its next preference, and back when it returns."""
    gone = nodes[0]
    before, after = _route(policy, nodes), _route(policy, nodes[1:])
    assert after == {
        unit: tuple(node for node in order if node != gone) for unit, order in before.items()
    }


@each_policy
@pytest.mark.parametrize("count", [3, 10, 50])
def test_a_new_node_takes_its_share_and_hardly_more(policy: RoutingPolicy, count: int) -> None:
    trials = 20
    moved = []
    for trial in range(trials):
        nodes = [f"t{trial}-reader-{number}" for number in range(count + 1)]
        before, after = _route(policy, nodes[:-1]), _route(policy, nodes)
        changed = [unit for unit in UNITS if before[unit][0] != after[unit][0]]
        assert all(after[unit][0] == nodes[-1] for unit in changed)
        moved.append(len(changed))
    ideal = len(UNITS) / (count + 1)
    # The share varies with the node's arcs and, as a sum of coin flips, with the units.
    spread = sqrt(1 / POINTS_PER_NODE + 1 / ideal) / sqrt(trials)
    assert abs(mean(moved) / ideal - 1) < min(0.2, 5 * spread)


@each_policy
@pytest.mark.parametrize("count", [2, 5, 20])
def test_loads_are_near_the_average(policy: RoutingPolicy, count: int) -> None:
    found = _route(policy, [f"reader-{number}" for number in range(count)])
    average = len(UNITS) / count
    loads = [0] * count
    for order in found.values():
        loads[int(order[0].removeprefix("reader-"))] += 1
    spread = sqrt(1 / POINTS_PER_NODE + 1 / average)
    assert max(loads) < average * (1 + 5 * spread)
    assert min(loads) > average * (1 - 5 * spread)
