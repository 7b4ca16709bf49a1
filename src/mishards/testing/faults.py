"""What goes wrong in a simulated cluster, by chance: deaths, pauses, cuts, loss, stalls, outages.

Invariants: each seed lets only some kinds of faults happen, so that some runs are full of one kind
and others mix many; `SimulatedCluster.heal` undoes what is under way when `run` ends, and clocks
stay as they were set.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from mishards.testing.cluster import LEASE_S, Host, Running, SimulatedCluster
from mishards.testing.history import History
from mishards.testing.network import Link

_KINDS = {
    "crash": 5,
    "crash_leader": 4,
    "kill": 2,
    "freeze": 3,
    "freeze_leader": 2,
    "leave": 1,
    "hand_over": 2,
    "cut": 3,
    "isolate": 1,
    "lossy_link": 4,
    "slow_host": 2,
    "storage_stall": 2,
    "slow_storage": 2,
    "storage_errors": 3,
    "storage_full": 1,
    "storage_outage": 1,
    "metadata_outage": 2,
    "database_outage": 2,
    "registry_outage": 1,
    "clock_jump": 2,
}
"""Names of methods of `Faults`, and how often each is chosen."""
_SHARE = 0.5
_AT_LEADER = 0.4
_MOST_STEPS = 400
_AS_IT_WRITES = 0.7
_LOOKS = 600
_LOOK_S = 0.0005
_APPEND = "storage: create log"


class Faults:
    """Lets one thing after another go wrong, and some at the same time."""

    def __init__(self, seed: str, cluster: SimulatedCluster, history: History) -> None:
        self._random = random.Random(f"{seed}/faults")
        self._cluster = cluster
        self._history = history
        self._most_pause_s = self._random.choice((0.3, 0.8, 1.5))
        names = [name for name in _KINDS if self._random.random() < _SHARE] or ["crash_leader"]
        self._works: list[Callable[[], Awaitable[None]]] = [getattr(self, name) for name in names]
        self._weights = [_KINDS[name] for name in names]

    async def run(self, until_s: float) -> None:
        """Go on until a virtual time; faults under way are then left as they are."""
        loop = asyncio.get_running_loop()
        under_way: list[asyncio.Future[None]] = []
        try:
            while loop.time() < until_s:
                await asyncio.sleep(self._random.uniform(0.03, self._most_pause_s))
                work = self._random.choices(self._works, self._weights)[0]
                under_way.append(asyncio.ensure_future(work()))
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    # --- processes --------------------------------------------------------------------------

    async def crash(self) -> None:
        """A node dies at one of its next steps, whatever it is at."""
        self._crash(self._some_host())

    async def crash_leader(self) -> None:
        if (host := await self._leader()) is not None:
            self._crash(host)

    def _crash(self, host: Host) -> None:
        if (running := host.running) is None:
            return
        steps = self._random.randint(1, _MOST_STEPS)
        host.down_until_s = asyncio.get_running_loop().time() + self._random.uniform(0.1, 1.5)
        self._note(f"{host.name} dies {steps} steps later")
        running.process.doom(steps)

    async def kill(self) -> None:
        """All of a role's nodes, or one."""
        role = self._random.choice(("writer", "reader", "proxy"))
        hosts = self._cluster.with_role(role)
        if self._random.random() < 0.7:
            hosts = [self._random.choice(hosts)]
        for host in hosts:
            down_s = self._random.uniform(0.1, 2.0)
            self._note(f"kill {host.name}, down for {down_s:.2f} s")
            self._cluster.kill(host.name, down_s)

    async def freeze(self) -> None:
        await self._freeze(self._some_host())

    async def freeze_leader(self) -> None:
        """Often just when an entry is on its way, which then comes under another's reign."""
        if (host := await self._leader()) is None:
            return
        if self._random.random() < _AS_IT_WRITES:
            await _until_it_writes(host)
        await self._freeze(host)

    async def _freeze(self, host: Host) -> None:
        """Stand still, often for longer than a lease, and go on."""
        if (running := host.running) is None or running.process.frozen:
            return
        seconds = LEASE_S * self._random.uniform(0.2, 5)
        self._note(f"{host.name} stands still for {seconds:.2f} s")
        running.process.freeze()
        await asyncio.sleep(seconds)
        running.process.thaw()

    async def leave(self) -> None:
        """A planned restart."""
        host = self._some_host()
        self._note(f"{host.name} is stopped")
        await self._cluster.leave(host.name)

    async def hand_over(self) -> None:
        log_id = self._random.choice(self._cluster.logs)
        self._note(f"log {log_id} is handed over")
        await self._cluster.hand_over(log_id)

    async def clock_jump(self) -> None:
        """A machine's wall clock is set, by up to an hour, forward or back."""
        host = self._some_host()
        offset_ms = int(self._random.choice((-1, 1)) * 10 ** self._random.uniform(2, 6.55))
        self._note(f"the clock of {host.name} is {offset_ms / 1000:.1f} s off")
        host.set_clock(offset_ms)

    # --- the network ------------------------------------------------------------------------

    async def cut(self) -> None:
        """Between two hosts, in one direction or both."""
        one, other = self._two()
        links = [self._cluster.network.link(one, other)]
        if self._random.random() < 0.6:
            links.append(self._cluster.network.link(other, one))
        self._note(f"cut {one} from {other}, {len(links)} ways")
        await self._cut(links)

    async def isolate(self) -> None:
        """A host from all others, in one direction or both."""
        one = self._some_host().name
        link, others = self._cluster.network.link, [h for h in self._cluster.hosts if h != one]
        ways = self._random.choice(("in", "out", "both"))
        self._note(f"isolate {one}: {ways}")
        links = [link(other, one) for other in others] if ways != "out" else []
        links += [link(one, other) for other in others] if ways != "in" else []
        await self._cut(links)

    async def _cut(self, links: list[Link]) -> None:
        for link in links:
            link.cut = True
        await self._last()
        for link in links:
            link.cut = False

    async def lossy_link(self) -> None:
        one, other = self._two()
        if self._random.random() < 0.5:  # answers to writes are the ones that must not be lost
            one = self._random.choice(self._cluster.with_role("writer")).name
        link = self._cluster.network.link(one, other)
        self._note(f"loss and repetition from {one} to {other}")
        link.loss = self._random.uniform(0.02, 0.3)
        link.repeats = self._random.uniform(0.0, 0.3)
        await self._last()
        link.loss = link.repeats = 0.0

    async def slow_host(self) -> None:
        """What a host sends is late."""
        slow = self._some_host().name
        self._note(f"{slow} is slow")
        delay_s = self._random.uniform(0.02, 0.4)
        links = [self._cluster.network.link(slow, other) for other in self._cluster.hosts]
        for link in links:
            link.delay_s = (delay_s / 2, delay_s)
        await self._last()
        for link in links:
            link.delay_s = (0.0001, 0.001)

    # --- what stands around -----------------------------------------------------------------

    async def storage_stall(self) -> None:
        if (running := await self._some_node()) is not None:
            self._note(f"storage stalls for {running.process.name}")
            running.storage.stall()
            await self._last()
            running.storage.flow()

    async def slow_storage(self) -> None:
        if (running := await self._some_node()) is not None:
            self._note(f"storage is slow for {running.process.name}")
            running.storage.latency_s = self._random.uniform(0.02, 0.3)
            await self._last()
            running.storage.latency_s = 0.002

    async def storage_errors(self) -> None:
        if (running := await self._some_node()) is not None:
            self._note(f"storage fails for {running.process.name}")
            faults = running.storage_faults
            faults.torn = 0.2 if self._random.random() < 0.5 else 0.0
            faults.failing = self._random.uniform(0.05, 0.5)
            await self._last()
            faults.heal()

    async def storage_full(self) -> None:
        nodes = self._nodes()
        self._note("storage is full")
        for running in nodes:
            running.storage_faults.full = True
        await self._last()
        for running in nodes:
            running.storage_faults.full = False

    async def storage_outage(self) -> None:
        """Nobody reaches storage: calls stall, or fail."""
        nodes, stalls = self._nodes(), self._random.random() < 0.5
        self._note(f"storage is gone: it {'stalls' if stalls else 'fails'}")
        for running in nodes:
            if stalls:
                running.storage.stall()
            else:
                running.storage.failing = 1.0
        await self._last()
        for running in nodes:
            running.storage.heal()

    async def metadata_outage(self) -> None:
        """Calls of some or all fail, before or after their effect."""
        nodes = self._some_nodes()
        self._note(f"metadata fails for {_names(nodes)}")
        share = self._random.choice((0.2, 1.0))
        for running in nodes:
            running.metadata.failing = share
        await self._last()
        for running in nodes:
            running.metadata.failing = 0.0

    async def database_outage(self) -> None:
        """The database that holds metadata, registry and leases stalls or fails."""
        nodes, stalls = self._some_nodes(), self._random.random() < 0.5
        self._note(f"the database {'stalls' if stalls else 'fails'} for {_names(nodes)}")
        services = [way for running in nodes for way in (running.metadata, running.registry)]
        for service in services:
            if stalls:
                service.stall()
            else:
                service.failing = 1.0
        await self._last()
        for service in services:
            service.heal()

    async def registry_outage(self) -> None:
        nodes = self._some_nodes()
        self._note(f"the registry fails for {_names(nodes)}")
        share = self._random.choice((0.3, 1.0))
        for running in nodes:
            running.registry.failing = share
        await self._last()
        for running in nodes:
            running.registry.failing = 0.0

    # --- choices ----------------------------------------------------------------------------

    async def _last(self) -> None:
        await asyncio.sleep(self._random.uniform(0.2, 2.5))

    def _two(self) -> tuple[str, str]:
        one, other = self._random.sample(sorted(self._cluster.hosts), 2)
        return one, other

    async def _leader(self) -> Host | None:
        leaders = await self._cluster.leaders()
        return self._random.choice(leaders) if leaders else None

    def _some_host(self) -> Host:
        return self._random.choice(list(self._cluster.hosts.values()))

    async def _some_node(self) -> Running | None:
        """Often the leader's: what happens to it matters most."""
        leader = await self._leader() if self._random.random() < _AT_LEADER else None
        return (leader or self._some_host()).running

    def _nodes(self) -> list[Running]:
        return [host.running for host in self._cluster.hosts.values() if host.running is not None]

    def _some_nodes(self) -> list[Running]:
        nodes = self._nodes()
        return nodes if self._random.random() < 0.3 or not nodes else [self._random.choice(nodes)]

    def _note(self, what: str) -> None:
        self._history.events.append((asyncio.get_running_loop().time(), what))


def _names(nodes: list[Running]) -> str:
    return nodes[0].process.name if len(nodes) == 1 else "all"


async def _until_it_writes(host: Host) -> None:
    """Wait, not for long, until an entry of the log is on its way from a host to storage."""
    for _ in range(_LOOKS):
        if host.running is None or _APPEND in host.running.storage.under_way:
            return
        await asyncio.sleep(_LOOK_S)
