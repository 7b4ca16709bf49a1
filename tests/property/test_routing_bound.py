"""Rendezvous with a bound: no node is first for much more than its share, whatever the weights."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.core.ids import NodeId
from mishards.routing.rendezvous import Rendezvous

weights_of_units = st.dictionaries(
    st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 10**9), min_size=1, max_size=60
)
node_counts = st.integers(1, 12)
bounds = st.floats(1.0, 3.0)


def _nodes(count: int) -> list[NodeId]:
    return [NodeId(f"reader-{number}") for number in range(count)]


@settings(max_examples=200)
@given(weights=weights_of_units, count=node_counts, bound=bounds)
def test_no_node_is_over_the_bound(weights: dict[int, int], count: int, bound: float) -> None:
    found = Rendezvous(bound).preferences(list(weights), _nodes(count), weights)
    loads = dict.fromkeys(_nodes(count), 0)
    for unit, order in found.items():
        loads[order[0]] += weights[unit]
    average = sum(weights.values()) / count
    allowed = max(bound * average, average + max(weights.values()))
    assert max(loads.values()) <= allowed * (1 + 1e-9)


@settings(max_examples=100)
@given(weights=weights_of_units, count=node_counts, seed=st.integers())
def test_the_order_of_arguments_does_not_matter(
    weights: dict[int, int], count: int, seed: int
) -> None:
    units, nodes = list(weights), _nodes(count)
    expected = Rendezvous().preferences(units, nodes, weights)
    Random(seed).shuffle(units)
    Random(seed).shuffle(nodes)
    assert Rendezvous().preferences(units, nodes, weights) == expected
    for order in expected.values():
        assert sorted(order) == sorted(nodes)


@settings(max_examples=100)
@given(units=st.integers(1, 200), count=st.integers(1, 12))
def test_equal_units_are_spread_within_a_quarter(units: int, count: int) -> None:
    found = Rendezvous().preferences(range(units), _nodes(count), {})
    loads = dict.fromkeys(_nodes(count), 0)
    for order in found.values():
        loads[order[0]] += 1
    assert max(loads.values()) <= max(1.25 * units / count, units / count + 1)
