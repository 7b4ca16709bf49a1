"""The writer: takes leadership of a log, then answers writes, flushes and DDL until it is closed or
fenced.

Invariants: it acknowledges nothing before `start` has returned, nor after it was fenced; once
fenced it stays so, and every call but `NodeStatus` raises `NotLeader`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, get_args

from mishards.cluster.publishing import LogPublisher
from mishards.core.errors import (
    InvalidParameter,
    MishardsError,
    NotLeader,
    NotReady,
    Unimplemented,
)
from mishards.core.ids import EntrySeq, LogId, MetadataVersion, NodeId
from mishards.core.runtime import Runtime
from mishards.log.store import LogStore
from mishards.metadata.protocol import MetadataStore
from mishards.rpc.messages import (
    AllocateTimestamp,
    Committed,
    Ddl,
    Flush,
    Flushed,
    Follow,
    Message,
    NewestTimestamp,
    NodeStatus,
    Reply,
    StatusReply,
    TimestampReply,
    Write,
)
from mishards.rpc.protocol import CallContext
from mishards.storage.protocol import ObjectStore
from mishards.writer.admission import check_write
from mishards.writer.build_job import IndexBuilder
from mishards.writer.build_process import SubprocessBuilder
from mishards.writer.config import WriterConfig
from mishards.writer.ddl import DDL_RULES
from mishards.writer.leading import Leading
from mishards.writer.takeover import take_leadership

_log = logging.getLogger(__name__)
_MOST_TIMESTAMPS = 1 << 18
_FIRST_LOG = LogId(0)

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
        log_id: LogId = _FIRST_LOG,
        builder: IndexBuilder | None = None,
    ) -> None:
        """`publisher` is closed with the writer; `builder` None builds indexes in processes of
        their own."""
        self._runtime = runtime
        self._config = config
        self._store = store
        self._metadata = metadata
        self._publisher = publisher
        self._node_id = node_id
        self._log_id = log_id
        self._log = LogStore(store, log_id)
        self._builder = builder or SubprocessBuilder()
        self._leading: Leading | None = None
        self._refusal: MishardsError | None = NotReady(f"writer {node_id!r} has not started")
        self._fenced = asyncio.Event()
        self._calls = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._methods: dict[type[Any], Method] = {
            Write: _write,
            NewestTimestamp: _newest_timestamp,
            AllocateTimestamp: _allocate,
            Flush: _flush,
            **dict.fromkeys(get_args(Ddl), _ddl),
        }

    @property
    def leads(self) -> bool:
        """Whether it leads the log and takes calls."""
        return self._refusal is None

    async def start(self) -> None:
        """Take leadership and find again all that was acknowledged.

        Raises:
            Fenced: another node took the log at the same time.
            CorruptObject: the log is damaged; names the object.
            StorageError, MetadataUnavailable: start again later.
        """
        reign = await take_leadership(
            self._runtime, self._config, self._log, self._log_id, self._metadata, self._node_id
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
            self._step_down,
        )
        await leading.begin(self._node_id)
        self._leading = leading
        self._refusal = None

    async def close(self) -> None:
        """Refuse new calls, finish those in flight, end what runs in the background."""
        if self._refusal is None:
            self._refusal = NotReady(f"writer {self._node_id!r} is closing")
        await self._quiet.wait()
        self._refusal = NotLeader(f"writer {self._node_id!r} is closed")
        if self._leading is not None:
            self._leading.stop(self._refusal)
            self._publisher.close(self._refusal)
            await self._leading.ended()

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
            return await method(leading, message)
        finally:
            self._calls -= 1
            if not self._calls:
                self._quiet.set()

    def handle_now(self, message: Message) -> Reply | None:
        leading = self._leading
        if leading is None or self._refusal is not None or not isinstance(message, NewestTimestamp):
            return None
        return TimestampReply(timestamp=leading.newest)

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        if not isinstance(message, Follow):
            raise Unimplemented(f"a writer does not stream {type(message).__name__}")
        self._serving()
        return self._publisher.stream(message, self._log, self._metadata)

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
            details={} if self._refusal is None else {"refuses": self._refusal.message},
        )

    def _serving(self) -> Leading:
        """Raises: NotLeader, NotReady."""
        if self._refusal is not None or self._leading is None:
            error = self._refusal or NotReady(f"writer {self._node_id!r} has not started")
            raise type(error)(error.message)
        return self._leading

    def _step_down(self, error: MishardsError) -> None:
        if self._fenced.is_set():
            return
        _log.error("writer %s steps down: %s", self._node_id, error)
        self._refusal = NotLeader(f"writer {self._node_id!r} stepped down: {error.message}")
        self._fenced.set()
        self._publisher.close(self._refusal)
        if self._leading is not None:
            self._leading.stop(self._refusal)


async def _write(leading: Leading, message: Write) -> Reply:
    check_write(leading.catalog.snapshot, message)
    return await leading.commit.write(message)


async def _newest_timestamp(leading: Leading, message: NewestTimestamp) -> Reply:
    return TimestampReply(timestamp=leading.newest)


async def _allocate(leading: Leading, message: AllocateTimestamp) -> Reply:
    if not 1 <= message.count <= _MOST_TIMESTAMPS:
        raise InvalidParameter(
            f"invalid number of timestamps {message.count}: from 1 to {_MOST_TIMESTAMPS} is allowed"
        )
    return TimestampReply(timestamp=leading.allocator.allocate(message.count))


async def _flush(leading: Leading, message: Flush) -> Reply:
    timestamp = leading.newest
    segments = {one: await leading.flusher.flush(one) for one in message.collections}
    version = leading.catalog.snapshot.version
    return Flushed(segments=segments, timestamp=timestamp, version=version)


async def _ddl(leading: Leading, message: Any) -> Reply:
    rule, fresh = DDL_RULES[type(message)], leading.allocator.allocate
    version = await leading.catalog.commit(lambda snapshot: rule(snapshot, message, fresh))
    return Committed(version=version)
