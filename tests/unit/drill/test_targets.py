"""Whom a drill may harm, and what would be an outage whatever the cluster did."""

from __future__ import annotations

import pytest

from mishards.core.errors import InvalidParameter, NotReady
from mishards.core.ids import LogId, NodeId
from mishards.discovery.protocol import NodeInfo
from mishards.drill.kinds import KINDS, Order
from mishards.drill.targets import candidates, leader, outage

READER, WRITER = Order(KINDS["kill-reader"]), Order(KINDS["kill-writer"])
CUT = Order(KINDS["cut-storage"])


def node(name: str, *leads: int, ready: bool = True, roles: tuple[str, ...] = ()) -> NodeInfo:
    return NodeInfo(
        id=NodeId(name),
        roles=roles or (name.partition("-")[0],),
        address=f"mem://{name}",
        leads=leads,
        ready=ready,
    )


NODES = [node("reader-1"), node("reader-2"), node("writer-1", 0), node("writer-2"), node("proxy-1")]
WHOLE = node("all", 0, roles=("writer", "reader", "proxy"))


def names(found: list[NodeInfo]) -> list[str]:
    return [one.id for one in found]


def test_readers_and_the_writer_that_leads_are_candidates() -> None:
    assert names(candidates(READER, NODES)) == ["reader-1", "reader-2"]
    assert names(candidates(WRITER, NODES)) == ["writer-1"]
    assert names(candidates(CUT, NODES)) == ["writer-1"]


def test_where_others_go_on_it_is_no_outage() -> None:
    for order in (READER, WRITER, CUT):
        assert not any(outage(order, one, NODES) for one in candidates(order, NODES))


def test_the_only_one_of_a_role_is_an_outage() -> None:
    alone = [node("reader-1"), node("writer-1", 0), node("writer-2", ready=False)]
    assert outage(READER, alone[0], alone) == "reader-1 is the only reader"
    assert outage(WRITER, alone[1], alone) == "writer-1 is the only writer"
    assert outage(CUT, alone[1], alone) == "writer-1 is the only writer"
    assert (
        outage(READER, WHOLE, [WHOLE])
        == "all is the only writer and the only reader and the only proxy"
    )


def test_nodes_whose_end_is_no_outage_come_first() -> None:
    nodes = [node("both-1", roles=("reader", "proxy")), node("reader-1")]
    assert names(candidates(READER, nodes)) == ["reader-1"]


def test_no_storage_anywhere_is_an_outage() -> None:
    assert outage(CUT._replace(everywhere=True), NODES[2], NODES)


def test_a_named_reader_is_the_only_candidate() -> None:
    assert names(candidates(READER._replace(node="reader-2"), NODES)) == ["reader-2"]
    with pytest.raises(InvalidParameter, match="reader-1, reader-2"):
        candidates(READER._replace(node="reader-3"), NODES)


def test_nobody_to_harm_is_said() -> None:
    with pytest.raises(NotReady):
        candidates(READER, [node("reader-1", ready=False)])
    with pytest.raises(NotReady, match="leads"):
        candidates(WRITER, [node("writer-1")])
    with pytest.raises(NotReady):
        leader(NODES, LogId(1))


def test_options_of_other_drills_are_refused() -> None:
    too_long = CUT._replace(seconds=61.0)
    for order in (READER._replace(stall=True), WRITER._replace(node="x"), too_long):
        with pytest.raises(InvalidParameter):
            order.check()
    CUT._replace(stall=True, everywhere=True).check()
