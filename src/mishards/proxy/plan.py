"""Planning a read on one snapshot: which units it touches, and which readers may serve each.

Pure. Nothing here grows with the number of all segments or nodes beyond those of the collection:
preference lists are computed once per collection view and membership version.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mishards.core.errors import (
    CollectionNotLoaded,
    PartitionNotFound,
    PartitionNotLoaded,
)
from mishards.core.ids import CollectionId, NodeId, PartitionId, SegmentId
from mishards.expr import Filter
from mishards.metadata.snapshot import CollectionView
from mishards.routing.protocol import RoutingPolicy, Unit


class RouteTable(msgspec.Struct, frozen=True):
    """Preference lists of a collection's units, for one view and one membership."""

    view: CollectionView
    membership: int
    preferences: dict[Unit, tuple[NodeId, ...]]


class Router:
    """Keeps the newest `RouteTable` of each collection."""

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self._tables: dict[CollectionId, RouteTable] = {}

    def table(self, view: CollectionView, membership: int, readers: Sequence[NodeId]) -> RouteTable:
        """The preference lists of all units of `view`. Thread-safe."""
        known = self._tables.get(view.id)
        if known is not None and known.view is view and known.membership == membership:
            return known
        units: list[Unit] = [*view.segments, -view.id]
        weights: dict[Unit, int] = {segment.id: segment.rows for segment in view.segments.values()}
        table = RouteTable(view, membership, self._policy.preferences(units, readers, weights))
        self._tables[view.id] = table
        return table

    def forget(self, alive: frozenset[CollectionId]) -> None:
        """Drop the tables of collections that are gone."""
        for gone in self._tables.keys() - alive:
            self._tables.pop(gone, None)


class Scope(msgspec.Struct, frozen=True):
    """What a read touches.

    Attributes:
        segments: sealed segments that may hold a match.
        partitions: of growing rows; empty means all.
    """

    segments: tuple[SegmentId, ...]
    partitions: tuple[PartitionId, ...]
    growing: bool


def read_scope(
    view: CollectionView,
    partitions: Sequence[str],
    selection: Filter | None,
    *,
    growing: bool = True,
    loaded_only: bool = True,
) -> Scope:
    """The segments and partitions of a read, pruned by the filter's statistics.

    Raises:
        CollectionNotLoaded, PartitionNotFound, PartitionNotLoaded.
    """
    wanted = _partition_ids(view, partitions, loaded_only)
    segments = []
    for segment in view.segments.values():
        if wanted is not None and segment.partition_id not in wanted:
            continue
        if selection is None or selection.may_match(segment.statistics, segment.rows):
            segments.append(segment.id)
    return Scope(tuple(segments), () if wanted is None else tuple(sorted(wanted)), growing)


def _partition_ids(
    view: CollectionView, names: Sequence[str], loaded_only: bool
) -> frozenset[PartitionId] | None:
    """Ids of the partitions a read is confined to; None for the whole collection."""
    meta = view.meta
    loaded = meta.loaded_partitions
    if loaded_only and not loaded:
        raise CollectionNotLoaded(f"collection {meta.name!r} is not loaded; load it first")
    if not names:
        return None if not loaded_only or len(loaded) == len(meta.partitions) else loaded
    wanted = set()
    for name in names:
        partition = meta.partition_by_name.get(name)
        if partition is None:
            raise PartitionNotFound(f"partition {name!r} not found in collection {meta.name!r}")
        if loaded_only and not partition.loaded:
            raise PartitionNotLoaded(
                f"partition {name!r} of collection {meta.name!r} is not loaded; load it first"
            )
        wanted.add(partition.id)
    return frozenset(wanted)
