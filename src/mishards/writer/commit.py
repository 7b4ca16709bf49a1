"""Group commit: mutations that arrive while an entry is written make up the next one.

Invariants: one entry is in flight at a time; timestamps rise in the order of the log; a mutation
is acknowledged after its entry is durable. After a failed append the place may or may not be
taken: what is found there is looked at before anything else goes there, an exclusive create
decides, and an own entry that turns up late is taken over with its tokens before the next one.
An entry of another epoch there means that this writer no longer leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mishards.core.errors import (
    CorruptObject,
    DiskFull,
    Fenced,
    MishardsError,
    NotLeader,
    StorageError,
    TooManyRequests,
)
from mishards.core.ids import EntrySeq, Epoch, LogId
from mishards.core.timestamps import TimestampAllocator
from mishards.log.entry import Entry, Mutation
from mishards.log.store import LogStore
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import Write, Written
from mishards.writer.admission import check_target
from mishards.writer.config import WriterConfig
from mishards.writer.pending import Pending, WriteQueue
from mishards.writer.tokens import TokenWindow

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
        snapshot: Callable[[], MetadataSnapshot],
        on_durable: OnDurable,
        on_fenced: Callable[[MishardsError], None],
    ) -> None:
        """`on_durable` is told of each entry once, in order, before its writers are."""
        self.next_seq = next_seq
        self._config = config
        self._log = log
        self._log_id = log_id
        self._allocator = allocator
        self._tokens = tokens
        self._epoch = epoch
        self._snapshot = snapshot
        self._on_durable = on_durable
        self._on_fenced = on_fenced
        self._queue = WriteQueue()
        self._unsure = False
        self._wake = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether every mutation with a timestamp given so far is in an entry before `next_seq`."""
        return self._queue.is_idle and not self._unsure

    def settle(self) -> None:
        """See to it that the place of a failed entry is taken by a later one, or by an empty
        one, so that the failed one can no longer appear there."""
        if self._unsure:
            self._wake.set()

    async def write(self, message: Write) -> Written:
        """Make a checked mutation durable; once, however often its token comes.

        Raises:
            TooManyRequests: too much is waiting.
            StorageError, DiskFull: it may or may not have been applied; repeat with its token.
            CollectionNotFound, PartitionNotFound: dropped while it waited.
            NotLeader: this writer does not lead any more.
        """
        if (known := self._tokens.get(message.token)) is not None:
            return known
        pending = self._queue.find(message.token)
        if pending is None:
            pending = self._enqueue(message)
        return await pending.wait()

    async def run(self) -> None:
        """Write entries until cancelled or fenced."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._unsure and not len(self._queue):
                await self._write([])
            while group := self._queue.take(self._config.entry_max_bytes):
                await self._write(group)

    def refuse_all(self, error: MishardsError) -> None:
        self._queue.refuse_all(error)

    def _enqueue(self, message: Write) -> Pending:
        pending = Pending(message)
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
        """Make one group durable and answer all of it; an empty one settles what is unsure."""
        try:
            group = [pending for pending in group if self._prepare(pending)]
            while group or self._unsure:
                stored, raw = await self._store(self._entry(group))
                self._unsure = False
                answers = self._adopt(stored, raw)
                group = [pending for pending in group if not self._answer(pending, answers)]
        except MishardsError as error:
            for pending in group:
                pending.refuse(error)
                self._queue.done(pending)
            if isinstance(error, NotLeader | CorruptObject):
                self._on_fenced(error)

    def _prepare(self, pending: Pending) -> bool:
        """Give a mutation its timestamp; False when its collection is gone meanwhile."""
        message = pending.message
        try:
            schema = check_target(self._snapshot(), message).schema
        except MishardsError as error:
            pending.refuse(error)
            self._queue.done(pending)
            return False
        auto_ids = message.row_count if schema.primary.auto_id else 0
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
        )

    async def _store(self, entry: Entry) -> tuple[Entry, bytes]:
        """The entry that now is durable at its place: this one, or an own one of before.

        Raises:
            Fenced: another leader's entry is there.
            StorageError, DiskFull: nothing is known to be there; nothing was acknowledged.
        """
        self._unsure = True
        try:
            return entry, await self._log.append(entry)
        except (StorageError, DiskFull):
            if (found := await self._log.read(entry.seq)) is None:
                raise
        if found[0].epoch != self._epoch:
            raise Fenced(
                f"entry {entry.seq} of log {entry.log_id} is of epoch {found[0].epoch}; "
                f"this writer's is {self._epoch}"
            )
        return found

    def _adopt(self, entry: Entry, raw: bytes) -> dict[bytes, Written]:
        """Take note of a durable entry; gives its answers by token."""
        self.next_seq = EntrySeq(entry.seq + 1)
        answers = {mutation.token: written(entry, mutation) for mutation in entry.mutations}
        for token, answer in answers.items():
            self._tokens.add(token, answer)
        self._on_durable(entry, raw)
        return answers

    def _answer(self, pending: Pending, answers: dict[bytes, Written]) -> bool:
        if (answer := answers.get(pending.message.token)) is None:
            return False
        pending.resolve(answer)
        self._queue.done(pending)
        return True


def written(entry: Entry, mutation: Mutation) -> Written:
    """The answer to a durable mutation."""
    return Written(
        timestamp=mutation.timestamp, seq=entry.seq, auto_id_start=mutation.auto_id_start
    )
