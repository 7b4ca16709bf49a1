"""The records of a restored collection under fresh ids. Pure.

Invariants: collection, partitions and segments get ids that nothing else has; rows, timestamps,
files of deletes and indexes stay as they are. What a record named, the remade one names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from mishards.backup.manifest import BackupFile
from mishards.backup.plan import Restored
from mishards.core.ids import CollectionId, PartitionId, SegmentId, Timestamp
from mishards.log.entry import Mutation
from mishards.metadata.models import CollectionMeta, DeleteFile, SegmentMeta
from mishards.metadata.snapshot import CollectionView
from mishards.segments.layout import MANIFEST
from mishards.segments.manifest import Manifest

_EVERYWHERE = PartitionId(0)


class Remade(msgspec.Struct, frozen=True, kw_only=True):
    """A restored collection before its growing mutations are sealed.

    Attributes:
        partitions, segments: new ids by old ones.
    """

    view: CollectionView
    partitions: Mapping[PartitionId, PartitionId]
    segments: Mapping[SegmentId, SegmentId]

    def path(self, file: BackupFile) -> str:
        """Where a file of the backup lies, below the folder of the remade collection."""
        folder, _, name = file.path.partition("/")
        return (
            file.path if folder == "deletes" else f"{self.segments[SegmentId(int(folder))]}/{name}"
        )

    def manifest(self, old: Manifest) -> Manifest:
        """A segment's manifest under its new ids."""
        return msgspec.structs.replace(
            old,
            segment_id=self.segments[old.segment_id],
            collection_id=self.view.id,
            partition_id=self.partitions[old.partition_id],
        )

    def mutation(self, old: Mutation) -> Mutation | None:
        """A growing mutation under its new ids; None when its partition was dropped."""
        partition = old.partition
        if partition != _EVERYWHERE:
            if partition not in self.partitions:
                return None
            partition = self.partitions[partition]
        return msgspec.structs.replace(old, collection=self.view.id, partition=partition)


def is_manifest(file: BackupFile) -> bool:
    return file.path.endswith(f"/{MANIFEST}")


def ids_wanted(plan: Restored) -> int:
    """How many fresh ids `remade` takes."""
    return 1 + len(plan.backup.meta.partitions) + len(plan.backup.segments)


def remade(plan: Restored, cut: Timestamp, ids: Iterator[int]) -> Remade:
    """The collection of a plan under ids taken from `ids`.

    Args:
        cut: of the backup: no row is newer, and no automatic key greater.
    """
    old = plan.backup.meta
    collection_id = CollectionId(next(ids))
    partitions = {one.id: PartitionId(next(ids)) for one in old.partitions}
    segments = {one.id: SegmentId(next(ids)) for one in plan.backup.segments}
    meta = _collection(plan, cut, collection_id, partitions)
    return Remade(
        view=CollectionView(
            meta,
            {
                segments[one.id]: msgspec.structs.replace(
                    one,
                    id=segments[one.id],
                    collection_id=collection_id,
                    partition_id=partitions[one.partition_id],
                )
                for one in plan.backup.segments
            },
        ),
        partitions=partitions,
        segments=segments,
    )


def _collection(
    plan: Restored,
    cut: Timestamp,
    collection_id: CollectionId,
    partitions: Mapping[PartitionId, PartitionId],
) -> CollectionMeta:
    old = plan.backup.meta
    return msgspec.structs.replace(
        old,
        id=collection_id,
        schema=msgspec.structs.replace(old.schema, name=plan.name),
        aliases=plan.aliases,
        checkpoint=max(old.checkpoint, cut),
        partitions=tuple(
            msgspec.structs.replace(one, id=partitions[one.id]) for one in old.partitions
        ),
        deletes=tuple(
            _deletes(one, partitions)
            for one in old.deletes
            if one.partition_id == _EVERYWHERE or one.partition_id in partitions
        ),
    )


def _deletes(old: DeleteFile, partitions: Mapping[PartitionId, PartitionId]) -> DeleteFile:
    if old.partition_id == _EVERYWHERE:
        return old
    return msgspec.structs.replace(old, partition_id=partitions[old.partition_id])


def without_indexes(view: CollectionView, damaged: Mapping[SegmentId, set[str]]) -> CollectionView:
    """The same, without the index files `damaged`, by segment."""
    segments: dict[SegmentId, SegmentMeta] = {}
    for segment in view.segments.values():
        gone = damaged.get(segment.id, set())
        kept = tuple(index for index in segment.indexes if index.name not in gone)
        segments[segment.id] = msgspec.structs.replace(segment, indexes=kept)
    return CollectionView(view.meta, segments)
