"""The collections and their segments, as they are shown. Pure.

Sums over a collection's segments are kept for as long as its view stays the same, so a look costs
what has changed since the last one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from mishards.core.ids import CollectionId, SegmentId
from mishards.metadata.models import CollectionMeta, SegmentMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.proxy.cluster_state import ClusterState


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """Over sealed segments.

    Attributes:
        rows: deleted ones included, until compaction.
        indexed: segments with an index for each vector field that is to have one.
    """

    segments: int = 0
    rows: int = 0
    data_bytes: int = 0
    index_bytes: int = 0
    indexed: int = 0


class CollectionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A collection.

    Attributes:
        growing: rows that are not sealed yet, as of the reader that has most.
        indexes: as `field: FAMILY, METRIC`.
        mapped_bytes: of its segments, summed over the readers that have them open.
    """

    database: str
    name: str
    loaded: bool
    replicas: int
    log: int
    sealed: Sums
    growing: int
    mapped_bytes: int
    partitions: int
    indexes: tuple[str, ...]


class SegmentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A segment, with what each reader that has it open searches it with."""

    id: int
    partition: str
    rows: int
    size_bytes: int
    indexes: tuple[str, ...]
    planned: tuple[str, ...] = ()
    open_at: dict[str, str] = {}
    damaged_at: dict[str, str] = {}


class Summing:
    """Sums of collections. Thread-safe: what is kept is only replaced."""

    def __init__(self) -> None:
        self._known: dict[CollectionId, tuple[CollectionView, Sums]] = {}

    def of(self, view: CollectionView) -> Sums:
        """The sums of one collection."""
        known = self._known.get(view.id)
        if known is not None and known[0] is view:
            return known[1]
        sums = summed(view)
        self._known[view.id] = (view, sums)
        return sums

    def total(self, snapshot: MetadataSnapshot) -> Sums:
        """The sums over all collections."""
        for gone in self._known.keys() - snapshot.collections.keys():
            self._known.pop(gone, None)
        all_sums = [self.of(view) for view in snapshot.collections.values()]
        return Sums(
            **{
                field: sum(getattr(sums, field) for sums in all_sums)
                for field in Sums.__struct_fields__
            }
        )


def summed(view: CollectionView) -> Sums:
    """The sums over the segments of a collection."""
    wanted = {index.field for index in view.meta.indexes}
    segments = view.segments.values()
    return Sums(
        segments=len(segments),
        rows=sum(segment.rows for segment in segments),
        data_bytes=sum(segment.size_bytes for segment in segments),
        index_bytes=sum(index.size_bytes for s in segments for index in s.indexes),
        indexed=sum(wanted <= {index.field for index in s.indexes} for s in segments),
    )


def database_names(snapshot: MetadataSnapshot) -> dict[int, str]:
    """Names of databases by their ids."""
    return {database.id: database.name for database in snapshot.databases.values()}


def sorted_views(snapshot: MetadataSnapshot, part: str = "") -> list[CollectionView]:
    """The collections whose name holds `part`, by database and name."""
    names = database_names(snapshot)
    found = [v for v in snapshot.collections.values() if part.lower() in v.name.lower()]
    return sorted(found, key=lambda view: (names.get(view.meta.database_id, ""), view.name))


def open_copies(state: ClusterState) -> Counter[SegmentId]:
    """How many readers have each segment open."""
    copies: Counter[SegmentId] = Counter()
    for reply in state.replies.values():
        copies.update(reply.segments.keys())
    return copies


def collection_row(
    view: CollectionView, state: ClusterState, summing: Summing, copies: Mapping[SegmentId, int]
) -> CollectionRow:
    """One collection."""
    meta = view.meta
    return CollectionRow(
        database=database_names(state.snapshot).get(meta.database_id, ""),
        name=view.name,
        loaded=bool(meta.loaded_partitions),
        replicas=meta.replica_number,
        log=meta.log_id,
        sealed=summing.of(view),
        growing=max((r.growing_rows.get(view.id, 0) for r in state.replies.values()), default=0),
        mapped_bytes=sum(
            copies.get(segment.id, 0) * whole_bytes(segment) for segment in view.segments.values()
        ),
        partitions=len(meta.partitions),
        indexes=index_names(meta),
    )


def whole_bytes(segment: SegmentMeta) -> int:
    """Of a segment and its indexes."""
    return segment.size_bytes + sum(index.size_bytes for index in segment.indexes)


def index_names(meta: CollectionMeta) -> tuple[str, ...]:
    """`field: FAMILY, METRIC` of each index."""
    return tuple(f"{i.field}: {i.family}, {i.metric}" for i in meta.indexes)


def segment_row(
    segment: SegmentMeta, view: CollectionView, state: ClusterState, planned: tuple[str, ...]
) -> SegmentRow:
    """One segment; `planned` are the readers that are to serve it."""
    replies = state.replies.items()
    return SegmentRow(
        id=segment.id,
        partition=next(
            (p.name for p in view.meta.partitions if p.id == segment.partition_id), "dropped"
        ),
        rows=segment.rows,
        size_bytes=whole_bytes(segment),
        indexes=tuple(index.field for index in segment.indexes),
        planned=planned,
        open_at={node: r.segments[segment.id] for node, r in replies if segment.id in r.segments},
        damaged_at={
            node: r.quarantined[segment.id] for node, r in replies if segment.id in r.quarantined
        },
    )
