"""Taking leadership of a log.

Invariants: the log was read to its end, and the entry that begins the new epoch stands right
behind what was read, before anything is led; never where entries were trimmed. No older leader can
add to log or metadata after that. Every timestamp given from then on is greater than all in log and
metadata.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from mishards.core.errors import Fenced, MetadataConflict, ObjectExists
from mishards.core.ids import EntrySeq, Epoch, LogId, NodeId, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.timestamps import TimestampAllocator
from mishards.log.entry import Entry
from mishards.log.store import LogStore
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.writer.config import WriterConfig
from mishards.writer.growing import Growing
from mishards.writer.standby import Standby
from mishards.writer.tokens import LogTail, TokenWindow

_log = logging.getLogger(__name__)
_MOST_ATTEMPTS = 1000
_UNSEEN_PAUSE_S = 0.05


class Reign(msgspec.Struct, frozen=True, kw_only=True):
    """What a new leader begins with.

    Attributes:
        fences: the entry that begins the epoch, the torn ones before it, and the last of before.
        timestamp: of the newest entry.
        ceiling: timestamps up to this may be given away.
    """

    epoch: Epoch
    next_seq: EntrySeq
    fences: tuple[EntrySeq, ...]
    timestamp: Timestamp
    ceiling: Timestamp
    snapshot: MetadataSnapshot
    allocator: TimestampAllocator
    growing: Growing
    tokens: TokenWindow
    tail: LogTail


async def take_leadership(
    runtime: Runtime,
    config: WriterConfig,
    log: LogStore,
    log_id: LogId,
    metadata: MetadataStore,
    node_id: NodeId,
    standby: Standby,
) -> Reign:
    """Read the log to its end, then begin a new epoch in metadata and log.

    Args:
        standby: what was read of the log already; not to be used again, whatever comes of this.

    Raises:
        Fenced: another node began an equal or higher epoch meanwhile.
        CorruptObject: the log is damaged before its end; names the object.
        StorageError, MetadataUnavailable: try again; nothing is led.
    """
    await standby.keep_up()
    epoch = Epoch(max(standby.replay.epoch, await metadata.epoch(log_id)) + 1)
    try:
        await metadata.begin_epoch(log_id, epoch)
    except MetadataConflict as error:
        raise Fenced(f"log {log_id} was taken by another leader: {error.message}") from error
    # From here on no older leader can commit metadata: what is read now is the last of its words.
    standby.apply(await metadata.changes(standby.snapshot.version))
    if standby.is_overtaken:
        # Where reading stopped the place is free, but it is not the end of the log.
        await standby.keep_up()
    begun = await _begin(runtime, config, log, log_id, standby, epoch, node_id)
    standby.settle()
    replay = standby.replay
    _log.info("epoch %d of log %d begins before entry %d", epoch, log_id, replay.next_seq)
    return Reign(
        epoch=epoch,
        next_seq=replay.next_seq,
        fences=(EntrySeq(begun.seq - len(begun.skips) - 1), *begun.skips, begun.seq),
        timestamp=replay.timestamp,
        ceiling=begun.ceiling,
        snapshot=standby.snapshot,
        allocator=TimestampAllocator(runtime.now_ms, begun.timestamp),
        growing=replay.growing,
        tokens=replay.tokens,
        tail=replay.tail,
    )


async def _begin(
    runtime: Runtime,
    config: WriterConfig,
    log: LogStore,
    log_id: LogId,
    standby: Standby,
    epoch: Epoch,
    node_id: NodeId,
) -> Entry:
    """Append the entry that begins the epoch, reading on where another came first."""
    replay = standby.replay
    newest = max(newest_ids(standby.snapshot), default=0)
    for _ in range(_MOST_ATTEMPTS):
        allocator = TimestampAllocator(runtime.now_ms, Timestamp(max(replay.floor, newest)))
        try:
            seq, skips = await log.next_free(EntrySeq(replay.next_seq - 1))
            entry = Entry(
                log_id=log_id,
                seq=seq,
                epoch=epoch,
                timestamp=allocator.allocate(),
                leader=node_id,
                skips=skips,
                ceiling=allocator.ceiling(config.ceiling_ms),
            )
            raw = await log.append(entry)
        except ObjectExists:
            first = replay.next_seq
            await standby.read_log()
            if replay.epoch >= epoch:
                raise Fenced(
                    f"epoch {replay.epoch} began in log {log_id} between entries {first} "
                    f"and {replay.next_seq - 1}, while {node_id!r} began epoch {epoch}"
                ) from None
            if replay.next_seq == first:
                # The place is taken by what this machine's mount does not show yet.
                await runtime.sleep(_UNSEEN_PAUSE_S)
        else:
            replay.take(entry, len(raw), runtime.monotonic_s())
            return entry
    raise Fenced(f"log {log_id} is being written by another leader without a pause")


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
    yield from snapshot.ddls.values()
