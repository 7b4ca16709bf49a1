"""Which reader serves which segments of a collection, planned and in fact. Pure.

A reader's *share* are the segments for which it is among the first of their preference lists; it
opens them ahead of searches. Where a collection is too large to be planned for a look, a share is
what a reader has open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from mishards.api.http.console.collections import SegmentRow, segment_row, sorted_views
from mishards.api.http.console.nodes import NodeCondition, condition, in_order
from mishards.api.http.console.paging import Page, cut
from mishards.core.ids import NodeId, SegmentId
from mishards.metadata.models import SegmentMeta
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.cluster_state import ClusterState
from mishards.routing.protocol import Unit

Cell = Literal["indexed", "unindexed", "closed", "damaged"]
"""A segment at a reader: open and searched by its index, open without one, not open, refused."""

MOST_CELLS = 1200
MOST_READERS = 120
_MOST_NAMES = 200


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A reader and what it serves of the collection.

    Attributes:
        cells: state of each of its segments; empty where there are too many to draw.
        counts: how many are in each state.
    """

    reader: str
    condition: NodeCondition
    rows: int
    size_bytes: int
    cells: list[Cell]
    counts: dict[Cell, int]

    @property
    def total(self) -> int:
        """Segments of the share."""
        return sum(self.counts.values())


class Ring(msgspec.Struct, frozen=True, kw_only=True):
    """What the ring's page shows.

    Attributes:
        names: of collections to choose from, as `database/name`.
        chosen: one of them; empty where there is none.
        planned: whether shares are as planned, or what is open.
        shares: by reader, at most `MOST_READERS` of them.
        more_readers: how many are not among the shares.
        unserved: segments that no reader that answers has open.
    """

    names: list[str]
    chosen: str
    loaded: bool
    replicas: int
    planned: bool
    shares: list[Share]
    more_readers: int
    unserved: int
    segments: Page[SegmentRow]
    now_ms: int


def chosen_view(state: ClusterState, name: str) -> CollectionView | None:
    """The collection of that `database/name`; without a name the first that is loaded, or is."""
    if name:
        database, _, rest = name.partition("/")
        return state.snapshot.find(database, rest)
    views = sorted_views(state.snapshot)
    return next((v for v in views if v.meta.loaded_partitions), views[0] if views else None)


def ring(
    state: ClusterState,
    view: CollectionView | None,
    preferences: Mapping[Unit, tuple[NodeId, ...]],
    page: int = 1,
) -> Ring:
    """The ring of one collection; of none an empty one."""
    names = {database.id: database.name for database in state.snapshot.databases.values()}
    listed = sorted_views(state.snapshot)[:_MOST_NAMES]
    if view is None:
        segments: list[SegmentMeta] = []
        shares: list[Share] = []
    else:
        segments = sorted(view.segments.values(), key=lambda segment: segment.id)
        shares = _shares(state, view, preferences)
    shown = cut(segments, page)
    replicas = 0 if view is None else view.meta.replica_number
    rows = [
        segment_row(s, view, state, tuple(preferences.get(s.id, ())[: max(1, replicas)]))
        for s in shown.items
        if view is not None
    ]
    opened = {segment for reply in state.replies.values() for segment in reply.segments}
    chosen = "" if view is None else f"{names.get(view.meta.database_id, '')}/{view.name}"
    return Ring(
        names=sorted({*(f"{names.get(v.meta.database_id, '')}/{v.name}" for v in listed), chosen})
        if chosen
        else [],
        chosen=chosen,
        loaded=view is not None and bool(view.meta.loaded_partitions),
        replicas=replicas,
        planned=bool(preferences),
        shares=shares[:MOST_READERS],
        more_readers=max(0, len(shares) - MOST_READERS),
        unserved=sum(segment.id not in opened for segment in segments),
        segments=Page(rows, shown.number, shown.pages, shown.total),
        now_ms=state.now_ms,
    )


def _shares(
    state: ClusterState, view: CollectionView, preferences: Mapping[Unit, tuple[NodeId, ...]]
) -> list[Share]:
    held: dict[NodeId, list[SegmentId]] = {
        node.id: [] for node in state.nodes if "reader" in node.roles
    }
    replicas = max(1, view.meta.replica_number)
    for segment in sorted(view.segments) if preferences else ():
        for reader in preferences.get(segment, ())[:replicas]:
            held.setdefault(reader, []).append(segment)
    if not preferences:
        for reader in held:
            reply = state.replies.get(reader)
            opened = () if reply is None else reply.segments
            held[reader] = sorted(segment for segment in opened if segment in view.segments)
    few = sum(map(len, held.values())) <= MOST_CELLS
    conditions = {node.id: condition(node, state) for node in state.nodes}
    made = []
    for reader in sorted(held, key=in_order):
        cells = [_cell(state, view.segments[segment], reader) for segment in held[reader]]
        of_reader = [view.segments[segment] for segment in held[reader]]
        made.append(
            Share(
                reader=reader,
                condition=conditions.get(reader, "not asked"),
                rows=sum(segment.rows for segment in of_reader),
                size_bytes=sum(segment.size_bytes for segment in of_reader),
                cells=cells if few else [],
                counts={kind: cells.count(kind) for kind in dict.fromkeys(cells)},
            )
        )
    return made


def _cell(state: ClusterState, segment: SegmentMeta, reader: NodeId) -> Cell:
    reply = state.replies.get(reader)
    if reply is None:
        return "closed"
    if segment.id in reply.quarantined:
        return "damaged"
    if segment.id not in reply.segments:
        return "closed"
    return "indexed" if segment.indexes else "unindexed"
