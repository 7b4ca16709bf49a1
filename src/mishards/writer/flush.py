"""Flush: growing mutations become sealed segments and files of deletes.

Invariants: everything up to the cut is durable in the log when the flush begins; the files are on
storage before the metadata names them; one commit names segments, deletes and the new checkpoint,
so a snapshot has each row exactly once. One collection is flushed at a time; who asks for a flush
that has already begun waits for the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from mishards.core.errors import (
    CollectionNotFound,
    MetadataConflict,
    MishardsError,
    NotReady,
)
from mishards.core.ids import CollectionId, EntrySeq, LogId, SegmentId, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.timestamps import TimestampAllocator
from mishards.log.entry import Mutation
from mishards.metadata.models import DeleteFile, LogMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.segments.layout import deletes_key, segment_files, segment_key
from mishards.storage.protocol import ObjectStore
from mishards.writer.catalog import Catalog
from mishards.writer.config import WriterConfig
from mishards.writer.construction import Construction
from mishards.writer.edit import NOTHING, Edit
from mishards.writer.growing import Growing, GrowingCollection
from mishards.writer.measures import WriterMeasures
from mishards.writer.scratch import scratch_folder
from mishards.writer.sealing import Sealed, SealPlan, ids_needed, seal

_log = logging.getLogger(__name__)
_MOST_PAUSE_S = 60.0

Segments = tuple[SegmentId, ...]
Waiter = asyncio.Future[Segments]


class LogPosition(msgspec.Struct, frozen=True):
    """Where the log stands.

    Attributes:
        timestamp: of the last durable entry.
        keep_from: an entry that a start is to read again, whatever is sealed.
    """

    timestamp: Timestamp
    keep_from: EntrySeq


class Flusher:
    """Seals collections, on request and when they have grown or aged."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        store: ObjectStore,
        catalog: Catalog,
        growing: Growing,
        allocator: TimestampAllocator,
        cover: Callable[[Timestamp], Awaitable[None]],
        log_id: LogId,
        position: Callable[[], LogPosition],
        construction: Construction,
        measures: WriterMeasures,
    ) -> None:
        self._measures = measures
        self._runtime = runtime
        self._config = config
        self._store = store
        self._catalog = catalog
        self._growing = growing
        self._allocator = allocator
        self._cover = cover
        self._log_id = log_id
        self._position = position
        self._construction = construction
        self._asked: dict[CollectionId, list[Waiter]] = {}
        self._failures: dict[CollectionId, tuple[int, float]] = {}
        self._wake = asyncio.Event()

    async def flush(self, collection_id: CollectionId) -> Segments:
        """Seal all that was durable when this was called; the new segments.

        Raises:
            CollectionNotFound, StorageError, DiskFull, MetadataUnavailable, NotLeader.
        """
        if collection_id not in self._catalog.snapshot.collections:
            raise CollectionNotFound(f"collection not found[collection={collection_id}]")
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._ask(collection_id).append(waiter)
        return await waiter

    def consider(self, collection_id: CollectionId, state: GrowingCollection) -> None:
        """Begin a flush where a collection has grown or aged beyond the limits."""
        config = self._config
        now_s = self._runtime.monotonic_s()
        is_due = (
            state.rows >= config.flush_rows
            or state.size_bytes >= config.flush_bytes
            or len(state.mutations) >= config.flush_mutations
            or now_s - state.since_s >= config.flush_age_s
        )
        if is_due and collection_id not in self._asked:
            _, not_before_s = self._failures.get(collection_id, (0, 0.0))
            if now_s >= not_before_s:
                self._ask(collection_id)

    def consider_all(self) -> None:
        for collection_id, state in self._growing.collections().items():
            self.consider(collection_id, state)

    async def run(self) -> None:
        """Work off what is asked for, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._asked:
                collection_id = next(iter(self._asked))
                await self._answer(collection_id, self._asked.pop(collection_id))

    def refuse_all(self, error: MishardsError) -> None:
        asked, self._asked = self._asked, {}
        for waiters in asked.values():
            _refuse(waiters, error)

    def _ask(self, collection_id: CollectionId) -> list[Waiter]:
        self._wake.set()
        return self._asked.setdefault(collection_id, [])

    async def _answer(self, collection_id: CollectionId, waiters: list[Waiter]) -> None:
        try:
            segments = await self._flush(collection_id)
        except MishardsError as error:
            count = self._failures.get(collection_id, (0, 0.0))[0] + 1
            pause_s = min(_MOST_PAUSE_S, 2.0 ** min(count, 10))
            self._failures[collection_id] = (count, self._runtime.monotonic_s() + pause_s)
            _log.warning("flush of collection %d failed: %s", collection_id, error)
            _refuse(waiters, error)
        else:
            self._failures.pop(collection_id, None)
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(segments)
        finally:
            _refuse(waiters, NotReady("the writer stopped during the flush"))

    async def _flush(self, collection_id: CollectionId) -> Segments:
        while True:
            try:
                return await self._flush_once(collection_id)
            except MetadataConflict:
                _log.info("collection %d was truncated during its flush", collection_id)

    async def _flush_once(self, collection_id: CollectionId) -> Segments:
        view = self._catalog.snapshot.collections.get(collection_id)
        position = self._position()
        cut = position.timestamp
        mutations = self._growing.up_to(collection_id, cut)
        if view is None or not mutations:
            return ()
        with self._measures.flushing():
            return await self._seal(view, mutations, cut)

    async def _seal(
        self, view: CollectionView, mutations: tuple[Mutation, ...], cut: Timestamp
    ) -> Segments:
        count = ids_needed(view, mutations)
        first_id = self._allocator.allocate(count)
        # No leader to come may give these ids again: files of this flush may stay behind.
        await self._cover(Timestamp(first_id + count - 1))
        async with scratch_folder(self._runtime, self._config.scratch) as folder:
            plan = SealPlan(
                view=view,
                mutations=mutations,
                cut=cut,
                first_id=first_id,
                max_rows=self._config.segment_max_rows,
                max_bytes=self._config.segment_max_bytes,
                merge=await self._to_merge(view, folder),
            )
            sealed = await self._runtime.blocking(seal, plan, folder)
            with self._construction.holding(_keys(view, sealed)):
                await self._upload(view, sealed, folder)
                return await self._commit(plan, sealed)

    async def _commit(self, plan: SealPlan, sealed: Sealed) -> Segments:
        """Name what was uploaded."""
        collection_id = plan.view.id
        kept: list[SegmentId] = []

        def change(snapshot: MetadataSnapshot) -> Edit:
            kept.clear()
            log = self._log_meta(snapshot, collection_id, plan.cut)
            edit = seal_edit(snapshot, plan, sealed, log)
            kept.extend(s.id for s in sealed.segments if any(s is put for put in edit.puts))
            return edit

        await self._catalog.commit(change)
        rows = sum(segment.rows for segment in sealed.segments if segment.id in kept)
        self._measures.flushed_rows.inc(rows)
        return tuple(kept)

    async def _to_merge(
        self, view: CollectionView, folder: Path
    ) -> tuple[tuple[DeleteFile, Path], ...]:
        """All files of deletes where there are too many, as local files; else none."""
        files = view.meta.deletes
        # Merging leaves a file for each scope: there have to be more of them to gain anything.
        scopes = len({file.partition_id for file in files})
        if len(files) < max(self._config.delete_files_max, 2 * scopes):
            return ()
        found = []
        for file in files:
            key = deletes_key(view.id, file.name)
            path = self._store.local_path(key)
            if path is None:
                path = folder / f"old-{file.name}"
                await self._runtime.blocking(path.write_bytes, await self._store.get(key))
            found.append((file, path))
        return tuple(found)

    async def _upload(self, view: CollectionView, sealed: Sealed, folder: Path) -> None:
        for segment in sealed.segments:
            paths = await self._runtime.blocking(segment_files, folder / str(segment.id))
            for path in paths:
                await self._store.put_file(segment_key(view.id, segment.id, path.name), path)
        for file in sealed.deletes:
            await self._store.put_file(deletes_key(view.id, file.name), folder / file.name)

    def _log_meta(
        self, snapshot: MetadataSnapshot, collection_id: CollectionId, cut: Timestamp
    ) -> LogMeta:
        """The log's record as of a flush: what a start need not read any more."""
        keep_from = self._position().keep_from
        growing = self._growing.first_seq(collection_id, cut)
        replay_from = keep_from if growing is None else min(growing, keep_from)
        meta = snapshot.logs.get(self._log_id, LogMeta(id=self._log_id))
        return msgspec.structs.replace(meta, replay_from=max(meta.replay_from, replay_from))


def seal_edit(snapshot: MetadataSnapshot, plan: SealPlan, sealed: Sealed, log: LogMeta) -> Edit:
    """What a flush commits; nothing when the collection was dropped meanwhile.

    Raises:
        MetadataConflict: the collection's checkpoint is not the plan's any more.
    """
    view = snapshot.collections.get(plan.view.id)
    if view is None:
        return NOTHING
    if view.meta.checkpoint != plan.view.meta.checkpoint:
        raise MetadataConflict(
            f"checkpoint of collection {view.name!r} is {view.meta.checkpoint}, "
            f"no longer {plan.view.meta.checkpoint}"
        )
    alive = {partition.id for partition in view.meta.partitions}
    merged = {file.name for file, _ in plan.merge}
    deletes = (
        *(file for file in view.meta.deletes if file.name not in merged),
        *(f for f in sealed.deletes if not f.partition_id or f.partition_id in alive),
    )
    meta = msgspec.structs.replace(view.meta, checkpoint=plan.cut, deletes=deletes)
    segments = [segment for segment in sealed.segments if segment.partition_id in alive]
    return Edit((meta, *segments, log))


def _keys(view: CollectionView, sealed: Sealed) -> list[str]:
    """Of all objects that a flush uploads."""
    folders = [segment_key(view.id, segment.id, "") for segment in sealed.segments]
    return [*folders, *(deletes_key(view.id, file.name) for file in sealed.deletes)]


def _refuse(waiters: list[Waiter], error: MishardsError) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(type(error)(error.message))
