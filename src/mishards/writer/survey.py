"""What is known of a collection's segments: how many rows deletes hide, and how many deletes are
kept for them.

Invariants: a count is of a segment and a set of files, neither of which ever changes; so one that
was made is used again for as long as the set is the same. Where deletes are too few to matter,
nothing is read.
"""

from __future__ import annotations

from collections.abc import Iterable

from mishards.core.ids import CollectionId, SegmentId
from mishards.core.runtime import Runtime
from mishards.metadata.models import DeleteFile, SegmentMeta
from mishards.metadata.snapshot import CollectionView
from mishards.writer.build_job import Builder
from mishards.writer.compaction_edit import concerns
from mishards.writer.compaction_policy import SegmentLoad
from mishards.writer.config import WriterConfig
from mishards.writer.inputs import Inputs
from mishards.writer.merging import SurveyJob
from mishards.writer.scratch import scratch_folder

Files = frozenset[str]


class Surveys:
    """Counts hidden rows, and remembers. From the loop's thread."""

    def __init__(
        self, runtime: Runtime, config: WriterConfig, inputs: Inputs, builder: Builder
    ) -> None:
        self._runtime = runtime
        self._config = config
        self._inputs = inputs
        self._builder = builder
        self._known: dict[CollectionId, dict[SegmentId, tuple[Files, int]]] = {}

    async def loads(self, view: CollectionView, *, thorough: bool) -> list[SegmentLoad]:
        """All segments of a collection, as the policy sees them.

        Args:
            thorough: count where deletes are few, too.

        Raises:
            StorageError, CorruptObject, ObjectNotFound, InternalError.
        """
        known = self._known.setdefault(view.id, {})
        for gone in known.keys() - view.segments.keys():
            del known[gone]
        pending = {one.id: _pending(view, one) for one in view.segments.values()}
        least = 0.0 if thorough else self._config.compaction_dead_share
        unknown = [
            one
            for one in view.segments.values()
            if pending[one.id]
            and sum(file.rows for file in pending[one.id]) >= least * one.rows
            and known.get(one.id, (frozenset(), 0))[0] != _names(pending[one.id])
        ]
        if unknown:
            counts = await self._count(view, unknown)
            for one, count in zip(unknown, counts, strict=True):
                known[one.id] = _names(pending[one.id]), count
        return [
            SegmentLoad(
                id=one.id,
                partition=one.partition_id,
                rows=one.rows,
                size_bytes=one.size_bytes,
                dead=known[one.id][1] if pending[one.id] and one.id in known else 0,
                pending=sum(file.rows for file in pending[one.id]),
            )
            for one in view.segments.values()
        ]

    def clean(self, view: CollectionView) -> frozenset[SegmentId]:
        """Segments of which no row is hidden by any file of deletes."""
        known = self._known.get(view.id, {})
        return frozenset(
            one.id
            for one in view.segments.values()
            if known.get(one.id) == (_names(_pending(view, one)), 0)
        )

    def keep(self, collections: Iterable[CollectionId]) -> None:
        """Forget all other collections."""
        for gone in self._known.keys() - set(collections):
            del self._known[gone]

    async def _count(
        self, view: CollectionView, segments: Iterable[SegmentMeta]
    ) -> tuple[int, ...]:
        files, inputs = view.meta.deletes, self._inputs
        with inputs.held(segments, files, view.id):
            async with scratch_folder(self._runtime, self._config.scratch) as folder:
                job = SurveyJob(
                    schema=view.schema,
                    inputs=tuple(
                        [await inputs.segment(one, folder, with_vectors=False) for one in segments]
                    ),
                    deletes=tuple([await inputs.deletes(view.id, one, folder) for one in files]),
                )
                return await self._builder.survey(job)


def _pending(view: CollectionView, segment: SegmentMeta) -> list[DeleteFile]:
    return [f for f in view.meta.deletes if concerns(f, segment)]


def _names(files: Iterable[DeleteFile]) -> Files:
    return frozenset(file.name for file in files)
