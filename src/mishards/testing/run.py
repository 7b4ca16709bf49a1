"""One run of a simulated cluster: clients, whatever trouble there is, healing, and all the checks.

Invariants: everything follows from the seed; the run ends with all nodes gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mishards.metadata.models import DEFAULT_DATABASE, ConsistencyLevel
from mishards.testing.client import Client, Clients
from mishards.testing.cluster import LEASE_S, SimulatedCluster
from mishards.testing.history import Condition
from mishards.testing.invariants import Checker
from mishards.testing.invariants_log import stored_logs
from mishards.testing.settled import Settled
from mishards.testing.shape import COLLECTION, Shape
from mishards.testing.stored import newest_metadata
from mishards.testing.violation import Violation
from mishards.testing.workload import create

_NEWS_TAKES_S = LEASE_S + 0.5
"""How old a leader's word of the time may be when a proxy hears it: since it last knew that it
leads, and on slow links."""


class Run:
    """A cluster with clients.

    Attributes:
        clients: what they asked for and got is in their `history`.
    """

    def __init__(self, cluster: SimulatedCluster, shape: Shape) -> None:
        """`cluster` has not started."""
        self.cluster = cluster
        self.clients = Clients(cluster.seed, cluster, shape)
        self._last: Client = self.clients.client("last", 10.0)
        self._settled = Settled(cluster)

    async def run(self, trouble: Callable[[], Awaitable[None]]) -> list[Violation]:
        """Start all, let there be trouble, heal, check, end; what is broken."""
        try:
            await self.cluster.start()
            await create(self._last)
            await trouble()
            wrong = [*await self._healed(), *await self._checked()]
        finally:
            await self.cluster.close()
        unsound = self.cluster.failures
        return wrong + [
            Violation("sound nodes", f"task {task!r} ended with {error!r}")
            for task, error in unsound
        ]

    def note(self, what: str) -> None:
        """Remember that something was done to the cluster."""
        self.clients.history.events.append((asyncio.get_running_loop().time(), what))

    async def _checked(self) -> list[Violation]:
        await self._final_reads()
        wrong = await self._settled.collected()
        store = self.cluster.store
        snapshot = await newest_metadata(self.cluster.metadata)
        checker = Checker(
            self.clients.history,
            store.log,
            snapshot.resolve(DEFAULT_DATABASE, COLLECTION).id,
            self.clients.shape.metric,
            self.cluster.layout.proxy.staleness_s + _NEWS_TAKES_S,
        )
        wrong = [*checker.check(), *self.cluster.network.asked.check(), *wrong]
        wrong += await stored_logs(store, store.log, snapshot)
        wrong += [Violation("I1", f"{key} was replaced") for key in store.replaced]
        for log_id, epoch, reigning in self.cluster.metadata.usurped:
            what = f"epoch {epoch} of log {log_id} committed metadata while {reigning} reigned"
            wrong.append(Violation("I5", what))
        return wrong

    async def _healed(self) -> list[Violation]:
        """When all is well again, nodes soon serve, and agree about metadata."""
        self.cluster.heal()
        self.note("healed")
        wrong = await self._settled.serving()
        operation = await self._last.insert(must_succeed=True)
        return wrong + (await self._settled.agreed() if operation.outcome == "ok" else [])

    async def _final_reads(self) -> None:
        last, strong = self._last, ConsistencyLevel.STRONG
        everything = Condition()
        for _ in range(2):
            await last.query_for(everything, strong, must_succeed=True)
            await last.query_for(everything, strong, must_succeed=True, count=True)
            await last.search_for(everything, strong, 50, must_succeed=True)
