"""A whole cluster in one process and in virtual time: nodes that die, stand still, restart and lose
touch.

Invariants: nodes share nothing but the simulated network, storage, metadata and registry; each is
a `server.node.Node` as production wires it. A node that was killed, or that ended by itself, is
started again as a new process at the same address, as a supervisor would.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mishards.core.errors import MishardsError, Unavailable
from mishards.core.ids import LogId, NodeId
from mishards.discovery.election_memory import MemoryElection
from mishards.discovery.memory import MemoryRegistry
from mishards.metadata.journaled import JournaledMetadata
from mishards.proxy.config import ProxyConfig
from mishards.proxy.proxy import Proxy
from mishards.reader.config import ReaderConfig
from mishards.rpc.messages import HandOver
from mishards.server.config import ClusterConfig, Config, NodeConfig
from mishards.server.node import Node
from mishards.server.seams import Seams
from mishards.storage.layers.fault import FaultyStore
from mishards.testing.clock import VirtualRuntime
from mishards.testing.network import SimulatedNetwork
from mishards.testing.processes import Process, first_of
from mishards.testing.remote import (
    RemoteElection,
    RemoteMetadata,
    RemoteRegistry,
    RemoteStore,
    Service,
    StorageFaults,
    metadata_service,
    registry_service,
    storage_service,
)
from mishards.testing.witness import WitnessedMetadata, WitnessedStore
from mishards.writer.build_job import InlineBuilder
from mishards.writer.config import WriterConfig

Failpoint = Callable[[Process, str], None]

_RESTART_PAUSE_S = 0.2
_HEARTBEAT_S = 0.25
_LEAVE_WITHIN_S = 8.0
LEASE_S = 0.75
_JOURNAL_BYTES = 16 << 10
_JOURNAL_LOOK = 5
"""Small enough that the journal is trimmed several times in a run."""


class ClusterLayout(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts by name, with the roles of the node on each."""

    hosts: dict[str, tuple[str, ...]]
    routing: str = "consistent_hash"
    logs: int = 1
    proxy: ProxyConfig = ProxyConfig(staleness_s=1.0, timeout_s=4.0)
    reader: ReaderConfig = ReaderConfig(retention_s=4.0, housekeeping_s=0.5)
    writer: WriterConfig = WriterConfig(
        flush_rows=80,
        flush_age_s=2.0,
        flush_check_s=0.3,
        segment_max_rows=40,
        build_min_rows=16,
        build_threads=1,
        build_retry_s=0.5,
        delete_files_max=3,
        compaction_share=1.0,
        compaction_check_s=0.3,
        compaction_fan=3,
        token_window=10_000,
        token_window_s=4.0,
        log_keep_entries=8,
        collect_interval_s=0.7,
        collect_grace_s=0.5,
        lease_s=LEASE_S,
        standby_poll_s=0.25,
    )


class Running(msgspec.Struct, frozen=True):
    """One life of a host's node, and its ways to the outside."""

    process: Process
    runtime: VirtualRuntime
    node: Node
    storage: Service
    storage_faults: StorageFaults
    metadata: Service
    registry: Service

    def heal(self) -> None:
        """End what was done to its ways, and let it go on where it stands still or was to die."""
        self.storage_faults.heal()
        for service in (self.storage, self.metadata, self.registry):
            service.heal()
        self.process.spare()
        self.process.thaw()


class Host:
    """A machine of the cluster.

    Attributes:
        running: the node's present life, from its first step on; None while it is down.
        serving: set while the node has started and serves.
        clock_offset_ms: of the machine's wall clock.
    """

    def __init__(self, name: str, roles: tuple[str, ...]) -> None:
        self.name = name
        self.roles = roles
        self.running: Running | None = None
        self.serving = asyncio.Event()
        self.clock_offset_ms = 0
        self.lives = 0
        self.down_until_s = 0.0

    @property
    def ready(self) -> bool:
        return self.serving.is_set()

    def set_clock(self, offset_ms: int) -> None:
        """Let the machine's wall clock jump."""
        self.clock_offset_ms = offset_ms
        if self.running is not None:
            self.running.runtime.clock_offset_ms = offset_ms


class SimulatedCluster:
    """Runs the nodes of a layout until `close`. Made on a virtual loop.

    Attributes:
        failures: what background tasks of live nodes raised; a sound node's never do.
        restarts: how often a node ended by itself.
        failpoint: told of every durable step of every node, as `Process.failpoint`.
    """

    def __init__(self, seed: str, folder: Path, layout: ClusterLayout) -> None:
        """`folder` is for files of all nodes; they leave nothing in it."""
        self.seed = seed
        self._folder = folder
        self.layout = layout
        self.outside = VirtualRuntime(f"{seed}/outside")
        self.network = SimulatedNetwork(f"{seed}/network")
        self.store = WitnessedStore()
        self.metadata = WitnessedMetadata()
        self.registry = MemoryRegistry(self.outside, ttl_s=3 * _HEARTBEAT_S)
        self.election: MemoryElection = MemoryElection()
        self.hosts = {name: Host(name, roles) for name, roles in layout.hosts.items()}
        self.failures: list[tuple[str, BaseException]] = []
        self.restarts = 0
        self.logs = tuple(map(LogId, range(layout.logs)))
        self.failpoint: Failpoint | None = None
        self._operator = Process("operator")
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Boot all hosts and wait until they serve; the first writer named leads."""
        await self.metadata.open("simulated")
        for host in self.hosts.values():
            self._tasks.append(asyncio.ensure_future(self._keep(host)))
            if "writer" in host.roles:
                await self.until_ready(host.name)
        for name in self.hosts:
            await self.until_ready(name)

    async def close(self) -> None:
        """End everything."""
        broken = [task for task in self._tasks if task.done()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for task in broken:
            task.result()
        for host in self.hosts.values():
            await self._end(host)

    async def until_ready(self, name: str, timeout_s: float = 30.0) -> None:
        """Wait until a host's node serves."""
        async with asyncio.timeout(timeout_s):
            await self.hosts[name].serving.wait()

    @property
    def ddl_timeout_s(self) -> float:
        """How long a proxy tries to have a statement done."""
        return self.layout.proxy.timeout_s

    def with_role(self, role: str) -> list[Host]:
        return [host for host in self.hosts.values() if role in host.roles]

    def kill(self, name: str, down_s: float) -> None:
        """End a host's node as `kill -9` would; it is started again after `down_s`."""
        host = self.hosts[name]
        host.down_until_s = asyncio.get_running_loop().time() + down_s
        host.serving.clear()
        if host.running is not None:
            host.running.process.kill()

    async def leave(self, name: str) -> None:
        """Stop a host's node as an operator would: another leads first where it leads; it is
        started again."""
        host = self.hosts[name]
        if (running := host.running) is None or not host.ready:
            return
        host.serving.clear()
        try:
            async with asyncio.timeout(_LEAVE_WITHIN_S):
                await running.process.run(_leave(running.node))
        except (MishardsError, TimeoutError):
            pass
        finally:
            running.process.kill()

    async def hand_over(self, log_id: LogId) -> None:
        """Let another node lead a log, as an operator asks for it."""
        address = next((f"sim://{host.name}" for host in await self.leaders((log_id,))), "")
        channel = self.network.transport("operator", self._operator).channel(address)
        with contextlib.suppress(MishardsError):
            await channel.call(HandOver(log=log_id), timeout_s=_LEAVE_WITHIN_S)

    async def leaders(self, logs: Sequence[LogId] = ()) -> list[Host]:
        """Hosts whose nodes hold the lease of one of the logs; of any where none is named."""
        holders = {(await self.election.look(log_id)).holder for log_id in logs or self.logs}
        return [
            host
            for host in self.hosts.values()
            if host.running is not None and host.running.node.id in holders
        ]

    def heal(self) -> None:
        """End all faults; hosts that are down come up by themselves."""
        self.network.heal()
        for host in self.hosts.values():
            if host.running is not None:
                host.running.heal()

    def proxy(self, name: str) -> tuple[Process, Proxy]:
        """A proxy to call, and the process to call it in.

        Raises:
            Unavailable: it is down.
        """
        host = self.hosts[name]
        if host.running is None or not host.ready or host.running.node.proxy is None:
            raise Unavailable(f"{name} is down")
        return host.running.process, host.running.node.proxy

    # --- lives of nodes ---------------------------------------------------------------------

    async def _keep(self, host: Host) -> None:
        while True:
            running = self._new_life(host)
            host.running = running
            try:
                await running.process.run(_boot(running.node))
            except MishardsError:
                pass
            else:
                host.serving.set()
                await first_of(running.node.failed, running.process.death)
                self.restarts += running.process.alive
            host.serving.clear()
            await self._end(host)
            left_s = host.down_until_s - asyncio.get_running_loop().time()
            await asyncio.sleep(max(left_s, _RESTART_PAUSE_S))

    async def _end(self, host: Host) -> None:
        running, host.running = host.running, None
        if running is None:
            return
        await running.process.ended()
        self.failures.extend(running.runtime.failures)
        self.network.close_listener(f"sim://{host.name}")
        shutil.rmtree(self._scratch(host), ignore_errors=True)

    def _scratch(self, host: Host) -> Path:
        return self._folder / f"{host.name}.{host.lives}"

    def _new_life(self, host: Host) -> Running:
        host.lives += 1
        life = f"{host.name}.{host.lives}"
        seed = f"{self.seed}/{life}"
        process = Process(life)
        process.failpoint = self.reach
        runtime = VirtualRuntime(seed, blocking_s=0.003)
        runtime.clock_offset_ms = host.clock_offset_ms
        storage = storage_service(process, seed)
        storage_faults = StorageFaults(f"{seed}/faults")
        metadata = metadata_service(process, seed)
        registry = registry_service(process, seed)
        store = RemoteStore(FaultyStore(self.store, storage_faults, runtime), storage)
        seams = Seams(
            runtime=runtime,
            transport=self.network.transport(host.name, process),
            store=store,
            metadata=JournaledMetadata(
                RemoteMetadata(self.metadata, metadata),
                store,
                runtime,
                least_bytes=_JOURNAL_BYTES,
                look_every=_JOURNAL_LOOK,
            ),
            registry=RemoteRegistry(self.registry, registry),
            election=RemoteElection(self.election, registry),
            builder=InlineBuilder(runtime),
        )
        scratch = self._scratch(host)
        scratch.mkdir(parents=True)
        layout = self.layout
        config = Config(
            cluster=ClusterConfig(routing=layout.routing, logs=layout.logs),
            node=NodeConfig(listen=f"sim://{host.name}", heartbeat_s=_HEARTBEAT_S),
            proxy=layout.proxy,
            reader=layout.reader,
            writer=msgspec.structs.replace(layout.writer, scratch=str(scratch / "writer")),
        )
        node = Node(seams, config, host.roles, NodeId(life), scratch)
        return Running(process, runtime, node, storage, storage_faults, metadata, registry)

    def reach(self, process: Process, point: str) -> None:
        """A process passes a failpoint."""
        if self.failpoint is not None:
            self.failpoint(process, point)


async def _boot(node: Node) -> None:
    await node.start()
    await node.announce()


async def _leave(node: Node) -> None:
    await node.hand_over()
    await node.withdraw()
    await node.close()
