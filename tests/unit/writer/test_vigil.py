"""A leader's end is noticed; its slowness, its steps and its silence are left to the lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from mishards.core.errors import MishardsError, NobodyListens, NotLeader, Unavailable, Unreachable
from mishards.core.ids import LogId, MetadataVersion, NodeId
from mishards.discovery.protocol import NodeInfo
from mishards.rpc import messages as m
from mishards.testing.clock import VirtualRuntime
from mishards.writer.vigil import Vigil

LEADER = NodeInfo(id=NodeId("leader"), roles=("writer",), address="there")
MET = m.StatusReply(node="leader", roles=("writer",), version=MetadataVersion(1))
End = MishardsError | None


class Peer:
    """A transport to one address whose connections go one after another as scripted."""

    def __init__(self, *connections: tuple[bool, End]) -> None:
        """Per connection whether the leader is met, and how it ends; the last goes on."""
        self._connections = list(connections)
        self.done = asyncio.Event()

    def channel(self, address: str) -> Any:
        assert address == LEADER.address
        return self

    async def stream(self, message: m.Message) -> AsyncIterator[m.Reply]:
        assert message == m.Attend(log=LogId(0))
        if not self._connections:
            self.done.set()
            await asyncio.get_running_loop().create_future()
        met, end = self._connections.pop(0)
        if met:
            yield MET
        if end is not None:
            raise end


def ends_told(*connections: tuple[bool, End]) -> list[str]:
    """Who was said to have ended while all connections went as they do."""
    told: list[str] = []
    peer = Peer(*connections)

    async def scene() -> None:
        runtime = VirtualRuntime("vigil")
        leader: Callable[[], NodeInfo] = lambda: LEADER  # noqa: E731
        vigil = Vigil(runtime, cast(Any, peer), LogId(0), leader, told.append, 0.001)
        watching = asyncio.ensure_future(vigil.run())
        await peer.done.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(scene())
    return told


BROKE, REFUSED, SILENT = Unavailable("broke"), NobodyListens("refused"), Unreachable("no answer")
AGAIN = (False, NotLeader("stands by"))


def test_a_leader_whose_address_refuses_after_its_connection_broke_has_ended() -> None:
    assert ends_told((True, BROKE), (False, REFUSED), AGAIN) == ["leader"]


def test_a_dying_process_may_take_connections_for_a_moment() -> None:
    broke = (False, BROKE)
    assert ends_told((True, BROKE), broke, broke, (False, REFUSED), AGAIN) == ["leader"]


def test_an_end_is_told_once() -> None:
    assert ends_told((True, BROKE), (False, REFUSED), (False, REFUSED), AGAIN) == ["leader"]


@pytest.mark.parametrize(
    "connections",
    [
        [(False, REFUSED)],
        [(True, BROKE), (False, SILENT)],
        [(True, BROKE), *[(False, BROKE)] * 8],
        [(True, BROKE), (False, NotLeader("stands by"))],
        [(True, None), (False, REFUSED)],
        [(False, BROKE), (False, BROKE), (False, REFUSED)],
    ],
    ids=["never met", "unreachable", "broke often", "started anew", "reign over", "never said"],
)
def test_anything_else_is_no_end(connections: list[tuple[bool, End]]) -> None:
    assert ends_told(*connections, AGAIN) == []


def test_a_leader_that_is_met_again_is_watched_on() -> None:
    broke = (True, BROKE)
    assert ends_told(broke, broke, broke, (False, REFUSED), AGAIN) == ["leader"]
