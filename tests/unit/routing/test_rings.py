from mishards.core.ids import NodeId
from mishards.routing.consistent_hash import ConsistentHash
from mishards.routing.hashing import hash_text, hash_unit
from mishards.routing.rendezvous import Rendezvous

NODES = tuple(NodeId(name) for name in ("a", "b", "c"))


def test_hashes_never_change() -> None:
    """Nodes of different releases must agree on where a segment is."""
    assert hash_text("reader-1#0") == 0xBC0A7F2F79C9D072
    assert hash_unit(-1) == 0x2D0E9DDC2DFD74DD


def test_answers_never_change() -> None:
    assert ConsistentHash().preferences([1, -7], NODES, {}) == {
        1: ("c", "a", "b"),
        -7: ("a", "b", "c"),
    }
    assert Rendezvous().preferences([1, -7], NODES, {}) == {
        1: ("a", "b", "c"),
        -7: ("b", "a", "c"),
    }


def test_a_heavy_unit_does_not_share_its_node() -> None:
    weights = {0: 1000, **dict.fromkeys(range(1, 21), 10)}
    found = Rendezvous().preferences(list(weights), NODES, weights)
    heavy = found[0][0]
    others = [order[0] for unit, order in found.items() if unit]
    assert heavy not in others
    assert set(others) == set(NODES) - {heavy}
