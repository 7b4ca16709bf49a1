"""Opening segments, attaching their indexes, and closing those that nobody names any more.

Invariants: a segment serves only after every known delete was applied to it; it is opened once,
however many reads ask; only segments of the newest metadata are opened, since only of those all
deletes can be known. A damaged or missing index costs speed, not the answer.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from mishards.core.errors import CorruptObject, MishardsError, StalePlan
from mishards.core.ids import SegmentId, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.schema import CollectionSchema
from mishards.index.registry import family
from mishards.metadata.models import DeleteFile, IndexMeta, SegmentIndex, SegmentMeta
from mishards.reader.collection import CollectionState
from mishards.reader.deletes import DeletedKeys, LoggedDelete
from mishards.reader.files import SegmentFiles
from mishards.reader.opened import AttachedIndex, OpenSegment
from mishards.segments.deletes import DeleteMask, read_deletes
from mishards.segments.layout import COLUMNS
from mishards.segments.manifest import FileInfo, read_manifest, verify_file
from mishards.segments.read import open_segment

_log = logging.getLogger(__name__)


class SegmentOpener:
    """Opens and closes segments of all collections. From the loop's thread."""

    def __init__(self, runtime: Runtime, files: SegmentFiles, *, verify: bool = True) -> None:
        """`verify`: compare the checksums of files that native code trusts to be whole."""
        self._runtime = runtime
        self._files = files
        self._verify = verify
        self._opening: dict[SegmentId, asyncio.Task[OpenSegment]] = {}

    async def open(self, state: CollectionState, segment_id: SegmentId) -> OpenSegment:
        """The segment, opened when it is not yet.

        Raises:
            StalePlan: the newest metadata does not name it.
            SegmentNotFound, CorruptObject, StorageError: it cannot be opened; names the file.
        """
        if (opened := state.open.get(segment_id)) is not None:
            return opened
        task = self._opening.get(segment_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(
                self._open(state, segment_id), name=f"open segment {segment_id}"
            )
            self._opening[segment_id] = task
            task.add_done_callback(lambda done: self._opened(segment_id, done))
        return await asyncio.shield(task)

    def _opened(self, segment_id: SegmentId, task: asyncio.Task[OpenSegment]) -> None:
        del self._opening[segment_id]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StalePlan):
            _log.warning("segment %d cannot be opened: %s", segment_id, error)

    async def _open(self, state: CollectionState, segment_id: SegmentId) -> OpenSegment:
        meta, schema = _named(state, segment_id), state.view.schema
        known = await self._known_deletes(state, meta, set())
        logged = tuple(state.deletes.logged)
        folder = await self._files.folder(meta)
        try:
            if self._verify:
                await self._runtime.blocking(_verify_columns, folder)
            opened = await self._runtime.blocking(_open_with, folder, meta, schema, known, logged)
        except CorruptObject:
            await self._files.forget(meta)
            raise
        await self.attach(state, opened)
        applied = set(known)
        while missing := await self._known_deletes(state, meta, applied):
            await self._runtime.blocking(_apply_files, opened, missing)
            applied.update(missing)
        _named(state, segment_id)
        # Nothing is awaited from the last look at the delete files to here: no delete slips by.
        _apply_logged(opened, state.deletes.since(_last(logged)))
        state.open[segment_id] = opened
        await self.attach(state, opened)
        return opened

    async def _known_deletes(
        self, state: CollectionState, meta: SegmentMeta, applied: set[str]
    ) -> dict[str, DeletedKeys]:
        """Contents of the newest metadata's delete files that may concern the segment."""
        found = {}
        for file in state.view.meta.deletes:
            concerns = file.partition_id in (0, meta.partition_id) and file.max_ts > meta.min_ts
            if concerns and file.name not in applied:
                found[file.name] = await self.read(state, file)
        return found

    async def read(self, state: CollectionState, file: DeleteFile) -> DeletedKeys:
        """The contents of a delete file, read once."""
        if (held := state.deletes.read.get(file.name)) is None:
            path = await self._files.deletes(state.view.id, file)
            held = await self._runtime.blocking(read_deletes, path, file.checksum)
            state.deletes.read[file.name] = held
        return held

    async def settle(self, state: CollectionState, applied: Timestamp) -> None:
        """Give open segments the deletes of files that reach beyond the log as applied."""
        for file in state.deletes.lagging(applied):
            keys, timestamps = await self.read(state, file)
            for opened in state.open.values():
                if file.partition_id in (0, opened.meta.partition_id):
                    opened.mask.apply(keys, timestamps)
            state.deletes.caught_up(file)

    async def attach(self, state: CollectionState, opened: OpenSegment) -> None:
        """Bring the indexes of an open segment to what the newest metadata names."""
        view = state.view
        opened.meta = meta = view.segments.get(opened.meta.id, opened.meta)
        wanted = {index.id: index for index in view.meta.indexes}
        indexes = {
            name: attached
            for name, attached in opened.indexes.items()
            if attached.index_id in wanted
        }
        opened.indexes = indexes
        for built in meta.indexes:
            index = wanted.get(built.index_id)
            held = indexes.get(built.field)
            if index is None or (held is not None and held.index_id == built.index_id):
                continue
            attached = await self._open_index(meta, built, index)
            if attached is not None:
                opened.indexes = {**opened.indexes, built.field: attached}

    async def _open_index(
        self, meta: SegmentMeta, built: SegmentIndex, index: IndexMeta
    ) -> AttachedIndex | None:
        try:
            path = await self._files.index(meta, built)
            try:
                return await self._runtime.blocking(_open_index, path, built, index, self._verify)
            except CorruptObject:
                await self._files.forget_index(meta, built)
                raise
        except MishardsError as error:
            _log.warning(
                "segment %d is searched without its index on %r: %s", meta.id, built.field, error
            )
            return None

    async def close_segment(self, state: CollectionState, segment_id: SegmentId) -> None:
        """Let go of a segment; searches that use it end undisturbed."""
        if (opened := state.open.pop(segment_id, None)) is not None:
            await self._files.forget(opened.meta)

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


def _verify_columns(folder: Path) -> None:
    """Refuse damaged columns: offsets of texts and lists that lead nowhere crash the process."""
    manifest = read_manifest(folder)
    if COLUMNS in manifest.files:
        verify_file(folder / COLUMNS, manifest.files[COLUMNS])


def _open_index(path: Path, built: SegmentIndex, index: IndexMeta, verify: bool) -> AttachedIndex:
    if (size := _size(path)) != built.size_bytes:
        raise CorruptObject(f"index file {path} has {size} bytes instead of {built.size_bytes}")
    if verify:
        # Faiss follows the numbers in a file blindly: a damaged one can end the process.
        verify_file(path, FileInfo(size_bytes=built.size_bytes, checksum=built.checksum))
    opened = family(index.family).open(path, index.metric)
    return AttachedIndex(index.id, index.family, opened)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise CorruptObject(f"index file {path} is missing") from None
