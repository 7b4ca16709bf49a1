"""One compaction from start to end: inputs merged, indexes built, all uploaded, and swapped in.

Invariants: files hold deletes up to the collection's checkpoint, and every read that a
metadata snapshot plans is at least as new as the checkpoint in it, so no read that may come to the
new segments could have seen a row that is gone from them. Deletes that come during the merge stay
in files, or in the log. Indexes are built before the swap, so it slows no search down. Until the
commit nothing names what was written; a crash leaves garbage, and a swap that comes too late does
too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from mishards.core.errors import MetadataConflict
from mishards.core.ids import SegmentId, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.ttl import expired_up_to
from mishards.metadata.models import SegmentMeta
from mishards.metadata.snapshot import CollectionView
from mishards.segments.layout import index_file, segment_files, segment_key, vectors_file
from mishards.storage.protocol import ObjectStore
from mishards.writer.build import build_job, described, missing_of
from mishards.writer.build_job import Builder
from mishards.writer.catalog import Catalog
from mishards.writer.compaction_edit import concerns, swap_edit
from mishards.writer.compaction_policy import Compaction, CompactionLimits
from mishards.writer.config import WriterConfig
from mishards.writer.construction import Construction
from mishards.writer.inputs import Inputs
from mishards.writer.measures import WriterMeasures
from mishards.writer.merging import MergeJob, outputs_at_most
from mishards.writer.scratch import scratch_folder

_log = logging.getLogger(__name__)

FreshIds = Callable[[int], Awaitable[Timestamp]]
"""The first of so many ids that no leader to come gives again."""


class Merges:
    """Does compactions, one at a time. From the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        store: ObjectStore,
        catalog: Catalog,
        inputs: Inputs,
        builder: Builder,
        construction: Construction,
        fresh: FreshIds,
        now: Callable[[], Timestamp],
        measures: WriterMeasures,
    ) -> None:
        """`now`: a time of the log that no reader is behind of for long."""
        self._runtime = runtime
        self._config = config
        self._store = store
        self._catalog = catalog
        self._inputs = inputs
        self._builder = builder
        self._construction = construction
        self._fresh = fresh
        self._now = now
        self._measures = measures

    async def run(
        self, chosen: Compaction, view: CollectionView, limits: CompactionLimits
    ) -> tuple[SegmentId, ...]:
        """Do one compaction; the new segments.

        Args:
            view: the newest of the collection.

        Raises:
            MetadataConflict: an input is gone.
            StorageError, DiskFull, CorruptObject, ObjectNotFound, InternalError,
            MetadataUnavailable, Fenced.
        """
        if not view.segments.keys() >= set(chosen.inputs):
            raise MetadataConflict(f"segments {chosen.inputs} are not all there any more")
        begun_s = self._runtime.monotonic_s()
        inputs = [view.segments[one] for one in chosen.inputs]
        with self._measures.compacting():
            outputs = await self._swap(chosen, view, inputs, limits)
        self._measures.compacted_segments.inc(len(inputs))
        _log.info(
            "compacted %d segments of collection %d (%s): %d rows became %d in %d segments, %.1f s",
            len(inputs),
            view.id,
            chosen.reason,
            sum(one.rows for one in inputs),
            sum(one.rows for one in outputs),
            len(outputs),
            self._runtime.monotonic_s() - begun_s,
        )
        return tuple(one.id for one in outputs)

    async def _swap(
        self,
        chosen: Compaction,
        view: CollectionView,
        inputs: list[SegmentMeta],
        limits: CompactionLimits,
    ) -> list[SegmentMeta]:
        """The segments that the metadata names in the place of the inputs from now on."""
        async with scratch_folder(self._runtime, self._config.scratch) as folder:
            outputs = await self._merge(view, inputs, limits, folder)
            outputs = [await self._indexed(view, one, folder) for one in outputs]
            keys = [segment_key(view.id, one.id, "") for one in outputs]
            with self._construction.holding(keys):
                await self._upload(outputs, folder)
                await self._catalog.commit(
                    lambda snapshot: swap_edit(snapshot, view, chosen.inputs, outputs)
                )
        return outputs

    async def _merge(
        self,
        view: CollectionView,
        inputs: list[SegmentMeta],
        limits: CompactionLimits,
        folder: Path,
    ) -> list[SegmentMeta]:
        files = [f for f in view.meta.deletes if any(concerns(f, one) for one in inputs)]
        count = outputs_at_most(inputs, limits.target_rows, limits.target_bytes)
        with self._inputs.held(inputs, files, view.id):
            job = MergeJob(
                schema=view.schema,
                inputs=tuple([await self._inputs.segment(one, folder) for one in inputs]),
                deletes=tuple([await self._inputs.deletes(view.id, one, folder) for one in files]),
                folded=view.meta.checkpoint,
                expired=expired_up_to(view.meta.ttl_s, self._now()),
                first_id=await self._fresh(count),
                max_rows=limits.target_rows,
                max_bytes=limits.target_bytes,
                output=str(folder),
            )
            return list(await self._builder.merge(job))

    async def _indexed(
        self, view: CollectionView, segment: SegmentMeta, folder: Path
    ) -> SegmentMeta:
        """The segment with its indexes built beside its files."""
        for missing in missing_of(view, segment, self._config.build_min_rows):
            index = missing.index
            name = index_file(index.field_id, index.id, await self._fresh(1))
            output = folder / str(segment.id) / name
            vectors = output.with_name(vectors_file(index.field_id))
            await self._builder.build(
                build_job(missing, vectors, output, self._config.build_threads)
            )
            built = await self._runtime.blocking(described, index, output)
            segment = msgspec.structs.replace(segment, indexes=(*segment.indexes, built))
        return segment

    async def _upload(self, outputs: list[SegmentMeta], folder: Path) -> None:
        for one in outputs:
            for path in await self._runtime.blocking(segment_files, folder / str(one.id)):
                key = segment_key(one.collection_id, one.id, path.name)
                await self._store.put_file(key, path)
