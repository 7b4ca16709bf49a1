"""A look at the whole cluster, for whoever shows it: what this proxy knows, and what nodes say.

Invariants: nobody is asked where nobody looks; those who look at about the same time share one
look; a look ends within `_PATIENCE_S`, however many nodes do not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from mishards.cluster.membership import Membership
from mishards.core.errors import MishardsError
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.cluster_state import ClusterState
from mishards.proxy.reading import Reading
from mishards.proxy.state import ProxyState
from mishards.routing.protocol import Unit
from mishards.rpc.messages import NodeStatus, StatusReply
from mishards.rpc.protocol import Transport

_TIMEOUT_S = 1.0
_PATIENCE_S = 4.0
_AT_ONCE = 64
_KEPT_S = 1.0
_MOST_PLACES = 200_000
"""Units times readers up to which preference lists are worked out for a look."""


class ClusterLook:
    """Gathers `ClusterState`s. From the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        transport: Transport,
        membership: Membership,
        state: ProxyState,
        reading: Reading,
        node_id: NodeId,
    ) -> None:
        self._runtime = runtime
        self._transport = transport
        self._membership = membership
        self._state = state
        self._reading = reading
        self._node_id = node_id
        self._kept: tuple[float, ClusterState] | None = None
        self._looking: asyncio.Task[ClusterState] | None = None

    @property
    def node(self) -> NodeId:
        return self._node_id

    async def state(self) -> ClusterState:
        """The cluster as it is, or was up to a second ago."""
        if self._kept is not None and self._runtime.monotonic_s() - self._kept[0] < _KEPT_S:
            return self._kept[1]
        if self._looking is None or self._looking.done():
            self._looking = self._runtime.spawn(self._look(), "a look at the cluster")
        return await asyncio.shield(self._looking)

    def preferences(self, view: CollectionView) -> Mapping[Unit, tuple[NodeId, ...]]:
        """Which readers are to serve each unit of a collection, the first first; empty where the
        collection is too large to be planned for a mere look."""
        if len(view.segments) * len(self._membership.readers()) > _MOST_PLACES:
            return {}
        return self._reading.table(view).preferences

    async def _look(self) -> ClusterState:
        members = self._membership.view
        replies: dict[NodeId, StatusReply] = {}
        silent: set[NodeId] = set()
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(node: NodeInfo) -> None:
            async with gate:
                reply = await self._ask(node.address)
            if reply is None:
                silent.add(node.id)
            else:
                replies[node.id] = reply

        questions = [asyncio.ensure_future(ask(node)) for node in members.nodes]
        try:
            if questions:
                await asyncio.wait(questions, timeout=_PATIENCE_S)
        finally:
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)
        now_s = self._runtime.monotonic_s()
        state = ClusterState(
            node=self._node_id,
            now_ms=self._runtime.now_ms(),
            snapshot=self._state.snapshot,
            nodes=members.nodes,
            suspects=members.suspects,
            registry_answers=self._membership.reachable,
            replies=replies,
            silent=frozenset(silent),
            heard_ago_s={log: now_s - known.heard_s for log, known in self._state.logs().items()},
        )
        self._kept = (now_s, state)
        return state

    async def _ask(self, address: str) -> StatusReply | None:
        try:
            answer = await self._transport.channel(address).call(NodeStatus(), timeout_s=_TIMEOUT_S)
        except MishardsError:
            return None
        return answer if isinstance(answer, StatusReply) else None
