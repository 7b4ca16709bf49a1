"""Restoring collections of a backup into a data set, live or stopped.

Invariants: the data set changes by one commit of its leader, when all files are there and verified;
until then nothing of a restore is to be seen. What one that was interrupted has left is garbage
that the collector removes, so it can simply be repeated. Rows keep their timestamps; the log goes
past them before the commit, so every read that is to see what was acknowledged sees them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from mishards.backup.copying import Copier
from mishards.backup.flow import Flow, run_all
from mishards.backup.inventory import folder_of
from mishards.backup.manifest import Backup, BackupFile
from mishards.backup.plan import Restored, RestorePlan, plan_restore
from mishards.backup.progress import Progress
from mishards.backup.remake import Remade, ids_wanted, is_manifest, remade, without_indexes
from mishards.backup.session import DataSession
from mishards.backup.tail import read_tail
from mishards.backup.target import BackupTarget, object_key
from mishards.core.errors import CorruptObject, InternalError, ObjectNotFound
from mishards.core.ids import SegmentId, Timestamp
from mishards.metadata.snapshot import CollectionView
from mishards.rpc.messages import (
    AllocateTimestamp,
    ImportCollections,
    ImportedCollection,
    TimestampReply,
)
from mishards.segments.layout import deletes_key, segment_files, segment_key
from mishards.segments.manifest import decode_manifest, encode_manifest
from mishards.storage.pins import pinned
from mishards.writer.scratch import scratch_folder
from mishards.writer.sealing import Sealed, SealPlan, ids_needed, seal

_AT_ONCE = 4
_MOST_IDS = 1 << 18
"""That a leader gives at once."""


class RestoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore has done; `collections` are the names they have."""

    name: str
    timestamp: Timestamp
    collections: tuple[str, ...]
    rows: int
    size_bytes: int
    seconds: float
    warnings: tuple[str, ...] = ()


class Restorer:
    """Restores from one place into one data set. All coroutines: from the loop's thread."""

    def __init__(
        self,
        session: DataSession,
        source: BackupTarget,
        scratch: Path,
        progress: Progress,
        rate_bytes_s: float = 0.0,
    ) -> None:
        """`scratch`: as `Copier`'s; `rate_bytes_s`: most bytes read a second, 0 for no limit."""
        self._session = session
        self._runtime = session.seams.runtime
        self._store = session.seams.store
        self._source = source
        self._scratch = scratch
        self._progress = progress
        self._flow = Flow(self._runtime, rate_bytes_s, progress.advance)
        self._copier = Copier(self._runtime, source.store, self._store, scratch, self._flow)
        self._warnings: list[str] = []

    async def restore(
        self,
        backup: Backup,
        collections: Sequence[str] = (),
        renames: Mapping[str, str] | None = None,
    ) -> RestoreReport:
        """Restore what `plan_restore` chooses.

        Raises:
            MishardsError: what `plan_restore` raises, before anything was written.
            CorruptObject, ObjectNotFound: the backup is damaged; names the object.
            StorageError, DiskFull, MetadataUnavailable: repeat it.
        """
        began_s = self._runtime.monotonic_s()
        session = self._session
        # Refuse what cannot be before a leader is started; decide on what it has found or made.
        await self._plan(backup, collections, renames)
        async with session.leader():
            plan = await self._plan(backup, collections, renames)
            self._progress.total(sum(one.backup.size_bytes for one in plan.collections))
            async with pinned(self._store, self._runtime, f"restore-{backup.name}") as pin:
                imported = [await self._import(one, backup.timestamp) for one in plan.collections]
                pin.check()
                self._progress.doing("committing")
                await session.ask(
                    ImportCollections(collections=tuple(imported), databases=plan.databases)
                )
        return RestoreReport(
            name=backup.name,
            timestamp=backup.timestamp,
            collections=tuple(one.full_name for one in plan.collections),
            rows=sum(one.backup.rows for one in plan.collections),
            size_bytes=sum(one.backup.size_bytes for one in plan.collections),
            seconds=self._runtime.monotonic_s() - began_s,
            warnings=tuple(self._warnings),
        )

    async def _plan(
        self, backup: Backup, collections: Sequence[str], renames: Mapping[str, str] | None
    ) -> RestorePlan:
        snapshot = await self._session.snapshot()
        return plan_restore(backup, snapshot, self._runtime.now_ms(), collections, renames)

    async def _import(self, plan: Restored, cut: Timestamp) -> ImportedCollection:
        """Bring all files of a collection to storage; the records that name them."""
        self._progress.doing(f"copying {plan.full_name}")
        made = remade(plan, cut, await self._ids(ids_wanted(plan)))
        damaged = await self._copy_files(plan, made)
        view = without_indexes(made.view, damaged)
        self._progress.doing(f"sealing growing rows of {plan.full_name}")
        sealed = await self._seal_tail(plan, made, view)
        meta = msgspec.structs.replace(view.meta, deletes=(*view.meta.deletes, *sealed.deletes))
        return ImportedCollection(
            database=plan.database,
            meta=meta,
            segments=(*view.segments.values(), *sealed.segments),
        )

    async def _ids(self, count: int) -> Iterator[int]:
        """Fresh ids, rising; not consecutive where they are very many."""
        ranges = []
        while count > 0:
            part = min(count, _MOST_IDS)
            answer = await self._session.ask(AllocateTimestamp(count=part))
            if not isinstance(answer, TimestampReply):
                raise InternalError(f"the leader answered {type(answer).__name__} for a timestamp")
            ranges.append(range(answer.timestamp, answer.timestamp + part))
            count -= part
        return chain.from_iterable(ranges)

    async def _copy_files(self, plan: Restored, made: Remade) -> dict[SegmentId, set[str]]:
        """Copy all files of a collection, manifests last; the indexes that are damaged."""
        damaged: dict[SegmentId, set[str]] = {}

        async def copy(file: BackupFile) -> None:
            path = made.path(file)
            try:
                await self._copier.copy(
                    object_key(plan.backup.meta.id, file),
                    folder_of(made.view.id) + path,
                    file.info,
                )
            except (CorruptObject, ObjectNotFound) as error:
                if not file.index:
                    raise
                self._warnings.append(f"left out, to be built again: {error.message}")
                segment, _, name = path.partition("/")
                damaged.setdefault(SegmentId(int(segment)), set()).add(name)

        async def write_manifest(file: BackupFile) -> None:
            key = object_key(plan.backup.meta.id, file)
            old = decode_manifest(await self._copier.read(key, file.info), key)
            data = encode_manifest(made.manifest(old))
            await self._store.put(folder_of(made.view.id) + made.path(file), data)

        files = plan.backup.files
        await run_all([one for one in files if not is_manifest(one)], copy, _AT_ONCE)
        await run_all([one for one in files if is_manifest(one)], write_manifest, _AT_ONCE)
        return damaged

    async def _seal_tail(self, plan: Restored, made: Remade, view: CollectionView) -> Sealed:
        """Make segments and files of deletes of what was growing, and bring them to storage."""
        tail = await read_tail(self._source.store, plan.backup, self._flow)
        mutations = tuple(new for old in tail if (new := made.mutation(old)) is not None)
        if not mutations:
            return Sealed(segments=(), deletes=())
        count = min(ids_needed(view, mutations), _MOST_IDS)
        first_id = next(await self._ids(count))
        config = self._session.config.writer
        async with scratch_folder(self._runtime, str(self._scratch)) as folder:
            sealed = await self._runtime.blocking(
                seal,
                SealPlan(
                    view=view,
                    mutations=mutations,
                    cut=mutations[-1].timestamp,
                    first_id=first_id,
                    max_rows=config.segment_max_rows,
                    max_bytes=config.segment_max_bytes,
                ),
                folder,
            )
            if len(sealed.segments) + len(sealed.deletes) > count:
                raise InternalError(f"{len(sealed.segments)} segments were made of {count} ids")
            await self._upload(view, sealed, folder)
        return sealed

    async def _upload(self, view: CollectionView, sealed: Sealed, folder: Path) -> None:
        for segment in sealed.segments:
            paths = await self._runtime.blocking(segment_files, folder / str(segment.id))
            for path in paths:
                await self._store.put_file(segment_key(view.id, segment.id, path.name), path)
        for file in sealed.deletes:
            await self._store.put_file(deletes_key(view.id, file.name), folder / file.name)
