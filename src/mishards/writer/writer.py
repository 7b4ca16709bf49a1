"""The writer: takes leadership of a log, then answers writes, flushes and DDL until it is closed or
fenced.

Invariants: it acknowledges nothing before `start` has returned, nor after it was fenced; once
fenced it stays so, and every call but `NodeStatus` raises `NotLeader`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, get_args

import msgspec

from mishards.cluster.peers import Peers
from mishards.cluster.publishing import LogPublisher
from mishards.core.errors import (
    CollectionNotFound,
    InvalidParameter,
    MishardsError,
    NotLeader,
    NotReady,
    Unimplemented,
)
from mishards.core.ids import DDL_LOG, EntrySeq, Epoch, LogId, MetadataVersion, NodeId, Timestamp
from mishards.core.runtime import Runtime
from mishards.log.store import LogStore
from mishards.metadata.protocol import MetadataStore
from mishards.observability.instruments import Reading
from mishards.observability.tracing import PeerTraces, Recorder
from mishards.rpc.messages import (
    AllocateTimestamp,
    Committed,
    Compact,
    CompactionStarted,
    Ddl,
    DdlOnce,
    Flush,
    Flushed,
    Follow,
    GetCompaction,
    ImportCollections,
    Message,
    NewestTimestamp,
    NodeStatus,
    Reply,
    ReportDamage,
    StatusReply,
    TimestampReply,
    Write,
)
from mishards.rpc.protocol import CallContext
from mishards.storage.protocol import ObjectStore
from mishards.writer.admission import check_write
from mishards.writer.build_job import Builder
from mishards.writer.build_process import SubprocessBuilder
from mishards.writer.config import WriterConfig
from mishards.writer.ddl import DDL_RULES
from mishards.writer.ddl_imports import newest_imported
from mishards.writer.ddl_once import ddl_once
from mishards.writer.leading import Leading
from mishards.writer.measures import WriterMeasures
from mishards.writer.readings import ReignReadings
from mishards.writer.standby import Standby
from mishards.writer.takeover import take_leadership

_log = logging.getLogger(__name__)
_MOST_TIMESTAMPS = 1 << 18

Method = Callable[[Leading, Any], Awaitable[Reply]]


class Writer:
    """Leader of one log. All methods: from the loop's thread, but `handle_now`."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        store: ObjectStore,
        metadata: MetadataStore,
        publisher: LogPublisher,
        node_id: NodeId,
        log_id: LogId = DDL_LOG,
        builder: Builder | None = None,
        *,
        peers: Peers | None = None,
        unrivalled: bool = False,
        elected_s: Callable[[], float] = lambda: -math.inf,
        measures: WriterMeasures | None = None,
    ) -> None:
        """A writer that leads nothing yet.

        Args:
            publisher: closed with the writer.
            builder: None builds indexes and merges segments in processes of their own.
            peers: are asked what they still read before anything is removed.
            unrivalled: something else keeps other writers away from the log, so what this one
                remembers is the newest there is.
            measures: what it measures itself with.
            elected_s: when it was last certain that nobody else was elected, on the monotonic
                clock.
        """
        self._measures = measures or WriterMeasures(clock=runtime.monotonic_s)
        self._tell = ReignReadings(config, log_id)
        self._runtime = runtime
        self._config = config
        self._store = store
        self._metadata = metadata
        self._publisher = publisher
        self._node_id = node_id
        self._log_id = log_id
        self._unrivalled = unrivalled
        self._elected_s = elected_s
        self._log = LogStore(store, log_id)
        self._builder = builder or SubprocessBuilder()
        self._peers = peers
        self._leading: Leading | None = None
        self._refusal: MishardsError | None = NotReady(f"writer {node_id!r} has not started")
        self._fenced = asyncio.Event()
        self._traces = PeerTraces(runtime.now_ns, node_id)
        self._calls = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._methods: dict[type[Any], Method] = {
            Write: _write,
            NewestTimestamp: _newest_timestamp,
            AllocateTimestamp: _allocate,
            Flush: _flush,
            ReportDamage: _report_damage,
            Compact: _compact,
            GetCompaction: _get_compaction,
            **dict.fromkeys(get_args(Ddl), _ddl),
            ImportCollections: _import,
            DdlOnce: _ddl_once,
        }

    @property
    def leads(self) -> bool:
        """Whether it leads the log and takes calls."""
        return self._refusal is None

    @property
    def epoch(self) -> Epoch:
        """Of its reign; 0 before that has begun."""
        return Epoch(0) if self._leading is None else self._leading.epoch

    @property
    def refusal(self) -> MishardsError:
        """Why calls are refused, where they are."""
        return self._refusal or NotReady(f"writer {self._node_id!r} has not started")

    async def start(self, standby: Standby | None = None) -> None:
        """Take leadership and find again all that was acknowledged.

        Args:
            standby: what was read of the log already; it is not to be used again.

        Raises:
            Fenced: another node took the log at the same time.
            CorruptObject: the log is damaged; names the object.
            StorageError, MetadataUnavailable: start again later.
        """
        if standby is None:
            standby = Standby(self._runtime, self._config, self._log, self._log_id, self._metadata)
        reign = await take_leadership(
            self._runtime,
            self._config,
            self._log,
            self._log_id,
            self._metadata,
            self._node_id,
            standby,
        )
        leading = Leading(
            self._runtime,
            self._config,
            self._store,
            self._metadata,
            self._publisher,
            self._log,
            self._log_id,
            reign,
            self._builder,
            self.step_down,
            self._elected_s,
            self._measures,
            self._peers,
        )
        await leading.begin(self._node_id)
        self._leading = leading
        self._refusal = None

    async def close(self) -> None:
        """Refuse new calls, finish those in flight, end what runs in the background."""
        if self._refusal is None:
            self._refusal = NotReady(f"writer {self._node_id!r} is closing")
        await self._quiet.wait()
        if not isinstance(self._refusal, NotLeader):
            self._refusal = NotLeader(f"writer {self._node_id!r} is closed")
        if self._leading is not None:
            self._leading.stop(self._refusal)
            self._publisher.close(self._refusal)
            await self._leading.ended()

    async def retire(self, reason: NotLeader) -> None:
        """End the reign for a successor: what is being written becomes durable, all else is
        refused with `reason`, to be asked again of the successor."""
        self._refusal = reason
        if self._leading is not None:
            self._leading.flusher.refuse_all(reason)
        await self._quiet.wait()
        self._fenced.set()
        await self.close()

    async def wait_fenced(self) -> None:
        """Return once another leader took over, or leading became impossible."""
        await self._fenced.wait()

    async def handle(self, message: Message, context: CallContext) -> Reply:
        if isinstance(message, NodeStatus):
            return self.status()
        if (method := self._methods.get(type(message))) is None:
            raise Unimplemented(f"a writer does not answer {type(message).__name__}")
        leading = self._serving()
        self._calls += 1
        self._quiet.clear()
        try:
            if isinstance(message, Write):
                return await _write(
                    leading, message, self._traces.begin("write", context.traceparent)
                )
            return await method(leading, message)
        finally:
            self._calls -= 1
            if not self._calls:
                self._quiet.set()

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        leading = self._leading
        if leading is None or self._refusal is not None or not self._unrivalled:
            return None
        if not isinstance(message, NewestTimestamp):
            return None
        return TimestampReply(timestamp=leading.newest)

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        if not isinstance(message, Follow):
            raise Unimplemented(f"a writer does not stream {type(message).__name__}")
        self._serving()
        return self._publisher.stream(message, self._log, self._metadata)

    def readings(self) -> Iterator[Reading]:
        """What metrics say of the reign, but for what is measured while it works."""
        if self._leading is not None and self.leads:
            yield from self._tell.read(self._leading)

    def status(self) -> StatusReply:
        """How the writer is, whether it leads or not."""
        leading = self._leading
        if leading is None:
            return StatusReply(node=self._node_id, roles=("writer",), version=MetadataVersion(0))
        growing = leading.growing.collections()
        return StatusReply(
            node=self._node_id,
            roles=("writer",),
            version=leading.catalog.snapshot.version,
            applied_seq={self._log_id: EntrySeq(leading.commit.next_seq - 1)},
            applied_ts={self._log_id: leading.newest},
            epoch={self._log_id: leading.epoch},
            growing_rows={one: state.rows for one, state in growing.items()},
            details={f"log {self._log_id}": "led" if self.leads else self.refusal.message},
        )

    def _serving(self) -> Leading:
        """Raises: NotLeader, NotReady."""
        if self._refusal is not None or self._leading is None:
            raise type(self.refusal)(self.refusal.message)
        return self._leading

    def step_down(self, error: MishardsError) -> None:
        """End the reign at once: another leads, or leading has become impossible."""
        if self._fenced.is_set():
            return
        _log.warning("writer %s steps down: %s", self._node_id, error)
        self._refusal = NotLeader(f"writer {self._node_id!r} stepped down: {error.message}")
        self._fenced.set()
        self._publisher.close(self._refusal)
        if self._leading is not None:
            self._leading.stop(self._refusal)


async def _write(leading: Leading, message: Write, recorder: Recorder | None = None) -> Reply:
    try:
        return await _written(leading, message, recorder)
    except MishardsError as error:
        leading.measures.refused(error)
        raise


async def _written(leading: Leading, message: Write, recorder: Recorder | None) -> Reply:
    if recorder is not None:
        recorder.begin("check_write")
    await leading.catalog.reach(message.version)
    check_write(leading.catalog.snapshot, message)
    if recorder is None:
        return await leading.commit.write(message)
    recorder.leave()
    written = await leading.commit.write(message, recorder)
    # The answer is remembered for those who repeat the write: theirs has no trace.
    return msgspec.structs.replace(written, trace=recorder.given_back())


async def _newest_timestamp(leading: Leading, message: NewestTimestamp) -> Reply:
    return TimestampReply(timestamp=await leading.confirmed_newest())


async def _allocate(leading: Leading, message: AllocateTimestamp) -> Reply:
    if not 1 <= message.count <= _MOST_TIMESTAMPS:
        raise InvalidParameter(
            f"invalid number of timestamps {message.count}: from 1 to {_MOST_TIMESTAMPS} is allowed"
        )
    first = leading.allocator.allocate(message.count)
    await leading.commit.cover(Timestamp(first + message.count - 1))
    return TimestampReply(timestamp=first)


async def _flush(leading: Leading, message: Flush) -> Reply:
    await leading.catalog.reach(message.version)
    timestamp = leading.newest
    segments = {one: await leading.flusher.flush(one) for one in message.collections}
    version = leading.catalog.snapshot.version
    return Flushed(segments=segments, timestamp=timestamp, version=version)


async def _compact(leading: Leading, message: Compact) -> Reply:
    await leading.catalog.reach(message.version)
    if message.collection not in leading.catalog.snapshot.collections:
        raise CollectionNotFound(f"collection not found[collection={message.collection}]")
    return CompactionStarted(
        id=await leading.compactor.request(
            message.collection,
            deletes_only=message.deletes_only,
            target_bytes=message.target_bytes,
        )
    )


async def _get_compaction(leading: Leading, message: GetCompaction) -> Reply:
    return leading.compactor.status(message.id)


async def _report_damage(leading: Leading, message: ReportDamage) -> Reply:
    return await leading.damage.report(message)


async def _ddl(leading: Leading, message: Any) -> Reply:
    rule, fresh = DDL_RULES[type(message)], leading.allocator.allocate
    version = await leading.catalog.commit(lambda snapshot: rule(snapshot, message, fresh))
    return Committed(version=version)


async def _ddl_once(leading: Leading, message: DdlOnce) -> Reply:
    await leading.catalog.reach(message.version)
    fresh = leading.allocator.allocate
    version = await leading.catalog.commit(lambda snapshot: ddl_once(snapshot, message, fresh))
    return Committed(version=version)


async def _import(leading: Leading, message: ImportCollections) -> Reply:
    # A read at the newest acknowledged timestamp is to see all that is imported.
    if newest_imported(message) > leading.newest:
        await leading.commit.reach(newest_imported(message))
    return await _ddl(leading, message)
