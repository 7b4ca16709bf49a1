"""What compaction commits: segments swapped, deletes that nobody needs any more let go.

Pure. Invariants: a swap happens while all its inputs are there, or not at all; a file of deletes
is named for as long as a named segment of its scope may hold a row that one of its deletes hides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec

from mishards.core.errors import MetadataConflict
from mishards.core.ids import SegmentId, Timestamp
from mishards.metadata.models import CollectionMeta, DeleteFile, SegmentMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.writer.edit import NOTHING, Edit


def concerns(file: DeleteFile, segment: SegmentMeta) -> bool:
    """Whether a delete of the file may hide a row of the segment."""
    return file.partition_id in (0, segment.partition_id) and file.max_ts > segment.folded_until


def needed(files: Iterable[DeleteFile], segments: Sequence[SegmentMeta]) -> tuple[DeleteFile, ...]:
    """Those of the files that some segment needs."""
    return tuple(file for file in files if any(concerns(file, one) for one in segments))


def swap_edit(
    snapshot: MetadataSnapshot,
    plan: CollectionView,
    inputs: Collection[SegmentId],
    outputs: Sequence[SegmentMeta],
) -> Edit:
    """Name `outputs` in place of `inputs`.

    Deletes that were flushed since the merge was planned are in files of their own, which the
    outputs need as the inputs did: they are newer than what was folded.

    Args:
        plan: the collection as of the merge.

    Raises:
        MetadataConflict: an input, its partition or the collection is gone, or has other fields.
    """
    view = snapshot.collections.get(plan.id)
    if view is None or not view.segments.keys() >= set(inputs):
        raise MetadataConflict(f"segments {sorted(inputs)} were dropped during their compaction")
    if view.schema.fields != plan.schema.fields:
        raise MetadataConflict(f"fields of collection {view.name!r} changed during a compaction")
    indexes = {index.id for index in view.meta.indexes}
    fresh = [
        msgspec.structs.replace(
            one, indexes=tuple(built for built in one.indexes if built.index_id in indexes)
        )
        for one in outputs
    ]
    kept = [one for one in view.segments.values() if one.id not in inputs]
    gone = tuple(view.segments[one].key for one in sorted(inputs))
    return Edit((*_with_deletes(view, [*kept, *fresh]), *fresh), gone)


def settle_edit(
    snapshot: MetadataSnapshot,
    plan: CollectionView,
    clean: Collection[SegmentId],
    folded: Timestamp,
) -> Edit:
    """Note that no delete up to `folded` hides a row of segments, where that lets a file go."""
    view = snapshot.collections.get(plan.id)
    if view is None:
        return NOTHING
    settled = {
        one.id: msgspec.structs.replace(one, folded=folded)
        for one in view.segments.values()
        if one.id in clean
        and one.folded_until < folded
        and any(concerns(file, one) for file in view.meta.deletes)
    }
    meta = _with_deletes(view, [settled.get(one.id, one) for one in view.segments.values()])
    return Edit((*meta, *settled.values())) if meta else NOTHING


def _with_deletes(
    view: CollectionView, segments: Sequence[SegmentMeta]
) -> tuple[CollectionMeta, ...]:
    """The collection's record with the files that `segments` need, where it is another one."""
    deletes = needed(view.meta.deletes, segments)
    if deletes == view.meta.deletes:
        return ()
    return (msgspec.structs.replace(view.meta, deletes=deletes),)
