"""The state a backup holds: a metadata snapshot, and for each log a timestamp to cut it at.

Invariants: the end of a log on storage says how far its acknowledged mutations go, with a leader
or without one. It is read after the snapshot, so no checkpoint that a flush made is beyond the cut;
and nothing but flushes, compactions and index builds came between the two, so there was a moment
at which exactly the mutations up to the cut were in these collections.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from mishards.backup.manifest import LogCut
from mishards.core.errors import MetadataConflict, ObjectNotFound
from mishards.core.ids import CollectionId, EntrySeq, LogId, MetadataVersion, Timestamp
from mishards.core.runtime import Runtime
from mishards.log.entry import TornEntry
from mishards.log.store import LogStore
from mishards.metadata.models import CollectionMeta, LogMeta
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.storage.protocol import ObjectStore

_MOST_ATTEMPTS = 50
_PAUSE_S = 0.05


class Moment(msgspec.Struct, frozen=True):
    """What to copy: `views` as of `snapshot`, and their logs up to the cuts."""

    snapshot: MetadataSnapshot
    views: tuple[CollectionView, ...]
    cuts: tuple[LogCut, ...]

    def replay_from(self, log_id: LogId) -> EntrySeq:
        """The first entry that may hold something not yet sealed."""
        return self.snapshot.logs.get(log_id, LogMeta(id=log_id)).replay_from


async def consistent_moment(
    runtime: Runtime, store: ObjectStore, metadata: MetadataStore, names: Sequence[str]
) -> Moment:
    """A moment of the collections `names`, each `name` or `database.name`; of all when empty.

    Raises:
        DatabaseNotFound, CollectionNotFound: names what is missing.
        MetadataConflict: collections are being changed without a pause.
        MetadataUnavailable, StorageError: try again.
        CorruptObject: the end of a log is damaged; names the object.
    """
    snapshot = await _newest(metadata, MetadataSnapshot.empty())
    for _ in range(_MOST_ATTEMPTS):
        views = chosen(snapshot, names)
        logs = sorted({view.meta.log_id for view in views})
        cuts = [await _cut(store, log_id, snapshot, views) for log_id in logs]
        newer = await _newest(metadata, snapshot)
        if _definitions(chosen(newer, names)) == _definitions(views):
            return Moment(snapshot, views, tuple(cuts))
        snapshot = newer
        await runtime.sleep(_PAUSE_S)
    raise MetadataConflict(
        f"collections were created, changed or dropped during each of {_MOST_ATTEMPTS} attempts "
        "to find a moment at which none was"
    )


def chosen(snapshot: MetadataSnapshot, names: Sequence[str]) -> tuple[CollectionView, ...]:
    """The collections of these names, each once; all when there are none.

    Raises:
        DatabaseNotFound, CollectionNotFound.
    """
    found = snapshot.collections if not names else _resolved(snapshot, names)
    return tuple(found[collection_id] for collection_id in sorted(found))


def split_name(full: str) -> tuple[str, str]:
    """Database (empty for the default one) and collection of `name` or `database.name`."""
    database, _, name = full.rpartition(".")
    return database, name


def _resolved(
    snapshot: MetadataSnapshot, names: Iterable[str]
) -> dict[CollectionId, CollectionView]:
    views = [snapshot.resolve(*split_name(name)) for name in names]
    return {view.id: view for view in views}


async def _newest(metadata: MetadataStore, snapshot: MetadataSnapshot) -> MetadataSnapshot:
    return snapshot.apply(await metadata.changes(MetadataVersion(snapshot.version)))


def _definitions(views: Iterable[CollectionView]) -> dict[CollectionId, CollectionMeta]:
    """What DDL changes; a flush changes it too, and then looking again costs little."""
    return {view.id: view.meta for view in views}


async def _cut(
    store: ObjectStore, log_id: LogId, snapshot: MetadataSnapshot, views: Sequence[CollectionView]
) -> LogCut:
    """The last intact entry of a log."""
    log = LogStore(store, log_id)
    first = snapshot.logs.get(log_id, LogMeta(id=log_id)).replay_from
    seq = await log.last_seq(first)
    # All that entries before the first held is sealed: one of them tells the time at most.
    while seq >= max(1, first - 1):
        try:
            found = await log.read(seq)
        except TornEntry:
            seq = EntrySeq(seq - 1)
            continue
        if found is not None:
            return LogCut(log_id=log_id, seq=seq, timestamp=found[0].timestamp)
        if seq >= first:
            raise ObjectNotFound(f"log entry {log.key(seq)!r} is gone, though it was listed")
        break
    return LogCut(log_id=log_id, seq=seq, timestamp=_newest_sealed(views, log_id))


def _newest_sealed(views: Iterable[CollectionView], log_id: LogId) -> Timestamp:
    found = [Timestamp(0)]
    for view in views:
        if view.meta.log_id == log_id:
            found += [segment.max_ts for segment in view.segments.values()]
            found += [file.max_ts for file in view.meta.deletes]
    return max(found)
