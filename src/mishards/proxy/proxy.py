"""The proxy role: one object that edges call, composed of its paths."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec

from mishards.cluster.membership import Membership
from mishards.core.errors import DeadlineExceeded, InternalError, MishardsError, Unimplemented
from mishards.core.ids import (
    DDL_LOG,
    MOST_LOGS,
    CollectionId,
    LogId,
    MetadataVersion,
    NodeId,
    SegmentId,
    Timestamp,
)
from mishards.core.runtime import Runtime
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.observability import instruments
from mishards.observability.instruments import Metrics
from mishards.observability.metrics import PLAN_CACHE_ENTRIES, SUSPECTED
from mishards.observability.slow import SlowTraces as SlowList
from mishards.observability.spans import Trace
from mishards.proxy.calls import (
    DeleteCall,
    FlushAnswer,
    InsertCall,
    QueryAnswer,
    QueryCall,
    ReplicaInfo,
    SearchAnswer,
    SearchCall,
    WriteAnswer,
)
from mishards.proxy.config import ProxyConfig, RecallConfig
from mishards.proxy.consistency import ConsistencyClock
from mishards.proxy.leader import Leaders
from mishards.proxy.look import ClusterLook
from mishards.proxy.measures import ProxyMeasures
from mishards.proxy.plan import Router, read_scope
from mishards.proxy.query import QueryPath
from mishards.proxy.reading import Reading
from mishards.proxy.readings import state_readings
from mishards.proxy.recall_guard import RecallGuard
from mishards.proxy.search import SearchPath
from mishards.proxy.state import ProxyState
from mishards.proxy.write import TOKEN_BYTES, WritePath
from mishards.routing.protocol import RoutingPolicy
from mishards.rpc.messages import (
    AllocateTimestamp,
    Committed,
    Compact,
    CompactionStarted,
    CompactionStatus,
    Ddl,
    DdlOnce,
    Flush,
    Flushed,
    GetCompaction,
    Message,
    NodeStatus,
    Reply,
    SlowTraces,
    StatusReply,
    TimestampReply,
    Traces,
    TruncateCollection,
)
from mishards.rpc.protocol import CallContext, Transport

_STATUS_TIMEOUT_S = 1.0
_MOST_TRACES = 100


class Proxy:
    """Implements `ProxyApi` for edges and `Handler` for peers."""

    def __init__(
        self,
        runtime: Runtime,
        config: ProxyConfig,
        transport: Transport,
        membership: Membership,
        policy: RoutingPolicy,
        node_id: NodeId,
        recall: RecallConfig | None = None,
        slow: SlowList | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """A proxy that knows nothing yet.

        Args:
            slow: where this proxy's slow and failed requests are kept.
            metrics: what it measures itself with.
        """
        measures = ProxyMeasures(metrics)
        self._slow = slow
        self._runtime = runtime
        self._transport = transport
        self._membership = membership
        self._config = config
        self._node_id = node_id
        self.state = ProxyState(runtime)
        self._leaders = Leaders(runtime, transport, membership, measures)
        self._router = Router(policy)
        self._reading = Reading(
            runtime,
            config,
            transport,
            membership,
            self.state,
            self._router,
            ConsistencyClock(runtime, config, self.state, self._leaders),
            measures,
        )
        self._look = ClusterLook(runtime, transport, membership, self.state, self._reading, node_id)
        self.recall_guard = RecallGuard(runtime, recall or RecallConfig(), self._reading)
        self._searches = SearchPath(self._reading, self.recall_guard)
        self._queries = QueryPath(self._reading)
        self._writes = WritePath(runtime, self.state, self._leaders, self._queries)

    def readings(self) -> Iterator[instruments.Reading]:
        """What metrics say of this proxy, but for what it measures while it answers."""
        yield from state_readings(self.state, self._runtime.now_ms())
        yield instruments.Reading(PLAN_CACHE_ENTRIES, len(self._searches.preparer))
        yield instruments.Reading(SUSPECTED, len(self._membership.view.suspects))

    @property
    def snapshot(self) -> MetadataSnapshot:
        return self.state.snapshot

    @property
    def look(self) -> ClusterLook:
        return self._look

    def search_now(self, call: SearchCall) -> SearchAnswer | None:
        return self._searches.search_now(call)

    async def search(self, call: SearchCall) -> SearchAnswer:
        return await self._searches.search(call)

    async def query(self, call: QueryCall) -> QueryAnswer:
        return await self._queries.query(call)

    async def insert(self, call: InsertCall) -> WriteAnswer:
        return await self._writes.insert(call)

    async def upsert(self, call: InsertCall) -> WriteAnswer:
        return await self._writes.upsert(call)

    async def delete(self, call: DeleteCall) -> WriteAnswer:
        return await self._writes.delete(call)

    async def ddl(self, message: Ddl) -> MetadataVersion:
        deadline_s = self._runtime.monotonic_s() + self._config.timeout_s
        log_id, snapshot = DDL_LOG, self.snapshot
        if isinstance(message, TruncateCollection):
            log_id = snapshot.resolve(message.database, message.name).meta.log_id
            message = msgspec.structs.replace(message, log=log_id)
        once = DdlOnce(
            token=self._runtime.random.randbytes(TOKEN_BYTES),
            ddl=message,
            log=log_id,
            version=snapshot.version,
        )
        answer = await self._leaders.of(log_id).call(once, self._config.timeout_s)
        if not isinstance(answer, Committed):
            raise _unexpected(answer, message)
        await self._seen(answer.version, deadline_s)
        return answer.version

    async def flush(self, database: str, collections: Sequence[str]) -> FlushAnswer:
        deadline_s = self._runtime.monotonic_s() + self._config.timeout_s
        snapshot = self.snapshot
        by_log: dict[LogId, list[CollectionId]] = {} if collections else {DDL_LOG: []}
        for name in collections:
            view = snapshot.resolve(database, name)
            by_log.setdefault(view.meta.log_id, []).append(view.id)
        flushed = await asyncio.gather(
            *(self._flush(log_id, ids, snapshot.version) for log_id, ids in by_log.items())
        )
        await self._seen(
            max((one.version for one in flushed), default=snapshot.version), deadline_s
        )
        return FlushAnswer(
            segments={id_: found for one in flushed for id_, found in one.segments.items()},
            timestamp=max((one.timestamp for one in flushed), default=Timestamp(0)),
        )

    async def _flush(
        self, log_id: LogId, collections: Sequence[CollectionId], version: MetadataVersion
    ) -> Flushed:
        message = Flush(collections=tuple(collections), log=log_id, version=version)
        answer = await self._leaders.of(log_id).call(message, self._config.timeout_s)
        if not isinstance(answer, Flushed):
            raise _unexpected(answer, message)
        return answer

    async def compact(
        self, view: CollectionView, *, deletes_only: bool = False, target_bytes: int = 0
    ) -> Timestamp:
        log_id = view.meta.log_id
        message = Compact(
            collection=view.id,
            deletes_only=deletes_only,
            target_bytes=target_bytes,
            log=log_id,
            version=self.snapshot.version,
        )
        answer = await self._leaders.of(log_id).call(message, self._config.timeout_s)
        if not isinstance(answer, CompactionStarted):
            raise _unexpected(answer, message)
        return answer.id

    async def compaction(self, compaction_id: Timestamp) -> CompactionStatus:
        log_id = LogId(compaction_id % MOST_LOGS)
        if log_id not in self.snapshot.logs:
            return CompactionStatus(executing=False)
        message = GetCompaction(id=compaction_id, log=log_id)
        answer = await self._leaders.of(log_id).call(message, self._config.timeout_s)
        if not isinstance(answer, CompactionStatus):
            raise _unexpected(answer, message)
        return answer

    async def _seen(self, version: MetadataVersion, deadline_s: float) -> None:
        """Wait until this proxy's own snapshot shows what was done."""
        left_s = max(0.0, deadline_s - self._runtime.monotonic_s())
        try:
            await self.state.wait_for(version, left_s)
        except TimeoutError:
            raise DeadlineExceeded(
                f"done as of metadata version {version}, which this proxy has not seen within the "
                f"call's {self._config.timeout_s:g} s"
            ) from None
        self._router.forget(frozenset(self.snapshot.collections))

    async def allocate_timestamp(self) -> Timestamp:
        message = AllocateTimestamp()
        answer = await self._leaders.of(DDL_LOG).call(message, self._config.timeout_s)
        if not isinstance(answer, TimestampReply):
            raise _unexpected(answer, message)
        return answer.timestamp

    async def row_count(self, view: CollectionView, partitions: Sequence[str] = ()) -> int:
        return await self._queries.row_count(view, partitions, self._config.timeout_s)

    async def loading_progress(self, view: CollectionView, partitions: Sequence[str] = ()) -> int:
        wanted = read_scope(view, partitions, None).segments
        if not self._membership.readers():
            return 0
        if not wanted:
            return 100
        first = self._first_readers(view, wanted)
        opened = {
            NodeId(status.node): status.segments.keys() for status in await self.cluster_status()
        }
        ready = sum(segment in opened.get(node, ()) for segment, node in first.items())
        return 100 * ready // len(wanted)

    def _first_readers(
        self, view: CollectionView, segments: Sequence[SegmentId]
    ) -> dict[SegmentId, NodeId]:
        preferences = self._reading.table(view).preferences
        return {s: preferences[s][0] for s in segments if preferences[s]}

    def replicas(self, view: CollectionView) -> list[ReplicaInfo]:
        wanted = read_scope(view, (), None).segments
        preferences = self._reading.table(view).preferences
        count = min(view.meta.replica_number, len(self._membership.readers()))
        found = []
        for number in range(count):
            segments: dict[str, tuple[SegmentId, ...]] = {}
            for segment in wanted:
                node = preferences[segment][number]
                segments[node] = (*segments.get(node, ()), segment)
            nodes = tuple(segments) or tuple(n.id for n in self._membership.readers())
            found.append(ReplicaInfo(id=view.id + number + 1, nodes=nodes, segments=segments))
        return found

    async def cluster_status(self) -> list[StatusReply]:
        async def ask(address: str) -> StatusReply | None:
            channel = self._transport.channel(address)
            try:
                answer = await channel.call(NodeStatus(), timeout_s=_STATUS_TIMEOUT_S)
            except MishardsError:
                return None
            return answer if isinstance(answer, StatusReply) else None

        nodes = self._membership.view.nodes
        answers = await asyncio.gather(*(ask(node.address) for node in nodes))
        return [answer for answer in answers if answer is not None]

    async def slow_traces(self, most: int = _MOST_TRACES) -> list[Trace]:
        async def ask(address: str) -> tuple[Trace, ...]:
            channel = self._transport.channel(address)
            try:
                answer = await channel.call(SlowTraces(most=most), timeout_s=_STATUS_TIMEOUT_S)
            except MishardsError:
                return ()
            return answer.traces if isinstance(answer, Traces) else ()

        proxies = [node for node in self._membership.view.nodes if "proxy" in node.roles]
        answers = await asyncio.gather(*(ask(node.address) for node in proxies))
        found = [trace for traces in answers for trace in traces]
        return sorted(found, key=lambda trace: trace.root.start_ns, reverse=True)[:most]

    async def handle(self, message: Message, context: CallContext) -> Reply:
        """Peers ask a proxy how it is, and what went wrong lately."""
        if isinstance(message, NodeStatus):
            return self._status()
        if isinstance(message, SlowTraces):
            kept = () if self._slow is None else self._slow.newest_first()
            return Traces(traces=tuple(kept[: message.most]))
        raise Unimplemented(f"a proxy does not answer {type(message).__name__}")

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        return None

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        raise Unimplemented(f"a proxy streams no {type(message).__name__}")

    def _status(self) -> StatusReply:
        logs = self.state.logs()
        return StatusReply(
            node=self._node_id,
            roles=("proxy",),
            version=self.state.snapshot.version,
            applied_seq={log_id: known.seq for log_id, known in logs.items()},
            applied_ts={log_id: known.timestamp for log_id, known in logs.items()},
            oldest_version=self._reading.in_use.oldest(),
            recall=self.recall_guard.seen(),
        )


def _unexpected(answer: Reply, message: Message) -> InternalError:
    return InternalError(f"the writer answered {type(answer).__name__} to {type(message).__name__}")
