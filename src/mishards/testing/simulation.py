"""One run: a cluster, clients and faults under a seed, healed at the end, and checked.

Invariants: everything follows from the seed; the run ends with all nodes gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from mishards.core.errors import MishardsError, Unavailable
from mishards.core.ids import CollectionId, LogId, NodeId
from mishards.core.schema import Metric
from mishards.log.store import LogStore
from mishards.metadata.models import DEFAULT_DATABASE, ConsistencyLevel
from mishards.testing.client import Client, Clients
from mishards.testing.clock import run_virtual
from mishards.testing.cluster import ClusterLayout, SimulatedCluster
from mishards.testing.faults import Faults
from mishards.testing.history import Condition, History
from mishards.testing.invariants import Checker, Violation
from mishards.testing.shape import COLLECTION, Shape
from mishards.testing.stored import lacking, newest_metadata, orphans, unjournaled
from mishards.testing.workload import create, work

_CLIENTS = 3
_TIMEOUT_S = 2.0
_HEALED_WITHIN_S = 5.0
_COLLECTED_WITHIN_S = 10.0
"""Longer than a reader keeps segments that metadata no longer names, and two collections."""
_LOOK_S = 0.25

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
    )
    layout = ClusterLayout(
        hosts=LAYOUTS[name], routing=chance.choice(("consistent_hash", "rendezvous"))
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
        self._violations: list[Violation] = []

    async def run(self, duration_s: float) -> list[Violation]:
        operation = await create(self._last)
        operation.must_succeed = True
        await self._trouble(duration_s)
        await self._healed()
        await self._final_reads()
        collection = await self._check_metadata()
        checker = Checker(
            self.clients.history,
            self._cluster.store.log,
            collection,
            self.clients.shape.metric,
            self._layout.proxy.staleness_s,
        )
        return [*checker.check(), *self._violations, *await self._check_log()]

    async def _trouble(self, duration_s: float) -> None:
        until_s = asyncio.get_running_loop().time() + duration_s
        faults = Faults(self._seed, self._cluster, self.clients.history)
        clients = [self.clients.client(f"client_{n}", _TIMEOUT_S) for n in range(_CLIENTS)]
        await asyncio.gather(faults.run(until_s), *(work(client, until_s) for client in clients))

    async def _healed(self) -> None:
        """I10: when all is well again, nodes soon serve, and agree about metadata."""
        self._cluster.heal()
        self.clients.history.events.append((asyncio.get_running_loop().time(), "healed"))
        await self._within(self._unready)
        operation = await self._last.insert(must_succeed=True)
        if operation.outcome == "ok":
            await self._within(self._behind)

    async def _within(self, lacks: Callable[[], Awaitable[list[Violation]]]) -> None:
        """Wait until nothing lacks; what still does when the time is over is a violation."""
        until_s = asyncio.get_running_loop().time() + _HEALED_WITHIN_S
        while lacking := await lacks():
            if asyncio.get_running_loop().time() > until_s:
                self._violations += lacking
                return
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

    async def _final_reads(self) -> None:
        last, strong = self._last, ConsistencyLevel.STRONG
        everything = Condition()
        for _ in range(2):
            await last.query_for(everything, strong, must_succeed=True)
            await last.query_for(everything, strong, must_succeed=True, count=True)
            await last.search_for(everything, strong, 50, must_succeed=True)

    async def _check_metadata(self) -> CollectionId:
        """I6: metadata names only objects that exist, and storage soon holds nothing else. Gives
        the collection's id."""
        store = self._cluster.store
        until_s = asyncio.get_running_loop().time() + _COLLECTED_WITHIN_S
        snapshot = await newest_metadata(self._cluster.metadata)
        left = await orphans(store, snapshot)
        while left and asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(_LOOK_S)
            snapshot = await newest_metadata(self._cluster.metadata)
            left = await orphans(store, snapshot)
        self._violations += [Violation("I6", f"{key} is named by nothing") for key in left]
        self._violations += [Violation("I6", what) for what in await lacking(store, snapshot)]
        unlike = await unjournaled(store, self._cluster.metadata)
        self._violations += [Violation("the journal", what) for what in unlike]
        return snapshot.resolve(DEFAULT_DATABASE, COLLECTION).id

    async def _check_log(self) -> list[Violation]:
        """What became durable is still there, but for what was trimmed; fences always are."""
        store = self._cluster.store
        snapshot = await newest_metadata(self._cluster.metadata)
        meta = snapshot.logs[LogId(0)]
        try:
            entries = LogStore(store, LogId(0)).read_from(meta.trimmed)
            held = [entry.seq async for entry, _ in entries]
        except MishardsError as error:
            return [Violation("I1", f"the log cannot be read: {error.message}")]
        written = [durable.entry.seq for durable in store.log]
        kept = [seq for seq in written if seq >= meta.trimmed]
        wrong = [] if held == kept else [Violation("I1", "the log is not what was written")]
        there = set(await LogStore(store, LogId(0)).held_before(meta.trimmed))
        wrong += [
            Violation("I5", f"fence {seq} was trimmed")
            for seq in set(meta.fences).intersection(written) - there
            if seq < meta.trimmed
        ]
        return wrong + [Violation("I1", f"{key} was replaced") for key in store.replaced]
