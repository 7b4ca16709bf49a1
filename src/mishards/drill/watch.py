"""What becomes of the nodes, and of the traffic, while a drill goes on.

Invariant: every wait ends within the order's patience; what has not come about by then is told by
the figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mishards.core.errors import MishardsError, NotReady
from mishards.discovery.protocol import NodeInfo
from mishards.drill.kinds import Order
from mishards.drill.targets import candidates, leader, outage
from mishards.metadata.snapshot import CollectionView
from mishards.rpc.messages import NodeStatus, StatusReply
from mishards.server.seams import Seams
from mishards.testing.recorded import Workload

_LOOK_S = 0.1
_STATUS_S = 1.0
_MORE = 10


class Watch:
    """From the loop's thread."""

    def __init__(self, seams: Seams, order: Order, work: Workload) -> None:
        self._seams = seams
        self._order = order
        self._work = work

    async def targets(self, view: CollectionView) -> list[NodeInfo]:
        """The nodes to harm at this moment: of readers the one that has most of the drill's
        segments, of writers the one that leads its log.

        Raises:
            NotReady: there is none, or it has become an outage by design.
        """
        order, nodes = self._order, await self._seams.registry.nodes()
        if order.everywhere:
            return list(nodes)
        if order.kind.role == "writer":
            chosen = leader(nodes, view.meta.log_id)
        else:
            found = candidates(order, nodes)
            statuses = await asyncio.gather(*map(self._status, found))
            held = [
                -1 if status is None else len(view.segments.keys() & status.segments.keys())
                for status in statuses
            ]
            chosen = found[held.index(max(held))]
        if (why := outage(order, chosen, nodes)) and not order.even_so:
            raise NotReady(f"the cluster has changed meanwhile, and nothing was done: {why}")
        return [chosen]

    async def serving(self) -> int:
        """How many nodes of the order's role are ready and answer."""
        try:
            nodes = await self._seams.registry.nodes()
        except MishardsError:
            return 0
        role = self._order.kind.role
        ready = [node for node in nodes if node.ready and role in node.roles]
        return sum(one is not None for one in await asyncio.gather(*map(self._status, ready)))

    async def back(self, targets: Sequence[NodeInfo], before: int) -> float | None:
        """From now until as many nodes as before serve; None where that takes too long.

        A node that is to be killed is waited for to be gone first, one that is to stand still until
        its time is over.
        """
        clock, order = self._seams.runtime.monotonic_s, self._order
        began_s = clock()

        async def gone() -> bool:
            return await self._status(targets[0]) is None

        async def there() -> bool:
            return await self.serving() >= before

        if order.kind.ends:
            if not await self._until(gone):
                return None
        else:
            await self._seams.runtime.sleep(order.seconds)
        return clock() - began_s if await self._until(there) else None

    async def successes(self, since_s: float) -> None:
        """Wait until some reads and some writes that began after a moment have succeeded."""

        async def enough() -> bool:
            late = [
                one
                for one in reversed(self._work.history.operations[-1000:])
                if one.start_s >= since_s and one.outcome == "ok"
            ]
            writes = sum(one.is_write for one in late)
            return writes >= _MORE and len(late) - writes >= _MORE

        await self._until(enough)

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> bool:
        runtime = self._seams.runtime
        end_s = runtime.monotonic_s() + self._order.patience_s
        while not await condition():
            if runtime.monotonic_s() > end_s:
                return False
            await runtime.sleep(_LOOK_S)
        return True

    async def _status(self, node: NodeInfo) -> StatusReply | None:
        try:
            channel = self._seams.transport.channel(node.address)
            answer = await channel.call(NodeStatus(), timeout_s=_STATUS_S)
        except MishardsError:
            return None
        return answer if isinstance(answer, StatusReply) else None
