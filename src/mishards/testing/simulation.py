"""One run: a cluster, clients and faults under a seed, healed at the end, and checked.

Invariants: everything follows from the seed; the run ends with all nodes gone.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec

from mishards.core.schema import Metric
from mishards.metadata.models import DEFAULT_DATABASE, ConsistencyLevel
from mishards.testing.client import Client, Clients
from mishards.testing.clock import run_virtual
from mishards.testing.cluster import LEASE_S, ClusterLayout, SimulatedCluster
from mishards.testing.faults import Faults
from mishards.testing.history import Condition, History
from mishards.testing.invariants import Checker
from mishards.testing.invariants_log import stored_logs
from mishards.testing.settled import Settled
from mishards.testing.shape import COLLECTION, Shape
from mishards.testing.stored import newest_metadata
from mishards.testing.violation import Violation
from mishards.testing.workload import create, work

_CLIENTS = 3
_TIMEOUT_S = 2.0
_NEWS_TAKES_S = LEASE_S + 0.5
"""How old a leader's word of the time may be when a proxy hears it: since it last knew that it
leads, and on slow links."""

WHOLE: dict[str, tuple[str, ...]] = {
    **{f"writer-{n}": ("writer",) for n in (1, 2, 3)},
    **{f"reader-{n}": ("reader",) for n in (1, 2, 3, 4, 5)},
    **{f"proxy-{n}": ("proxy",) for n in (1, 2)},
}
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "whole": WHOLE,
    "few": {
        "writer-1": ("writer",),
        "writer-2": ("writer",),
        "reader-1": ("reader",),
        "reader-2": ("reader",),
        "proxy-1": ("proxy",),
    },
    "each is all": {
        "one": ("writer", "reader", "proxy"),
        "two": ("writer", "reader", "proxy"),
        "three": ("writer", "reader", "proxy"),
    },
    "readers that are proxies": {
        "writer-1": ("writer",),
        "writer-2": ("writer",),
        "both-1": ("reader", "proxy"),
        "both-2": ("reader", "proxy"),
    },
}
_SHARE_OF_WHOLE = 0.6


class Outcome(msgspec.Struct, frozen=True):
    """How a run went."""

    seed: int
    layout: str
    shape: Shape
    history: History
    violations: list[Violation]

    def described(self) -> str:
        """The violations and the history, for people."""
        head = f"seed {self.seed}: {self.layout}, {self.shape}"
        broken = [str(violation) for violation in self.violations]
        return "\n".join([head, *self.history.lines(), "", head, *broken])


def simulate(seed: int, folder: Path, *, duration_s: float = 6.0) -> Outcome:
    """Run a whole cluster for `duration_s` of virtual time with faults, heal it, and check it.

    Args:
        folder: for files while it runs.
    """
    return run_virtual(_simulate(seed, folder, duration_s))


async def _simulate(seed: int, folder: Path, duration_s: float) -> Outcome:
    chance = random.Random(f"{seed}/layout")
    name = "whole" if chance.random() < _SHARE_OF_WHOLE else chance.choice(sorted(LAYOUTS))
    shape = Shape(
        text_keys=chance.random() < 0.3,
        metric=chance.choice(list(Metric)),
        index=chance.choice(("FLAT", "IVF_FLAT")),
        replicas=chance.choice((1, 1, 2)),
        log=chance.choice((0, 0, 0, 1, 2)),
    )
    layout = ClusterLayout(
        hosts=LAYOUTS[name],
        routing=chance.choice(("consistent_hash", "rendezvous")),
        logs=shape.log + 1,
    )
    cluster = SimulatedCluster(str(seed), folder, layout)
    run = _Run(str(seed), cluster, shape, layout)
    try:
        await cluster.start()
        violations = await run.run(duration_s)
    finally:
        await cluster.close()
    violations += [
        Violation("sound nodes", f"task {task!r} ended with {error!r}")
        for task, error in cluster.failures
    ]
    return Outcome(seed, name, shape, run.clients.history, violations)


class _Run:
    """The phases of a run."""

    def __init__(
        self, seed: str, cluster: SimulatedCluster, shape: Shape, layout: ClusterLayout
    ) -> None:
        self._seed = seed
        self._cluster = cluster
        self._layout = layout
        self.clients = Clients(seed, cluster, shape)
        self._last: Client = self.clients.client("last", 10.0)
        self._settled = Settled(cluster)

    async def run(self, duration_s: float) -> list[Violation]:
        await create(self._last)
        await self._trouble(duration_s)
        wrong = await self._healed()
        await self._final_reads()
        wrong += await self._settled.collected()
        store = self._cluster.store
        snapshot = await newest_metadata(self._cluster.metadata)
        checker = Checker(
            self.clients.history,
            store.log,
            snapshot.resolve(DEFAULT_DATABASE, COLLECTION).id,
            self.clients.shape.metric,
            self._layout.proxy.staleness_s + _NEWS_TAKES_S,
        )
        wrong = [*checker.check(), *self._cluster.network.asked.check(), *wrong]
        wrong += await stored_logs(store, store.log, snapshot)
        wrong += [Violation("I1", f"{key} was replaced") for key in store.replaced]
        for log_id, epoch, reigning in self._cluster.metadata.usurped:
            what = f"epoch {epoch} of log {log_id} committed metadata while {reigning} reigned"
            wrong.append(Violation("I5", what))
        return wrong

    async def _trouble(self, duration_s: float) -> None:
        until_s = asyncio.get_running_loop().time() + duration_s
        faults = Faults(self._seed, self._cluster, self.clients.history)
        clients = [self.clients.client(f"client_{n}", _TIMEOUT_S) for n in range(_CLIENTS)]
        await asyncio.gather(faults.run(until_s), *(work(client, until_s) for client in clients))

    async def _healed(self) -> list[Violation]:
        """When all is well again, nodes soon serve, and agree about metadata."""
        self._cluster.heal()
        self.clients.history.events.append((asyncio.get_running_loop().time(), "healed"))
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
