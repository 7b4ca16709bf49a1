"""The growing mutations of a backup: read from the log, cut exactly, kept per collection.

Invariants: a collection's parts hold its mutations with timestamps after its checkpoint and up to
the cut, in the log's order, and nothing of other collections. A part has the form of a log entry,
so every bit of it is under a checksum.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from mishards.backup.copying import check
from mishards.backup.flow import Flow
from mishards.backup.manifest import CollectionBackup, LogCut, TailPart
from mishards.backup.moment import Moment
from mishards.backup.target import tail_key
from mishards.core.checksum import crc32
from mishards.core.ids import CollectionId, EntrySeq, Epoch, LogId
from mishards.log.entry import Entry, Mutation, decode_entry, encode_entry
from mishards.log.store import LogStore
from mishards.segments.manifest import FileInfo
from mishards.storage.protocol import ObjectStore

_PART_BYTES = 16 << 20


class _Part:
    """What goes into the next part of a collection."""

    def __init__(self) -> None:
        self.number = 1
        self.size_bytes = 0
        self.mutations: list[Mutation] = []

    def add(self, mutation: Mutation) -> None:
        self.mutations.append(mutation)
        self.size_bytes += len(mutation.rows) + len(mutation.keys)


class TailWriter:
    """Copies growing mutations into a backup under the prefix of one run."""

    def __init__(self, source: ObjectStore, target: ObjectStore, flow: Flow) -> None:
        self._source = source
        self._target = target
        self._flow = flow

    async def copy(
        self, moment: Moment, name: str, run: str
    ) -> dict[CollectionId, tuple[TailPart, ...]]:
        """Copy what is growing at `moment`; the parts of each collection, in order.

        Raises:
            ObjectNotFound: the log was trimmed meanwhile; names the entry.
            CorruptObject: an entry is damaged; names it.
            StorageError, DiskFull: one of the stores failed.
        """
        found: dict[CollectionId, list[TailPart]] = {view.id: [] for view in moment.views}
        for cut in moment.cuts:
            views = {view.id: view for view in moment.views if view.meta.log_id == cut.log_id}
            parts = {collection_id: _Part() for collection_id in views}
            async for mutation in self._mutations(moment, cut):
                view = views.get(mutation.collection)
                if view is None or mutation.timestamp <= view.meta.checkpoint:
                    continue
                part = parts[view.id]
                part.add(mutation)
                if part.size_bytes >= _PART_BYTES:
                    found[view.id].append(await self._put(view.id, part, name, run))
            for collection_id, part in parts.items():
                if part.mutations:
                    found[collection_id].append(await self._put(collection_id, part, name, run))
        return {collection_id: tuple(parts) for collection_id, parts in found.items()}

    async def _mutations(self, moment: Moment, cut: LogCut) -> AsyncIterator[Mutation]:
        """All that the log holds from where something may be growing, up to the cut."""
        log = LogStore(self._source, cut.log_id)
        entries = log.read_from(moment.replay_from(cut.log_id))
        async with aclosing(cast("Any", entries)) as found:
            async for entry, _ in found:
                if entry.seq > cut.seq:
                    return
                for mutation in entry.mutations:
                    yield mutation

    async def _put(self, collection_id: CollectionId, part: _Part, name: str, run: str) -> TailPart:
        data = encode_entry(
            Entry(
                log_id=LogId(0),
                seq=EntrySeq(part.number),
                epoch=Epoch(0),
                timestamp=part.mutations[-1].timestamp,
                mutations=tuple(part.mutations),
            )
        )
        key = tail_key(name, run, collection_id, part.number)
        await self._flow.take(len(data))
        await self._target.put(key, data)
        made = TailPart(
            key=key,
            size_bytes=len(data),
            checksum=crc32(data),
            rows=sum(mutation.row_count for mutation in part.mutations),
            keys=sum(mutation.key_count for mutation in part.mutations),
        )
        part.number, part.size_bytes, part.mutations = part.number + 1, 0, []
        return made


async def read_tail(
    store: ObjectStore, backup: CollectionBackup, flow: Flow
) -> tuple[Mutation, ...]:
    """The growing mutations of a collection, in the log's order.

    Raises:
        ObjectNotFound, CorruptObject: a part is missing or damaged; names it.
    """
    found: list[Mutation] = []
    for part in backup.tail:
        data = await store.get(part.key)
        check(part.key, FileInfo(size_bytes=len(data), checksum=crc32(data)), part.info)
        await flow.take(len(data))
        found += decode_entry(data, part.key).mutations
    return tuple(found)
