"""Group commit: mutations that arrive while an entry is written make up the next one.

Invariants: one entry is in flight at a time; timestamps rise in the order of the log; a mutation
is acknowledged after its entry is durable; no timestamp is given away that a durable entry's
ceiling does not cover. Where the disk was full and nothing is at an entry's place, the log goes on
there: an exclusive create decides. After any other failure it is not known what is durable, and
the reign ends: the next leader reads what is there, and makes it durable with its own entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mishards.core.errors import (
    DiskFull,
    Fenced,
    MishardsError,
    NotLeader,
    ObjectExists,
    StorageError,
    TooManyRequests,
)
from mishards.core.ids import EntrySeq, Epoch, LogId, Timestamp
from mishards.core.timestamps import TimestampAllocator
from mishards.log.entry import Entry, Mutation
from mishards.log.store import LogStore
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.observability.tracing import Recorder
from mishards.rpc.messages import Write, Written
from mishards.writer.admission import check_target
from mishards.writer.config import WriterConfig
from mishards.writer.measures import WriterMeasures
from mishards.writer.pending import GroupTimes, Pending, WriteQueue
from mishards.writer.tokens import TokenWindow
from mishards.writer.waiters import TimestampWaiters

OnDurable = Callable[[Entry, bytes], None]


class GroupCommit:
    """Orders mutations and makes them durable."""

    def __init__(
        self,
        config: WriterConfig,
        log: LogStore,
        log_id: LogId,
        allocator: TimestampAllocator,
        tokens: TokenWindow,
        epoch: Epoch,
        next_seq: EntrySeq,
        ceiling: Timestamp,
        snapshot: Callable[[], MetadataSnapshot],
        on_durable: OnDurable,
        on_fenced: Callable[[MishardsError], None],
        now_ns: Callable[[], int],
        measures: WriterMeasures,
    ) -> None:
        """`on_durable` is told of each entry once, in order, before its writers are."""
        self._now_ns = now_ns
        self.next_seq = next_seq
        self.ceiling = ceiling
        """Timestamps up to this may be given away."""
        self._config = config
        self._log = log
        self._log_id = log_id
        self._allocator = allocator
        self._tokens = tokens
        self._epoch = epoch
        self._snapshot = snapshot
        self._on_durable = on_durable
        self._on_fenced = on_fenced
        self._measures = measures
        self._queue = WriteQueue()
        self._unsure = False
        self._uncovered = TimestampWaiters()
        self._unreached = TimestampWaiters()
        self._wake = asyncio.Event()

    @property
    def queue_bytes(self) -> int:
        """What waits for its entry."""
        return self._queue.size_bytes

    @property
    def is_idle(self) -> bool:
        """Whether every mutation with a timestamp given so far is in an entry before `next_seq`."""
        return self._queue.is_idle and not self._unsure

    def settle(self) -> None:
        """See to it that the place of a failed entry is taken by a later one, or by an empty
        one, so that the failed one can no longer appear there."""
        if self._unsure:
            self._wake.set()

    async def write(self, message: Write, recorder: Recorder | None = None) -> Written:
        """Make a checked mutation durable; once, however often its token comes.

        Args:
            recorder: records what it waited for, where the caller asked for it.

        Raises:
            TooManyRequests: too much is waiting.
            DiskFull: nothing was stored; this writer goes on.
            StorageError: it may or may not have been applied; repeat with its token.
            CollectionNotFound, PartitionNotFound: dropped while it waited.
            NotLeader: this writer does not lead any more.
        """
        if (known := self._tokens.get(message.token)) is not None:
            return known
        pending = self._queue.find(message.token)
        if pending is None:
            pending = self._enqueue(message)
        if recorder is None:
            return await pending.wait()
        queued_ns = self._now_ns()
        try:
            return await pending.wait()
        finally:
            _record(recorder, queued_ns, pending.times)

    async def cover(self, timestamp: Timestamp) -> None:
        """Return once `timestamp`, which was allocated, may be given away.

        Raises:
            StorageError, DiskFull, NotLeader: it must not be.
        """
        if timestamp > self.ceiling:
            covered = self._uncovered.wait(timestamp)
            self._wake.set()
            await covered

    async def reach(self, timestamp: Timestamp) -> None:
        """Make an entry durable that is not before `timestamp`; all that is given is after it.

        Raises:
            StorageError, DiskFull, NotLeader: it is not known to be durable.
        """
        self._allocator.pass_by(timestamp)
        reached = self._unreached.wait(timestamp)
        self._wake.set()
        await reached

    async def run(self) -> None:
        """Write entries until cancelled or fenced."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._is_owing and not len(self._queue):
                await self._write([])
            while group := self._queue.take(self._config.entry_max_bytes):
                await self._write(group)

    @property
    def _is_owing(self) -> bool:
        """Whether an entry is wanted though no mutation is there for it."""
        return self._unsure or bool(self._uncovered) or bool(self._unreached)

    def refuse_all(self, error: MishardsError) -> None:
        self._queue.refuse_all(error)
        self._refuse_waiters(error)

    def _refuse_waiters(self, error: MishardsError) -> None:
        self._uncovered.refuse_all(error)
        self._unreached.refuse_all(error)

    def _enqueue(self, message: Write) -> Pending:
        pending = Pending(message, self._measures.clock())
        waiting = self._queue.size_bytes
        if waiting and waiting + pending.size_bytes > self._config.queue_max_bytes:
            raise TooManyRequests(
                f"{waiting} bytes of mutations are waiting for the log; "
                f"at most {self._config.queue_max_bytes} may"
            )
        self._queue.put(pending)
        self._wake.set()
        return pending

    async def _write(self, group: list[Pending]) -> None:
        """Make one group durable and answer all of it.

        An empty one settles what is unsure, raises the ceiling, and reaches a timestamp.
        """
        times = GroupTimes(self._now_ns(), len(group))
        for pending in group:
            pending.times = times
        try:
            group = [pending for pending in group if self._prepare(pending)]
            taken_s = self._measures.clock()
            for pending in group:
                self._measures.queue.observe(taken_s - pending.since_s)
            while group or self._is_owing:
                entry = self._entry(group)
                raw = await self._store(entry)
                if group:
                    times.appended_ns = self._now_ns()
                    times.seq, times.bytes = entry.seq, len(raw)
                self._adopt(entry, raw)
                if group:
                    times.pushed_ns = self._now_ns()
                for pending in group:
                    self._answer(pending, entry)
                group = []
        except MishardsError as error:
            for pending in group:
                pending.refuse(error)
                self._queue.done(pending)
            self._refuse_waiters(error)
            if isinstance(error, NotLeader | StorageError):
                self._on_fenced(error)

    def _prepare(self, pending: Pending) -> bool:
        """Give a mutation its timestamp; False when its collection is gone meanwhile."""
        message = pending.message
        try:
            view = check_target(self._snapshot(), message)
        except MishardsError as error:
            pending.refuse(error)
            self._queue.done(pending)
            return False
        # Where another log's leader made the collection, its clock may be ahead of this one's.
        self._allocator.pass_by(view.meta.checkpoint)
        auto_ids = message.row_count if view.schema.primary.auto_id else 0
        timestamp = self._allocator.allocate(auto_ids + 1)
        pending.mutation = Mutation(
            token=message.token,
            collection=message.collection,
            partition=message.partition,
            timestamp=timestamp,
            rows=message.rows,
            row_count=message.row_count,
            keys=message.keys,
            key_count=message.key_count,
            auto_id_start=timestamp + 1 if auto_ids else None,
        )
        return True

    def _entry(self, group: list[Pending]) -> Entry:
        return Entry(
            log_id=self._log_id,
            seq=self.next_seq,
            epoch=self._epoch,
            timestamp=self._allocator.last,
            mutations=tuple(p.mutation for p in group if p.mutation is not None),
            ceiling=max(self.ceiling, self._allocator.ceiling(self._config.ceiling_ms)),
        )

    async def _store(self, entry: Entry) -> bytes:
        """Create the entry and give its bytes.

        Raises:
            Fenced: another leader's entry is at its place.
            DiskFull: nothing is at its place as far as can be seen.
            StorageError: it may be there or not, on disk or only on the way.
        """
        self._unsure = True
        clock = self._measures.clock
        began_s = clock()
        try:
            raw = await self._log.append(entry)
        except (ObjectExists, DiskFull) as error:
            await self._look_at(entry.seq, error)
            raise
        self._unsure = False
        self._measures.append.observe(clock() - began_s)
        self._measures.durable(entry, len(raw))
        return raw

    async def _look_at(self, seq: EntrySeq, error: MishardsError) -> None:
        """Raises unless the place of an entry that failed is free."""
        if (found := await self._log.read(seq)) is None:
            return
        if found[0].epoch != self._epoch:
            raise Fenced(
                f"entry {seq} of log {self._log_id} is of epoch {found[0].epoch}; "
                f"this writer's is {self._epoch}"
            )
        raise StorageError(
            f"entry {seq} of log {self._log_id} is there though creating it failed: {error.message}"
        )

    def _adopt(self, entry: Entry, raw: bytes) -> None:
        """Take note of a durable entry."""
        self.next_seq = EntrySeq(entry.seq + 1)
        self.ceiling = max(self.ceiling, entry.ceiling)
        self._uncovered.resolve(self.ceiling)
        for mutation in entry.mutations:
            self._tokens.add(mutation.token, written(entry, mutation))
        self._on_durable(entry, raw)
        self._unreached.resolve(entry.timestamp)

    def _answer(self, pending: Pending, entry: Entry) -> None:
        if pending.mutation is not None:
            pending.resolve(written(entry, pending.mutation))
        self._queue.done(pending)


def _record(recorder: Recorder, queued_ns: int, times: GroupTimes | None) -> None:
    """What a mutation's way into the log was made of."""
    if times is None:
        return
    recorder.add("group_commit_wait", queued_ns, max(queued_ns, times.taken_ns))
    if times.appended_ns:
        recorder.add(
            "append",
            times.taken_ns,
            times.appended_ns,
            entry=times.seq,
            bytes=times.bytes,
            mutations=times.mutations,
        )
    if times.pushed_ns:
        recorder.add("push", times.appended_ns, times.pushed_ns)


def written(entry: Entry, mutation: Mutation) -> Written:
    """The answer to a durable mutation."""
    return Written(
        timestamp=mutation.timestamp, seq=entry.seq, auto_id_start=mutation.auto_id_start
    )
