"""Opening segments, attaching their indexes, and closing those that nobody names any more.

Invariants: a segment serves only after every known delete was applied to it; it is opened once,
however many reads ask; only segments of the newest metadata are opened, since only of those all
deletes can be known. A segment that is not what metadata says it is goes into quarantine: it is
refused with the reason until it is tried again. A damaged or missing index costs speed, not the
answer, and the leader is told of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from mishards.core.errors import CorruptObject, MishardsError, StalePlan
from mishards.core.ids import CollectionId, SegmentId, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.schema import CollectionSchema
from mishards.index.registry import family
from mishards.metadata.in_use import VersionsInUse
from mishards.metadata.models import DeleteFile, IndexMeta, SegmentIndex, SegmentMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.reader.cache import CacheFull
from mishards.reader.collection import CollectionState
from mishards.reader.damage import DamageReports
from mishards.reader.deletes import DeletedKeys, LoggedDelete
from mishards.reader.files import SegmentFiles
from mishards.reader.opened import AttachedIndex, OpenSegment
from mishards.reader.quarantine import DAMAGE, Quarantine
from mishards.reader.room import Room
from mishards.rpc.messages import ReportDamage
from mishards.segments.deletes import DeleteMask
from mishards.segments.read import open_segment

SegmentKey = tuple[CollectionId, SegmentId]
IndexKey = tuple[CollectionId, SegmentId, str]
"""The last is the name of the file."""

_log = logging.getLogger(__name__)


class SegmentOpener:
    """Opens and closes segments of all collections. From the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        files: SegmentFiles,
        room: Room,
        in_use: VersionsInUse,
        damage: DamageReports,
        pause_s: float,
    ) -> None:
        """`pause_s`: see `Quarantine`."""
        self._runtime = runtime
        self._files = files
        self._in_use = in_use
        self._damage = damage
        self._room = room
        self._opening: dict[SegmentId, asyncio.Task[OpenSegment]] = {}
        self.quarantine: Quarantine[SegmentKey] = Quarantine(runtime.monotonic_s, pause_s)
        self.opened = 0
        """Segments that were opened so far."""
        self._indexes: Quarantine[IndexKey] = Quarantine(runtime.monotonic_s, pause_s)

    async def open(
        self, state: CollectionState, segment_id: SegmentId, *, ahead: bool = False
    ) -> OpenSegment:
        """The segment, opened when it is not yet.

        Args:
            ahead: nobody has asked for it yet, so no open segment is closed to make room for it.

        Raises:
            DiskFull: there is no room for its files; `CacheFull` when it was opened ahead.
            StalePlan: the newest metadata does not name it.
            SegmentNotFound, CorruptObject, StorageError: it cannot be opened; names the segment
                and the file.
        """
        while (opened := state.open.get(segment_id)) is None:
            if (refusal := self.quarantine.refusal((state.view.id, segment_id))) is not None:
                raise refusal
            try:
                return await asyncio.shield(self._task(state, segment_id, ahead))
            except CacheFull:
                # It was being opened ahead; asked for, it gets its room.
                if ahead:
                    raise
        return opened

    def _task(
        self, state: CollectionState, segment_id: SegmentId, ahead: bool
    ) -> asyncio.Task[OpenSegment]:
        """What opens the segment, of whoever came first."""
        task = self._opening.get(segment_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(
                self._open(state, segment_id, ahead), name=f"open segment {segment_id}"
            )
            self._opening[segment_id] = task
            task.add_done_callback(lambda done: self._opened(segment_id, done))
        return task

    def _opened(self, segment_id: SegmentId, task: asyncio.Task[OpenSegment]) -> None:
        del self._opening[segment_id]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StalePlan | CacheFull):
            _log.warning("segment %d cannot be opened: %s", segment_id, error)

    async def _open(
        self, state: CollectionState, segment_id: SegmentId, ahead: bool
    ) -> OpenSegment:
        try:
            with self._in_use.held():
                opened = await self._open_sound(state, segment_id, ahead)
        except DAMAGE as error:
            _named(state, segment_id)
            failure = type(error)(
                f"segment {segment_id} of collection {state.view.name!r} cannot be served: "
                f"{error.message}"
            )
            self.quarantine.put((state.view.id, segment_id), failure)
            raise failure from error
        self.quarantine.release((state.view.id, segment_id))
        return opened

    async def _open_sound(
        self, state: CollectionState, segment_id: SegmentId, ahead: bool
    ) -> OpenSegment:
        meta = _named(state, segment_id)
        folder = await self._room.folder(meta, ahead=ahead)
        try:
            return await self._open_files(state, meta, folder)
        except CorruptObject:
            await self._files.forget(meta)
            raise
        except BaseException:
            self._files.release(meta)
            raise

    async def _open_files(
        self, state: CollectionState, meta: SegmentMeta, folder: Path
    ) -> OpenSegment:
        segment_id, schema = meta.id, state.view.schema
        known = await self._known_deletes(state, meta, set())
        logged = tuple(state.deletes.logged)
        opened = await self._runtime.blocking(_open_with, folder, meta, schema, known, logged)
        await self.attach(state, opened)
        applied = set(known)
        while missing := await self._known_deletes(state, meta, applied):
            await self._runtime.blocking(_apply_files, opened, missing)
            applied.update(missing)
        _named(state, segment_id)
        # Nothing is awaited from the last look at the delete files to here: no delete slips by.
        _apply_logged(opened, state.deletes.since(_last(logged)))
        state.open[segment_id] = opened
        self.opened += 1
        await self.attach(state, opened)
        return opened

    async def _known_deletes(
        self, state: CollectionState, meta: SegmentMeta, applied: set[str]
    ) -> dict[str, DeletedKeys]:
        """Contents of the newest metadata's delete files that may concern the segment."""
        found = {}
        for file in state.view.meta.deletes:
            in_scope = file.partition_id in (0, meta.partition_id)
            if in_scope and file.max_ts > meta.folded_until and file.name not in applied:
                found[file.name] = await self.read(state, file)
        return found

    async def read(self, state: CollectionState, file: DeleteFile) -> DeletedKeys:
        """The contents of a delete file, read once."""
        if (held := state.deletes.read.get(file.name)) is None:
            held = await self._files.deletes(state.view.id, file)
            state.deletes.read[file.name] = held
        return held

    async def settle(self, state: CollectionState, applied: Timestamp) -> None:
        """Give open segments the deletes of files that reach beyond the log as applied."""
        for file in state.deletes.lagging(applied):
            await self.apply(state, file)

    async def apply(self, state: CollectionState, file: DeleteFile) -> None:
        """Give open segments the deletes of a file."""
        keys, timestamps = await self.read(state, file)
        for opened in state.open.values():
            if file.partition_id in (0, opened.meta.partition_id):
                opened.mask.apply(keys, timestamps)
        state.deletes.caught_up(file)

    async def attach(self, state: CollectionState, opened: OpenSegment) -> None:
        """Bring the indexes of an open segment to what the newest metadata names."""
        with self._in_use.held():
            await self._attach(state, opened)

    async def _attach(self, state: CollectionState, opened: OpenSegment) -> None:
        view = state.view
        opened.meta = meta = view.segments.get(opened.meta.id, opened.meta)
        wanted = {index.id: index for index in view.meta.indexes}
        named = {built.name for built in meta.indexes if built.index_id in wanted}
        # A file that is no longer named was replaced, for it was damaged or its index dropped.
        indexes = {
            field: attached for field, attached in opened.indexes.items() if attached.name in named
        }
        opened.indexes = indexes
        for built in meta.indexes:
            index = wanted.get(built.index_id)
            held = indexes.get(built.field)
            if index is None or (held is not None and held.name == built.name):
                continue
            attached = await self._open_index(view, meta, built, index)
            if attached is not None:
                opened.indexes = {**opened.indexes, built.field: attached}

    async def _open_index(
        self, view: CollectionView, meta: SegmentMeta, built: SegmentIndex, index: IndexMeta
    ) -> AttachedIndex | None:
        """None where it cannot be had for now."""
        key = (meta.collection_id, meta.id, built.name)
        if self._indexes.refusal(key) is not None:
            return None
        try:
            opened = await self._room.index(
                meta, built, lambda path: _open_index(path, built, index)
            )
        except MishardsError as error:
            _log.warning(
                "segment %d is searched without its index on %r: %s", meta.id, built.field, error
            )
            self._indexes.put(key, error)
            if isinstance(error, DAMAGE):
                self._damage.add(
                    ReportDamage(
                        log=view.meta.log_id,
                        collection=meta.collection_id,
                        segment=meta.id,
                        name=built.name,
                        reason=error.message,
                    )
                )
            return None
        self._indexes.release(key)
        return opened

    async def retry(self, states: Mapping[CollectionId, CollectionState]) -> None:
        """Try again what is due, and forget what nobody names any more."""

        def segment(key: SegmentKey) -> SegmentMeta | None:
            state = states.get(key[0])
            return None if state is None else state.view.segments.get(key[1])

        def names(key: IndexKey) -> bool:
            meta = segment(key[:2])
            return meta is not None and key[2] in {built.name for built in meta.indexes}

        self.quarantine.keep(lambda key: segment(key) is not None)
        self._indexes.keep(names)
        for collection, segment_id in {key[:2] for key in self._indexes.due()}:
            if (opened := states[collection].open.get(segment_id)) is not None:
                await self.attach(states[collection], opened)

    async def look_again(
        self, state: CollectionState, segment_id: SegmentId
    ) -> MishardsError | None:
        """Open an open segment anew, checksums compared; what is wrong with it, where it is.

        Raises:
            StalePlan: the newest metadata does not name it.
            StorageError: storage failed.
        """
        if (opened := state.open.pop(segment_id, None)) is not None:
            await self._files.forget(opened.meta)
        try:
            await self.open(state, segment_id)
        except DAMAGE as error:
            return error
        return None

    async def close_segment(self, state: CollectionState, segment_id: SegmentId) -> None:
        """Let go of a segment; searches that use it end undisturbed. What is cached of one that
        metadata still names stays there until its room is needed."""
        if (opened := state.open.pop(segment_id, None)) is None:
            return
        if segment_id in state.view.segments:
            self._files.release(opened.meta)
        else:
            await self._files.forget(opened.meta)

    async def release(self, segments: Iterable[OpenSegment]) -> None:
        """As `close_segment`, of segments that are no longer found among the open ones."""
        for opened in segments:
            await self._files.forget(opened.meta)

    async def keep_files(self, snapshot: MetadataSnapshot) -> None:
        """Remove what is cached of segments and deletes that metadata does not name."""

        def wanted(key: str) -> bool:
            _, collection, *rest = key.split("/")
            view = snapshot.collections.get(CollectionId(int(collection)))
            if view is None:
                return False
            if len(rest) == 1:
                return SegmentId(int(rest[0])) in view.segments
            return any(file.name == rest[1] for file in view.meta.deletes)

        await self._files.keep(wanted)

    async def close(self) -> None:
        """Cancel what is being opened."""
        tasks = list(self._opening.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _named(state: CollectionState, segment_id: SegmentId) -> SegmentMeta:
    meta = state.view.segments.get(segment_id)
    if meta is None:
        raise StalePlan(
            f"segment {segment_id} of collection {state.view.id} was replaced or dropped"
        )
    return meta


def _open_with(
    folder: Path,
    meta: SegmentMeta,
    schema: CollectionSchema,
    files: dict[str, DeletedKeys],
    logged: tuple[LoggedDelete, ...],
) -> OpenSegment:
    segment = open_segment(folder, meta, schema)
    opened = OpenSegment(meta, segment, DeleteMask(segment))
    _apply_files(opened, files)
    _apply_logged(opened, logged)
    return opened


def _apply_files(opened: OpenSegment, files: dict[str, DeletedKeys]) -> None:
    for keys, timestamps in files.values():
        opened.mask.apply(keys, timestamps)


def _apply_logged(
    opened: OpenSegment, deletes: tuple[LoggedDelete, ...] | list[LoggedDelete]
) -> None:
    for delete in deletes:
        if delete.timestamp > opened.meta.min_ts and delete.concerns(opened.meta.partition_id):
            opened.mask.apply(delete.keys, delete.timestamps())


def _last(logged: tuple[LoggedDelete, ...]) -> Timestamp:
    return logged[-1].timestamp if logged else Timestamp(0)


def _open_index(path: Path, built: SegmentIndex, index: IndexMeta) -> AttachedIndex:
    if (size := path.stat().st_size if path.is_file() else -1) != built.size_bytes:
        raise CorruptObject(
            f"index file {path} has {size} bytes instead of {built.size_bytes}"
            if size >= 0
            else f"index file {path} is missing"
        )
    opened = family(index.family).open(path, index.metric)
    return AttachedIndex(index.id, built.name, index.family, opened)
