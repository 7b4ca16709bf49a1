"""Which log a writer that leads more than its share hands to whom."""

from __future__ import annotations

import pytest

from mishards.cluster.balance import Move, surplus
from mishards.core.ids import LogId, NodeId
from mishards.discovery.protocol import NodeInfo


def writer(name: str, *leads: int) -> NodeInfo:
    return NodeInfo(
        id=NodeId(name), roles=("writer",), address=f"mem://{name}", leads=tuple(map(LogId, leads))
    )


@pytest.mark.parametrize(
    ("led", "others", "move"),
    [
        ((), [writer("b", 0, 1)], None),
        ((0, 1), [], None),
        ((0, 1), [writer("b")], Move(LogId(1), NodeId("b"))),
        ((0,), [writer("b")], None),
        ((0, 1), [writer("b", 2)], None),
        ((0, 1, 3), [writer("b", 2)], Move(LogId(3), NodeId("b"))),
        ((0, 1, 2), [writer("c"), writer("b")], Move(LogId(2), NodeId("b"))),
        ((0, 1, 2), [writer("b", 3), writer("c")], Move(LogId(2), NodeId("c"))),
    ],
)
def test_surplus(led: tuple[int, ...], others: list[NodeInfo], move: Move | None) -> None:
    assert surplus([LogId(log) for log in led], others) == move


@pytest.mark.parametrize("logs", [1, 2, 5, 8])
@pytest.mark.parametrize("writers", [1, 2, 3, 4])
def test_moving_ends_with_a_fair_share_for_all(logs: int, writers: int) -> None:
    leads: dict[str, set[int]] = {f"w{i}": set() for i in range(writers)}
    leads["w0"] = set(range(logs))
    for _ in range(logs * writers):
        moves = []
        for name, led in leads.items():
            others = [writer(other, *logs_of) for other, logs_of in leads.items() if other != name]
            if (move := surplus([LogId(log) for log in led], others)) is not None:
                moves.append((name, move))
        if not moves:
            break
        name, move = moves[0]
        leads[name].remove(move.log)
        leads[move.to].add(move.log)
    counts = [len(led) for led in leads.values()]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == logs
