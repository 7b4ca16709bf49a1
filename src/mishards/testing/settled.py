"""What holds soon after all faults have ended: I6, I10, and that every node serves.

I6 metadata names only objects that exist, and orphans are gone after two collections · I10 every
node reaches the same metadata version within 5 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mishards.core.errors import Unavailable
from mishards.core.ids import NodeId
from mishards.testing.cluster import SimulatedCluster
from mishards.testing.stored import lacking, newest_metadata, orphans, unjournaled
from mishards.testing.violation import Violation

HEALED_WITHIN_S = 5.0
_COLLECTED_WITHIN_S = 20.0
"""Longer than a reader keeps segments that metadata no longer names, and two collections that
come after their longest pauses, as after storage was slow."""
_LOOK_S = 0.25

Lacks = Callable[[], Awaitable[list[Violation]]]


class Settled:
    """Checks a simulated cluster that was healed. Each check waits as long as it may take."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster

    async def serving(self) -> list[Violation]:
        """Every node serves."""
        return await self._within(HEALED_WITHIN_S, self._unready)

    async def agreed(self) -> list[Violation]:
        """I10: every node is at the newest metadata, and every proxy hears of it."""
        return await self._within(HEALED_WITHIN_S, self._behind)

    async def collected(self) -> list[Violation]:
        """I6."""
        store = self._cluster.store
        left = await self._within(_COLLECTED_WITHIN_S, self._orphans)
        snapshot = await newest_metadata(self._cluster.metadata)
        left += [Violation("I6", what) for what in await lacking(store, snapshot)]
        unlike = await unjournaled(store, self._cluster.metadata)
        return left + [Violation("the journal", what) for what in unlike]

    async def _within(self, seconds: float, lacks: Lacks) -> list[Violation]:
        """Wait until nothing lacks; what still does when the time is over."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + seconds
        while True:
            wrong = await lacks()
            if not wrong or loop.time() >= until_s:
                return wrong
            await asyncio.sleep(_LOOK_S)

    async def _unready(self) -> list[Violation]:
        hosts = self._cluster.hosts.values()
        return [Violation("healing", f"{h.name} does not serve") for h in hosts if not h.ready]

    async def _behind(self) -> list[Violation]:
        """Who has other metadata than is stored, as each proxy hears of it."""
        newest = await self._cluster.metadata.version()
        wrong = []
        for host in self._cluster.with_role("proxy"):
            if not host.ready:
                continue
            process, proxy = self._cluster.proxy(host.name)
            try:
                statuses = await process.run(proxy.cluster_status())
            except Unavailable as error:
                wrong.append(Violation("I10", error.message))
                continue
            lost = {h.running.node.id for h in self._cluster.hosts.values() if h.running}
            lost -= {NodeId(status.node) for status in statuses}
            wrong += [Violation("I10", f"{host.name} hears nothing of {node}") for node in lost]
            for status in statuses:
                if status.version != newest:
                    what = f"{status.node} is at version {status.version}, not {newest}"
                    wrong.append(Violation("I10", what))
        return wrong

    async def _orphans(self) -> list[Violation]:
        snapshot = await newest_metadata(self._cluster.metadata)
        found = await orphans(self._cluster.store, snapshot)
        return [Violation("I6", f"{key} is named by nothing") for key in found]
