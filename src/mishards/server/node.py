"""A node: the roles it holds, wired to the seams, started and ended in order.

Invariant: a node is announced as ready only when every role of it serves, and is withdrawn before
any of them stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from mishards.cluster.campaign import Campaign
from mishards.cluster.membership import Membership, MembershipView
from mishards.cluster.peers import Peers
from mishards.core.ids import Epoch, LogId, MetadataVersion, NodeId, SegmentId
from mishards.discovery.protocol import NodeInfo
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.observability.instruments import Reading
from mishards.observability.slow import SlowTraces
from mishards.observability.tracer import Tracer
from mishards.proxy.leader import LeaderClient
from mishards.proxy.plan import Router
from mishards.proxy.proxy import Proxy
from mishards.reader.reader import Reader
from mishards.routing.registry import policy
from mishards.rpc.memory import MemoryTransport
from mishards.rpc.messages import ReportDamage
from mishards.rpc.protocol import Listener
from mishards.server.condition import examined
from mishards.server.config import Config
from mishards.server.dispatch import RoleDispatcher
from mishards.server.drills import Drills, OwnProcess
from mishards.server.follow import FanOutSink, RoleSink
from mishards.server.followers import Followers
from mishards.server.presence import Presence
from mishards.server.readings import membership_readings
from mishards.server.seams import Seams
from mishards.server.transport import OwnFirstTransport
from mishards.server.writers import Writers
from mishards.writer.candidate import Candidate

ROLES = ("writer", "reader", "proxy")
_METADATA_POLL_S = 0.1
_REPORT_TIMEOUT_S = 10.0
_log = logging.getLogger(__name__)


class Node:
    """One process's share of a cluster. Not restartable: make a new one."""

    def __init__(
        self,
        seams: Seams,
        config: Config,
        roles: Sequence[str],
        node_id: NodeId,
        scratch: Path,
        *,
        unrivalled: bool = False,
    ) -> None:
        """A node that has not started.

        Args:
            scratch: a folder of this node alone, for files that need not survive it.
            unrivalled: no other node can be a writer of the data set.
        """
        self._seams = seams
        self._config = config
        self.roles = tuple(role for role in ROLES if role in roles)
        self.id = node_id
        self._scratch = scratch
        self._unrivalled = unrivalled
        runtime = seams.runtime
        self._transport = OwnFirstTransport(
            seams.transport, MemoryTransport(runtime), config.node.advertise
        )
        self._membership = Membership(runtime, seams.registry, config.node.heartbeat_s)
        self._policy = policy(config.cluster.routing)
        self._router = Router(self._policy)
        self._dispatcher = RoleDispatcher(node_id)
        self._dispatcher.examine = lambda: examined(config, runtime, node_id, scratch)
        self._dispatcher.drill = Drills(runtime, node_id, seams.cut, OwnProcess(runtime)).begin
        self.metrics = seams.metrics
        self._end_readings = self.metrics.read(self._readings)
        self._writers: Writers | None = None
        self._reader: Reader | None = None
        self.proxy: Proxy | None = None
        self.slow = SlowTraces(config.tracing.slow_kept)
        self.traces = self._tracer()
        """What records the calls of clients; None where there are none."""
        self._followers: Followers | None = None
        self._listener: Listener | None = None
        self._presence: Presence | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _tracer(self) -> Tracer | None:
        config = self._config.tracing
        if "proxy" not in self.roles:
            return None
        return Tracer(
            self._seams.runtime,
            self.id,
            share=config.sample,
            slow_s=config.slow_ms / 1000,
            takers=[self.slow.take],
            record=config.record,
        )

    @property
    def address(self) -> str:
        """Where peers reach this node."""
        return self._transport.address

    @property
    def members(self) -> MembershipView:
        """The nodes of the cluster, as this one sees them now."""
        return self._membership.view

    @property
    def failed(self) -> asyncio.Future[None]:
        """Done when something that the node cannot live without has ended."""
        return self._failed

    async def start(self) -> None:
        """Start the roles and be announced. On an error, `close` cleans up what was started."""
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listener = await self._transport.listen(self._config.node.listen, self._dispatcher)
        await self._start_presence()
        if "writer" in self.roles:
            await self._start_writers()
        changes = await self._first_metadata()
        sinks = [*self._start_reader(changes), *self._start_proxy(changes)]
        if sinks:
            await self._start_followers(sinks, changes)

    async def _first_metadata(self) -> Changes:
        """All metadata; a proxy waits until the first writer of the data set has made some."""
        waiting = False
        while True:
            changes = await self._seams.metadata.changes(MetadataVersion(0))
            if changes.version or "proxy" not in self.roles:
                return changes
            if not waiting:
                _log.info("%s waits for a writer to begin the data set", self.id)
                waiting = True
            await self._seams.runtime.sleep(_METADATA_POLL_S)

    async def announce(self, edge: str = "", http: str = "") -> None:
        """Become visible to the cluster as a node that serves, with its addresses for clients
        and for health checks."""
        assert self._presence is not None
        self._presence.set_addresses(edge, http)
        await self._presence.announce(ready=True)
        await self._membership.refresh()

    async def _start_presence(self) -> None:
        runtime = self._seams.runtime
        info = NodeInfo(id=self.id, roles=self.roles, address=self.address, ready=False)
        self._presence = Presence(
            runtime, self._seams.registry, info, self._reigns, self._config.node.heartbeat_s
        )
        presence = self._presence
        self._dispatcher.introduce = lambda: presence.introduction
        await presence.announce(ready=False)
        self._tasks.append(runtime.spawn(self._presence.run(), f"presence of {self.id}"))
        await self._membership.start()

    def _reigns(self) -> dict[LogId, Epoch]:
        """The logs this node leads."""
        return {} if self._writers is None else self._writers.reigns()

    def _other_writers(self) -> list[NodeInfo]:
        return [
            node
            for node in self._membership.view.nodes
            if "writer" in node.roles and node.id != self.id and node.ready
        ]

    async def _on_role(self) -> None:
        """Leading began or ended: say so, and see it."""
        assert self._presence is not None
        await self._presence.renew()
        await self._membership.refresh()

    async def hand_over(self) -> None:
        """Let standbys lead before this node stops, where there are any."""
        if self._writers is not None and self._other_writers():
            await self._writers.leave()

    async def _start_writers(self) -> None:
        known = MetadataSnapshot.empty().apply(
            await self._seams.metadata.changes(MetadataVersion(0))
        )
        logs = sorted({*map(LogId, range(self._config.cluster.logs)), *known.logs})
        self._writers = Writers(
            self._seams.runtime,
            self.id,
            {log_id: self._candidate(log_id) for log_id in logs},
            self._other_writers,
            2 * self._config.writer.lease_s,
        )
        self._dispatcher.add("writer", self._writers)
        await self._writers.start()
        self._tasks.append(
            self._seams.runtime.spawn(self._candidacy(self._writers), f"candidacy of {self.id}")
        )

    def _candidate(self, log_id: LogId) -> Candidate:
        seams = self._seams
        config = msgspec.structs.replace(self._config.writer, scratch=str(self._scratch))
        campaign = Campaign(
            seams.runtime,
            seams.election,
            log_id,
            self.id,
            config.lease_s,
            unrivalled=self._unrivalled,
        )
        return Candidate(
            seams.runtime,
            config,
            seams.store,
            seams.metadata,
            self._transport,
            campaign,
            self.id,
            log_id,
            peers=Peers(self._transport, self._membership),
            others=self._other_writers,
            on_role=self._on_role,
            unrivalled=self._unrivalled,
            builder=seams.builder,
            metrics=self.metrics,
        )

    def _start_reader(self, changes: Changes) -> list[RoleSink]:
        if "reader" not in self.roles:
            return []
        seams = self._seams
        self._reader = Reader(
            seams.runtime,
            self._config.reader,
            seams.store,
            self.id,
            serves=self._served_segments,
            catch_up=self._catch_up,
            streamed=self._streamed,
            report_damage=self._report_damage,
            scratch=self._scratch,
            metrics=self.metrics,
        )
        self._reader.start(MetadataSnapshot.empty().apply(changes))
        self._dispatcher.add("reader", self._reader)
        return [self._reader]

    def _served_segments(self, view: CollectionView) -> frozenset[SegmentId]:
        """Segments that this node is among the first readers for: they are opened ahead."""
        members = self._membership.view
        readers = [node.id for node in self._membership.readers()]
        if self.id not in readers:
            readers.append(self.id)
        table = self._router.table(view, members.version, sorted(readers))
        replicas = max(1, view.meta.replica_number)
        return frozenset(
            segment for segment in view.segments if self.id in table.preferences[segment][:replicas]
        )

    async def _catch_up(self, log_id: LogId) -> None:
        assert self._followers is not None
        await self._followers.catch_up(log_id)

    def _streamed(self, log_id: LogId) -> bool:
        return self._followers is not None and self._followers.streamed(log_id)

    async def _report_damage(self, message: ReportDamage) -> None:
        leader = LeaderClient(self._seams.runtime, self._transport, self._membership, message.log)
        await leader.call(message, _REPORT_TIMEOUT_S)

    def _start_proxy(self, changes: Changes) -> list[RoleSink]:
        if "proxy" not in self.roles:
            return []
        self.proxy = Proxy(
            self._seams.runtime,
            self._config.proxy,
            self._transport,
            self._membership,
            self._policy,
            self.id,
            self._config.recall,
            self.slow,
            self.metrics,
        )
        if self._config.recall.share:
            checks = self.proxy.recall_guard.run()
            self._tasks.append(self._seams.runtime.spawn(checks, f"recall guard of {self.id}"))
        self.proxy.state.apply_changes(changes)
        self._dispatcher.add("proxy", self.proxy)
        return [self.proxy.state]

    async def _start_followers(self, sinks: Sequence[RoleSink], changes: Changes) -> None:
        self._followers = followers = Followers(
            self._seams,
            self._transport,
            self._membership,
            FanOutSink(sinks),
            MetadataSnapshot.empty().apply(changes),
            self._config.cluster.logs,
            entries=self._reader is not None,
        )
        self._tasks.append(
            self._seams.runtime.spawn(self._follow(followers), f"followers of {self.id}")
        )
        if self._reader is not None:
            await followers.catch_up_all()

    async def _follow(self, followers: Followers) -> None:
        try:
            await followers.run()
        finally:
            self._fail()

    async def _candidacy(self, writers: Writers) -> None:
        try:
            await writers.failed()
        finally:
            self._fail()

    def _fail(self) -> None:
        if not self._failed.done():
            self._failed.set_result(None)

    def _readings(self) -> Iterator[Reading]:
        """What the node's metrics say now."""
        logs = set(range(self._config.cluster.logs))
        yield from membership_readings(self._membership, sorted(map(LogId, logs)))
        if self._followers is not None:
            yield from self._followers.readings()
        if self._writers is not None:
            yield from self._writers.readings()
        if self._reader is not None:
            yield from self._reader.readings()
        if self.proxy is not None:
            yield from self.proxy.readings()

    async def withdraw(self) -> None:
        """Take no new work: other nodes stop sending to this one."""
        if self._presence is not None:
            await self._presence.withdraw()

    async def close(self) -> None:
        """End what runs, last started first."""
        self._end_readings()
        await self.withdraw()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._reader is not None:
            await self._reader.close()
        if self._writers is not None:
            await self._writers.close()
        if self._listener is not None:
            await self._listener.close()
        await self._membership.close()
        await self._transport.close()
