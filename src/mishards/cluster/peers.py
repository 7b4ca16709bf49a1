"""Asking every node of the cluster how it is, for decisions that all of them have a say in."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from mishards.cluster.membership import Membership
from mishards.core.errors import MishardsError, Unavailable
from mishards.discovery.protocol import NodeInfo
from mishards.rpc.messages import NodeStatus, StatusReply
from mishards.rpc.protocol import Transport

_TIMEOUT_S = 2.0


class PeerStatus(NamedTuple):
    """A node of the registry, and what it says of itself; None where it does not answer."""

    node: NodeInfo
    status: StatusReply | None


class Peers:
    """All nodes, the asking one among them. From the loop's thread."""

    def __init__(self, transport: Transport, membership: Membership) -> None:
        self._transport = transport
        self._membership = membership

    async def statuses(self) -> tuple[PeerStatus, ...]:
        """Every node that the registry holds for live at this moment.

        Raises:
            Unavailable: the registry does not answer, so nobody knows who is there.
        """
        await self._membership.refresh()
        if not self._membership.reachable:
            raise Unavailable("the registry does not answer, so it is unknown which nodes live")
        nodes = self._membership.view.nodes
        answers = await asyncio.gather(*(self._ask(node) for node in nodes))
        return tuple(map(PeerStatus, nodes, answers))

    async def _ask(self, node: NodeInfo) -> StatusReply | None:
        try:
            channel = self._transport.channel(node.address)
            answer = await channel.call(NodeStatus(), timeout_s=_TIMEOUT_S)
        except MishardsError:
            return None
        return answer if isinstance(answer, StatusReply) else None
