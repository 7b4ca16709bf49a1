"""Taking leadership of a log.

Invariants: the log was read to its end, and the entry that begins the new epoch stands right
behind what was read, before anything is led. No older leader can add to log or metadata after
that. Every timestamp given from then on is greater than all in log and metadata.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from mishards.core.errors import Fenced, MetadataConflict, ObjectExists
from mishards.core.ids import EntrySeq, Epoch, LogId, NodeId, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.timestamps import TimestampAllocator
from mishards.log.entry import Entry, Mutation
from mishards.log.store import LogStore
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.writer.commit import written
from mishards.writer.config import WriterConfig
from mishards.writer.growing import Growing
from mishards.writer.tokens import LogTail, TokenWindow

_log = logging.getLogger(__name__)
_MOST_ATTEMPTS = 1000


class Reign(msgspec.Struct, frozen=True):
    """What a new leader begins with."""

    epoch: Epoch
    next_seq: EntrySeq
    timestamp: Timestamp
    snapshot: MetadataSnapshot
    allocator: TimestampAllocator
    growing: Growing
    tokens: TokenWindow
    tail: LogTail


class _Replay:
    """What was read of the log so far."""

    def __init__(self, config: WriterConfig, first: EntrySeq) -> None:
        self.next_seq = first
        self.epoch = Epoch(0)
        self.timestamp = Timestamp(0)
        self.mutations: list[tuple[EntrySeq, Mutation]] = []
        self.tokens = TokenWindow(config.token_window)
        self.tail = LogTail(config.replay_tail_bytes)

    def take(self, entry: Entry, size_bytes: int) -> None:
        self.next_seq = EntrySeq(entry.seq + 1)
        self.epoch = max(self.epoch, entry.epoch)
        self.timestamp = max(self.timestamp, entry.timestamp)
        self.tail.add(entry.seq, size_bytes)
        for mutation in entry.mutations:
            self.mutations.append((entry.seq, mutation))
            self.tokens.add(mutation.token, written(entry, mutation))


async def take_leadership(
    runtime: Runtime,
    config: WriterConfig,
    log: LogStore,
    log_id: LogId,
    metadata: MetadataStore,
    node_id: NodeId,
) -> Reign:
    """Replay the log, then begin a new epoch in metadata and log.

    Raises:
        Fenced: another node began an equal or higher epoch meanwhile.
        CorruptObject: the log is damaged before its end; names the object.
        StorageError, MetadataUnavailable: try again; nothing is led.
    """
    snapshot = MetadataSnapshot.empty()
    snapshot = snapshot.apply(await metadata.changes(snapshot.version))
    meta = snapshot.logs.get(log_id)
    replay = _Replay(config, EntrySeq(1) if meta is None else meta.replay_from)
    await _read_on(log, replay)
    epoch = Epoch(max(replay.epoch, await metadata.epoch(log_id)) + 1)
    try:
        await metadata.begin_epoch(log_id, epoch)
    except MetadataConflict as error:
        raise Fenced(f"log {log_id} was taken by another leader: {error.message}") from error
    # From here on no older leader can commit metadata: what is read now is the last of its words.
    snapshot = snapshot.apply(await metadata.changes(snapshot.version))
    allocator = await _begin(runtime, log, log_id, replay, epoch, node_id, snapshot)
    growing = Growing()
    now_s = runtime.monotonic_s()
    for seq, mutation in replay.mutations:
        view = snapshot.collections.get(mutation.collection)
        if view is not None and mutation.timestamp > view.meta.checkpoint:
            growing.add(seq, mutation, now_s)
    _log.info("epoch %d of log %d begins before entry %d", epoch, log_id, replay.next_seq)
    return Reign(
        epoch,
        replay.next_seq,
        replay.timestamp,
        snapshot,
        allocator,
        growing,
        replay.tokens,
        replay.tail,
    )


async def _begin(
    runtime: Runtime,
    log: LogStore,
    log_id: LogId,
    replay: _Replay,
    epoch: Epoch,
    node_id: NodeId,
    snapshot: MetadataSnapshot,
) -> TimestampAllocator:
    """Append the entry that begins the epoch, reading on where another came first."""
    newest = max(newest_ids(snapshot), default=0)
    for _ in range(_MOST_ATTEMPTS):
        floor = Timestamp(max(replay.timestamp, newest))
        allocator = TimestampAllocator(runtime.now_ms, floor)
        try:
            seq, skips = await log.next_free(EntrySeq(replay.next_seq - 1))
            entry = Entry(
                log_id=log_id,
                seq=seq,
                epoch=epoch,
                timestamp=allocator.allocate(),
                leader=node_id,
                skips=skips,
            )
            raw = await log.append(entry)
        except ObjectExists:
            first = replay.next_seq
            await _read_on(log, replay)
            if replay.epoch >= epoch:
                raise Fenced(
                    f"epoch {replay.epoch} began in log {log_id} between entries {first} "
                    f"and {replay.next_seq - 1}, while {node_id!r} began epoch {epoch}"
                ) from None
        else:
            replay.take(entry, len(raw))
            return allocator
    raise Fenced(f"log {log_id} is being written by another leader without a pause")


async def _read_on(log: LogStore, replay: _Replay) -> None:
    async for entry, raw in log.read_from(replay.next_seq):
        replay.take(entry, len(raw))


def newest_ids(snapshot: MetadataSnapshot) -> Iterator[int]:
    """Every timestamp in the metadata that a new one has to be greater than."""
    for database in snapshot.databases.values():
        yield database.id
    for view in snapshot.collections.values():
        meta = view.meta
        yield from (meta.id, meta.created, meta.updated, meta.checkpoint)
        yield from (partition.id for partition in meta.partitions)
        yield from (index.id for index in meta.indexes)
        for segment in view.segments.values():
            yield from (segment.id, segment.max_ts)
