"""Index builds: every sealed segment gets the indexes its collection asks for.

Invariants: an index file is on storage before the metadata names it; a segment is searched on its
raw vectors until then. What is to be built follows from the metadata alone, so nothing is
forgotten over restarts. A failed build is tried again, ever less often, and stops nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

from mishards.core.errors import CorruptObject, MishardsError
from mishards.core.ids import CollectionId, IndexId, LogId, SegmentId, Timestamp
from mishards.core.runtime import Runtime
from mishards.index.registry import family
from mishards.metadata.models import IndexMeta, SegmentIndex, SegmentMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.segments.layout import MANIFEST, index_file, segment_key, vectors_file
from mishards.segments.manifest import decode_manifest, file_info, verify_file
from mishards.storage.fetch import fetch
from mishards.storage.protocol import ObjectStore
from mishards.writer.build_job import Builder, BuildJob
from mishards.writer.catalog import Catalog
from mishards.writer.config import WriterConfig
from mishards.writer.construction import Construction
from mishards.writer.edit import NOTHING, Edit
from mishards.writer.measures import WriterMeasures
from mishards.writer.scratch import scratch_folder

_log = logging.getLogger(__name__)
_MOST_DOUBLINGS = 6

Work = tuple[SegmentId, IndexId]


class Missing(msgspec.Struct, frozen=True):
    """A segment without one of its indexes."""

    view: CollectionView
    segment: SegmentMeta
    index: IndexMeta

    @property
    def work(self) -> Work:
        return self.segment.id, self.index.id


def missing_indexes(view: CollectionView, min_rows: int) -> Iterator[Missing]:
    """What is to be built in a collection. Small segments, and families without a file, need
    nothing."""
    if not any(family(index.family).builds_file for index in view.meta.indexes):
        return
    for segment in view.segments.values():
        yield from missing_of(view, segment, min_rows)


def missing_of(view: CollectionView, segment: SegmentMeta, min_rows: int) -> Iterator[Missing]:
    """As `missing_indexes`, of one segment, which need not be in the metadata yet."""
    if segment.rows < min_rows:
        return
    built = {one.index_id for one in segment.indexes}
    for index in view.meta.indexes:
        if index.id not in built and family(index.family).builds_file:
            yield Missing(view, segment, index)


def build_job(missing: Missing, vectors: Path, output: Path, threads: int) -> BuildJob:
    """The job that makes what is missing, from a file of vectors."""
    index = missing.index
    return BuildJob(
        vectors=str(vectors),
        rows=missing.segment.rows,
        dim=missing.view.schema.by_name[index.field].dim,
        metric=index.metric,
        family=index.family,
        params=dict(index.params),
        output=str(output),
        threads=threads,
    )


def described(index: IndexMeta, output: Path) -> SegmentIndex:
    """The record of a built file, named as it is. Blocking."""
    info = file_info(output)
    return SegmentIndex(
        index_id=index.id,
        field=index.field,
        name=output.name,
        size_bytes=info.size_bytes,
        checksum=info.checksum,
    )


class IndexBuilds:
    """Builds what is missing, a bounded number at a time."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        store: ObjectStore,
        catalog: Catalog,
        builder: Builder,
        construction: Construction,
        fresh: Callable[[], Awaitable[Timestamp]],
        log_id: LogId,
        measures: WriterMeasures,
    ) -> None:
        """`fresh` numbers the builds, so that every file has a name of its own; what belongs to
        other logs than `log_id`, their leaders build."""
        self._runtime = runtime
        self._config = config
        self._store = store
        self._catalog = catalog
        self._builder = builder
        self._construction = construction
        self._fresh = fresh
        self._log_id = log_id
        self._measures = measures
        self._complete: dict[CollectionId, CollectionView] = {}
        self._running: set[Work] = set()
        self._failures: dict[Work, tuple[int, float]] = {}
        self._wake = asyncio.Event()

    def nudge(self) -> None:
        """Look again: the metadata changed."""
        self._wake.set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Build until cancelled; run as many of these as are to build at a time."""
        while True:
            wake = self._wake
            if (missing := self._next()) is None:
                await self._wait(wake)
            else:
                await self._attempt(missing)

    async def _wait(self, wake: asyncio.Event) -> None:
        """Until the metadata changes, or a failed build is to be tried again."""
        if not self._failures:
            await wake.wait()
            return
        soonest_s = min(at_s for _, at_s in self._failures.values())
        pause_s = max(soonest_s - self._runtime.monotonic_s(), self._config.build_retry_s)
        try:
            await self._runtime.timeout(wake.wait(), pause_s)
        except TimeoutError:
            return

    def _next(self) -> Missing | None:
        collections = self._catalog.snapshot.collections
        for collection_id in self._complete.keys() - collections.keys():
            del self._complete[collection_id]
        now_s = self._runtime.monotonic_s()
        seen: set[Work] = set()
        for view in collections.values():
            if view.meta.log_id != self._log_id:
                continue
            if self._complete.get(view.id) is view:
                continue
            found = list(missing_indexes(view, self._config.build_min_rows))
            if not found:
                self._complete[view.id] = view
            for missing in found:
                seen.add(missing.work)
                is_due = self._failures.get(missing.work, (0, 0.0))[1] <= now_s
                if is_due and missing.work not in self._running:
                    return missing
        for gone in self._failures.keys() - seen:
            del self._failures[gone]
        return None

    async def _attempt(self, missing: Missing) -> None:
        work = missing.work
        self._running.add(work)
        try:
            with self._measures.building():
                await self._build(missing)
        except MishardsError as error:
            count = self._failures.get(work, (0, 0.0))[0] + 1
            pause_s = self._config.build_retry_s * 2 ** min(count - 1, _MOST_DOUBLINGS)
            self._failures[work] = (count, self._runtime.monotonic_s() + pause_s)
            _log.warning(
                "build of index %r on segment %d failed, next try in %.0f s: %s",
                missing.index.name,
                missing.segment.id,
                pause_s,
                error,
            )
        else:
            self._failures.pop(work, None)
        finally:
            self._running.discard(work)

    async def _build(self, missing: Missing) -> None:
        segment, index = missing.segment, missing.index
        name = index_file(index.field_id, index.id, await self._fresh())
        key = segment_key(segment.collection_id, segment.id, name)
        async with scratch_folder(self._runtime, self._config.scratch) as folder:
            output = folder / name
            job = build_job(
                missing, await self._vectors(missing, folder), output, self._config.build_threads
            )
            await self._builder.build(job)
            built = await self._runtime.blocking(described, index, output)
            with self._construction.holding((key,)):
                await self._store.put_file(key, output)
                await self._catalog.commit(_adding(segment, built))

    async def _vectors(self, missing: Missing, folder: Path) -> Path:
        """The segment's raw vectors as a local file, verified: an index of damaged vectors would
        be a sound file with wrong contents."""
        name = vectors_file(missing.index.field_id)
        segment = missing.segment
        key = segment_key(segment.collection_id, segment.id, MANIFEST)
        manifest = decode_manifest(await self._store.get(key), key)
        if name not in manifest.files:
            raise CorruptObject(f"segment manifest {key} names no file {name!r}")
        key = segment_key(segment.collection_id, segment.id, name)
        if (path := self._store.local_path(key)) is None:
            path = folder / name
            size_bytes = manifest.files[name].size_bytes
            await fetch(self._store, self._runtime, key, size_bytes, path)
        await self._runtime.blocking(verify_file, path, manifest.files[name])
        return path


def _adding(segment: SegmentMeta, built: SegmentIndex) -> Callable[[MetadataSnapshot], Edit]:
    """Name a built index in the metadata; nothing when segment or index are gone meanwhile."""

    def change(snapshot: MetadataSnapshot) -> Edit:
        view = snapshot.collections.get(segment.collection_id)
        current = None if view is None else view.segments.get(segment.id)
        if view is None or current is None:
            return NOTHING
        alive = {index.id for index in view.meta.indexes}
        others = tuple(
            one
            for one in current.indexes
            if one.index_id in alive and one.index_id != built.index_id
        )
        if built.index_id not in alive:
            return NOTHING
        return Edit((msgspec.structs.replace(current, indexes=(*others, built)),))

    return change
