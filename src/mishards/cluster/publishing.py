"""The leader's side of `Follow`: entries, metadata changes and the time, to every follower.

Invariants: a follower gets each entry from its position on once and in order, without a gap:
what storage holds when it subscribes, then what is published after that. What is published never
waits for a follower: one that is too far behind is cut off, and starts again from its position.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from mishards.core.errors import MishardsError, NotLeader, Unavailable
from mishards.core.ids import EntrySeq, LogId, MetadataVersion, Timestamp
from mishards.core.runtime import Runtime
from mishards.log.entry import Entry
from mishards.log.store import LogStore
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.rpc.messages import Follow, LogPush, MetadataPush, Reply, Tick

Push = LogPush | MetadataPush | Tick

QUEUE_ITEMS = 1024
QUEUE_BYTES = 128 * 1024 * 1024


class LogPublisher:
    """Fans out one log. All methods: from the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        log_id: LogId,
        *,
        queue_items: int = QUEUE_ITEMS,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        """`queue_items`, `queue_bytes`: how far behind a follower may be."""
        self._runtime = runtime
        self._log_id = log_id
        self._queue_items = queue_items
        self._queue_bytes = queue_bytes
        self._queues: dict[_Queue, None] = {}  # in the order they came, unlike a set
        self._version: MetadataVersion | None = None
        self._tick: Tick | None = None
        self._closed: MishardsError | None = None

    @property
    def followers(self) -> int:
        """How many streams are open."""
        return len(self._queues)

    def publish_entry(self, entry: Entry, raw: bytes) -> None:
        """An entry that is durable; in the order of the log."""
        self._tick = Tick(seq=entry.seq, timestamp=entry.timestamp)
        self._put(LogPush(seq=entry.seq, timestamp=entry.timestamp, entry=raw), len(raw))

    def publish_changes(self, changes: Changes) -> None:
        """A metadata commit; in the order of versions."""
        self._version = changes.version
        self._put(MetadataPush(changes=changes), sum(len(data) for _, data in changes.puts))

    def publish_tick(self, seq: EntrySeq, timestamp: Timestamp) -> None:
        """Every mutation up to `timestamp` is in the entries up to `seq`, all of them published."""
        self._tick = Tick(seq=seq, timestamp=timestamp)
        self._put(self._tick, 0)

    def close(self, error: MishardsError | None = None) -> None:
        """End all streams, the later ones too, with `NotLeader` unless another error is given."""
        self._closed = reason = error or NotLeader(f"the leader of log {self._log_id} stepped down")
        for queue in self._queues:
            queue.end(reason)

    async def stream(
        self, follow: Follow, log: LogStore, metadata: MetadataStore
    ) -> AsyncIterator[Reply]:
        """What `follow` asks for, for ever.

        Raises:
            Unavailable: the follower is too far behind.
            NotLeader: the leader stepped down.
            StorageError, MetadataUnavailable: the backlog cannot be read; retriable.
            CorruptObject: an entry of the backlog is damaged; names it.
        """
        sent = EntrySeq(follow.seq - 1)
        if follow.entries:
            # A long backlog is read before subscribing, so that the queue need not hold
            # what is written meanwhile.
            async with aclosing(cast("Any", _backlog(log, sent))) as backlog:
                async for push in backlog:
                    yield push
                    sent = push.seq
        queue = _Queue(self._queue_items, self._queue_bytes)
        self._queues[queue] = None
        if self._closed is not None:
            queue.end(self._closed)
        try:
            version = follow.version
            if self._version is None or self._version > version:
                changes = await metadata.changes(version)
                if changes.version > version:
                    yield MetadataPush(changes=changes)
                    version = changes.version
            if follow.entries:
                async with aclosing(cast("Any", _backlog(log, sent))) as backlog:
                    async for push in backlog:
                        yield push
                        sent = push.seq
            if self._tick is not None and (self._tick.seq <= sent or not follow.entries):
                yield self._tick
            while True:
                push = await queue.get()
                if isinstance(push, MetadataPush):
                    if push.changes.version > version:
                        yield push
                        version = push.changes.version
                elif not isinstance(push, LogPush):
                    yield push
                elif not follow.entries:
                    yield Tick(seq=push.seq, timestamp=push.timestamp)
                elif push.seq > sent:
                    yield push
                    sent = push.seq
        finally:
            self._queues.pop(queue, None)

    def _put(self, push: Push, size_bytes: int) -> None:
        for queue in self._queues:
            queue.put(push, size_bytes)


async def _backlog(log: LogStore, sent: EntrySeq) -> AsyncIterator[LogPush]:
    """The entries after `sent` that storage holds."""
    async with aclosing(cast("Any", log.read_from(EntrySeq(sent + 1)))) as entries:
        async for entry, raw in entries:
            yield LogPush(seq=entry.seq, timestamp=entry.timestamp, entry=raw)


class _Queue:
    """What waits for one follower; never makes the publisher wait."""

    def __init__(self, most_items: int, most_bytes: int) -> None:
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._pushes: deque[tuple[Push, int]] = deque()
        self._bytes = 0
        self._error: MishardsError | None = None
        self._filled = asyncio.Event()

    def put(self, push: Push, size_bytes: int) -> None:
        if self._error is not None:
            return
        if isinstance(push, Tick) and self._pushes and isinstance(self._pushes[-1][0], Tick):
            self._pushes[-1] = (push, 0)  # the newer tick says all that the older did
            return
        self._pushes.append((push, size_bytes))
        self._bytes += size_bytes
        self._filled.set()
        # One push alone is taken whatever its size.
        if len(self._pushes) > self._most_items or (
            self._bytes > self._most_bytes and len(self._pushes) > 1
        ):
            behind = f"{len(self._pushes)} messages of {self._bytes} bytes behind"
            self.end(Unavailable(f"the follower is {behind}; start again from its position"))

    def end(self, error: MishardsError) -> None:
        self._error = error
        self._pushes.clear()
        self._filled.set()

    async def get(self) -> Push:
        while not self._pushes:
            if self._error is not None:
                raise self._error
            self._filled.clear()
            await self._filled.wait()
        push, size_bytes = self._pushes.popleft()
        self._bytes -= size_bytes
        return push
