"""What goes wrong in a simulated cluster, by chance: deaths, cuts, loss, stalls, outages.

Invariant: at most one node with the writer's role runs at a time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from mishards.testing.cluster import Host, Running, SimulatedCluster
from mishards.testing.history import History


class Faults:
    """Lets one thing after another go wrong, and some at the same time."""

    def __init__(self, seed: str, cluster: SimulatedCluster, history: History) -> None:
        self._random = random.Random(f"{seed}/faults")
        self._cluster = cluster
        self._history = history
        self._kinds: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.kill_reader, 4),
            (self.kill_writer, 3),
            (self.kill_proxy, 1),
            (self.cut, 3),
            (self.lossy_link, 4),
            (self.slow_host, 2),
            (self.storage_stall, 2),
            (self.slow_storage, 3),
            (self.storage_errors, 3),
            (self.metadata_outage, 2),
            (self.registry_outage, 1),
            (self.clock_jump, 2),
        ]

    async def run(self, until_s: float) -> None:
        """Go on until a virtual time; faults that are under way then end by themselves."""
        works, weights = zip(*self._kinds, strict=True)
        loop = asyncio.get_running_loop()
        under_way: list[asyncio.Future[None]] = []
        try:
            while loop.time() < until_s:
                await asyncio.sleep(self._random.uniform(0.05, 1.2))
                work = self._random.choices(works, weights)[0]
                under_way.append(asyncio.ensure_future(work()))
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def kill_reader(self) -> None:
        await self._kill("reader")

    async def kill_writer(self) -> None:
        await self._kill("writer")

    async def kill_proxy(self) -> None:
        await self._kill("proxy")

    async def _kill(self, role: str) -> None:
        host = self._random.choice(self._cluster.with_role(role))
        down_s = self._random.uniform(0.1, 2.0)
        self._note(f"kill {host.name}, down for {down_s:.2f} s")
        self._cluster.kill(host.name, down_s)

    async def cut(self) -> None:
        """Between two hosts, in one direction or both."""
        one, other = self._two()
        links = [self._cluster.network.link(one, other)]
        if self._random.random() < 0.7:
            links.append(self._cluster.network.link(other, one))
        self._note(f"cut {one} from {other}, {len(links)} ways")
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
        self._note(f"loss from {one} to {other}")
        link.loss = self._random.uniform(0.02, 0.3)
        await self._last()
        link.loss = 0.0

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

    async def storage_stall(self) -> None:
        if (running := self._some_node()) is not None:
            self._note(f"storage stalls for {running.process.name}")
            running.storage.stall()
            await self._last()
            running.storage.flow()

    async def slow_storage(self) -> None:
        if (running := self._some_node()) is not None:
            self._note(f"storage is slow for {running.process.name}")
            running.storage.latency_s = self._random.uniform(0.02, 0.3)
            await self._last()
            running.storage.latency_s = 0.002

    async def storage_errors(self) -> None:
        if (running := self._some_node()) is not None:
            self._note(f"storage fails for {running.process.name}")
            faults = running.storage_faults
            faults.torn = 0.2 if self._random.random() < 0.5 else 0.0
            faults.failing = self._random.uniform(0.05, 0.5)
            await self._last()
            faults.failing = 0.0

    async def metadata_outage(self) -> None:
        if (running := self._some_node()) is not None:
            self._note(f"metadata fails for {running.process.name}")
            running.metadata.failing = self._random.choice((0.2, 1.0))
            await self._last()
            running.metadata.failing = 0.0

    async def registry_outage(self) -> None:
        if (running := self._some_node()) is not None:
            self._note(f"the registry fails for {running.process.name}")
            running.registry.failing = self._random.choice((0.3, 1.0))
            await self._last()
            running.registry.failing = 0.0

    async def clock_jump(self) -> None:
        """A machine's wall clock is set, by up to an hour, forward or back.

        A writer's is set forward only: the time that a leader told its followers while nothing
        was written is not durable, so a next leader with an earlier clock could give it again.
        """
        host = self._some_host()
        offset_ms = int(self._random.choice((-1, 1)) * 10 ** self._random.uniform(2, 6.6))
        if "writer" in host.roles:
            offset_ms = host.clock_offset_ms + abs(offset_ms)
        self._note(f"the clock of {host.name} is {offset_ms / 1000:.1f} s off")
        host.set_clock(offset_ms)

    async def _last(self) -> None:
        await asyncio.sleep(self._random.uniform(0.2, 2.5))

    def _two(self) -> tuple[str, str]:
        one, other = self._random.sample(sorted(self._cluster.hosts), 2)
        return one, other

    def _some_host(self) -> Host:
        return self._random.choice(list(self._cluster.hosts.values()))

    def _some_node(self) -> Running | None:
        return self._some_host().running

    def _note(self, what: str) -> None:
        self._history.events.append((asyncio.get_running_loop().time(), what))
