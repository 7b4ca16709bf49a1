"""Scenes that chance plays too seldom: everybody elected, clocks an hour off, flapping views."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from mishards.core.ids import LogId, NodeId
from mishards.discovery.election import NOBODY, Lease, next_lease
from mishards.discovery.election_memory import MemoryElection
from mishards.discovery.memory import MemoryRegistry
from mishards.discovery.protocol import NodeInfo
from mishards.metadata.models import ConsistencyLevel
from mishards.testing.client import Client
from mishards.testing.clock import run_virtual
from mishards.testing.cluster import LEASE_S, ClusterLayout, SimulatedCluster
from mishards.testing.history import Condition
from mishards.testing.processes import current_process
from mishards.testing.run import Run
from mishards.testing.shape import Shape
from mishards.testing.workload import work

pytestmark = pytest.mark.timeout(600)  # while others use the processors

TEN_MINUTES_MS = 600_000
HOUR_MS = 3_600_000
HOSTS: dict[str, tuple[str, ...]] = {
    "writer-1": ("writer",),
    "writer-2": ("writer",),
    "reader-1": ("reader",),
    "reader-2": ("reader",),
    "proxy-1": ("proxy",),
}

Scene = Callable[[Run], Awaitable[None]]


def play(
    folder: Path, scene: Scene, prepare: Callable[[SimulatedCluster], None] = lambda _: None
) -> Run:
    """Let a scene happen to a cluster at work; all invariants hold at its end."""

    async def all_of_it() -> Run:
        cluster = SimulatedCluster("directed", folder, ClusterLayout(hosts=HOSTS))
        prepare(cluster)
        run = Run(cluster, Shape(index="IVF_FLAT"))
        wrong = await run.run(lambda: scene(run))
        assert not wrong, "\n".join([*run.clients.history.lines(), *map(str, wrong)])
        return run

    return run_virtual(all_of_it())


async def at_work(run: Run, seconds: float, scene: Awaitable[None]) -> None:
    """Clients do this and that meanwhile."""
    until_s = asyncio.get_running_loop().time() + seconds
    clients = [run.clients.client(f"client_{n}", 2.0) for n in range(3)]
    await asyncio.gather(scene, *(work(client, until_s) for client in clients))


class EverybodyWins(MemoryElection):
    """An election that is won by whoever asks, until it is `sound`."""

    sound = False

    async def look(self, log_id: LogId) -> Lease:
        process = current_process()
        if self.sound or process is None:
            return await super().look(log_id)
        return Lease(log_id=log_id, holder=NodeId(process.name))

    async def swap(self, seen: Lease, holder: NodeId, heir: NodeId = NOBODY) -> Lease:
        if self.sound:
            return await super().swap(seen, holder, heir)
        return next_lease(seen, holder, heir)


def test_two_writers_that_both_think_they_are_elected_damage_nothing(tmp_path: Path) -> None:
    election = EverybodyWins()

    def prepare(cluster: SimulatedCluster) -> None:
        cluster.election = election
        cluster.hosts["writer-1"].set_clock(-TEN_MINUTES_MS // 2)
        cluster.hosts["writer-2"].set_clock(TEN_MINUTES_MS // 2)

    async def duel(run: Run) -> None:
        await asyncio.sleep(2.5)
        election.sound = True
        await asyncio.sleep(2 * LEASE_S)

    run = play(tmp_path, lambda run: at_work(run, 2.5, duel(run)), prepare)
    epochs = {durable.entry.epoch for durable in run.cluster.store.log}
    assert len(epochs) > 2, "the writers did not contend"


def test_two_writers_that_start_together_with_clocks_ten_minutes_apart(tmp_path: Path) -> None:
    async def start_together(run: Run) -> None:
        for sign in (1, -1, 1):
            for name, side in (("writer-1", sign), ("writer-2", -sign)):
                run.cluster.hosts[name].set_clock(side * TEN_MINUTES_MS // 2)
                run.cluster.kill(name, 0.1)
            await asyncio.sleep(1.2)

    run = play(tmp_path, lambda run: at_work(run, 4.0, start_together(run)))
    assert len({durable.entry.epoch for durable in run.cluster.store.log}) > 2


def test_leaders_whose_clocks_jump_by_an_hour_give_rising_timestamps(tmp_path: Path) -> None:
    async def jump(run: Run) -> None:
        for offset_ms in (HOUR_MS, 0, -HOUR_MS, HOUR_MS, -HOUR_MS, 0):
            for leader in await run.cluster.leaders():
                leader.set_clock(offset_ms)
                await asyncio.sleep(0.4)
                run.cluster.kill(leader.name, 0.2)
            await asyncio.sleep(0.5)

    run = play(tmp_path, lambda run: at_work(run, 5.0, jump(run)))
    assert len({durable.entry.epoch for durable in run.cluster.store.log}) > 3


def test_no_deleted_key_comes_back_during_takeovers_and_compactions(tmp_path: Path) -> None:
    async def change_and_look(client: Client, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            await client.insert()
            await client.upsert()
            await client.delete_keys()
            await client.query_for(Condition(), ConsistencyLevel.STRONG)
            await client.query_for(Condition(), ConsistencyLevel.SESSION)
            await client.flush()
            await asyncio.sleep(0.1)

    async def scene(run: Run) -> None:
        until_s = asyncio.get_running_loop().time() + 4.5
        clients = [run.clients.client(f"client_{n}", 3.0) for n in range(2)]

        async def take_over() -> None:
            while asyncio.get_running_loop().time() < until_s:
                await asyncio.sleep(1.3)
                for leader in await run.cluster.leaders():
                    run.cluster.kill(leader.name, 0.3)

        await asyncio.gather(take_over(), *(change_and_look(one, until_s) for one in clients))

    passed: list[str] = []

    def watch(cluster: SimulatedCluster) -> None:
        cluster.failpoint = lambda process, point: passed.append(point)

    run = play(tmp_path, scene, watch)
    assert len({durable.entry.epoch for durable in run.cluster.store.log}) > 3
    assert any("-segment" in point for point in passed), "nothing was compacted"


class FlappingRegistry(MemoryRegistry):
    """Shows nodes that do not serve, nodes twice, an old list, or nothing."""

    flaw = ""
    old: tuple[NodeInfo, ...] = ()

    async def nodes(self) -> tuple[NodeInfo, ...]:
        found = await super().nodes()
        match self.flaw:
            case "gone":
                return ()
            case "stale":
                return self.old
            case "not ready":
                ghost = msgspec.structs.replace(
                    found[0],
                    id=NodeId("ghost"),
                    roles=("reader",),
                    address="sim://ghost",
                    ready=False,
                    leads=(),
                    epochs=(),
                )
                return (*found, ghost)
            case "twice":
                twins = (msgspec.structs.replace(n, id=NodeId(f"{n.id}-twin")) for n in found)
                return (*found, *(twin for twin in twins if "reader" in twin.roles))
        self.old = found
        return found


def test_a_flapping_registry_stops_no_search_and_no_watch(tmp_path: Path) -> None:
    def prepare(cluster: SimulatedCluster) -> None:
        cluster.registry = FlappingRegistry(cluster.outside, ttl_s=LEASE_S)

    async def flap(run: Run) -> None:
        registry = run.cluster.registry
        assert isinstance(registry, FlappingRegistry)
        client = run.clients.client("searcher", 2.0)
        chance = random.Random("flaws")
        for _ in range(12):
            flaw = chance.choice(("stale", "not ready", "twice", "gone"))
            run.note(f"the registry is {flaw}")
            registry.flaw = flaw
            for _ in range(3):
                await asyncio.sleep(0.1)
                operation = await client.search_for(Condition(), ConsistencyLevel.SESSION, 10)
                assert operation.outcome == "ok" or flaw == "gone", operation.described()
            registry.flaw = ""
            await asyncio.sleep(0.4)

    play(tmp_path, flap, prepare)
