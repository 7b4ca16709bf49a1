"""One collection, as it is shown. Pure."""

from __future__ import annotations

import msgspec

from mishards.api.http.console.collections import (
    CollectionRow,
    SegmentRow,
    Summing,
    collection_row,
    open_copies,
    segment_row,
)
from mishards.api.http.console.paging import Page, cut
from mishards.core.schema import FieldSchema
from mishards.core.timestamps import physical_ms
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.cluster_state import ClusterState

_PARTITIONS = 50


class FieldRow(msgspec.Struct, frozen=True, kw_only=True):
    """A field; `index` as `FAMILY, METRIC (parameters)`, empty for none."""

    name: str
    type: str
    notes: tuple[str, ...]
    index: str


class PartitionRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    loaded: bool
    segments: int
    rows: int


class OneCollection(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection's page shows.

    Attributes:
        created_ms: Unix time.
        delete_files: flushed deletes that compaction has not folded in yet.
        deletes: in those files.
    """

    row: CollectionRow
    description: str
    aliases: tuple[str, ...]
    consistency: str
    created_ms: int
    ttl_s: int
    fields: list[FieldRow]
    partitions: list[PartitionRow]
    more_partitions: int
    delete_files: int
    deletes: int
    segments: Page[SegmentRow]


def one_collection(
    state: ClusterState, summing: Summing, view: CollectionView, page: int = 1
) -> OneCollection:
    """The view of a collection of the state; `page` of its segments."""
    meta = view.meta
    segments = cut(sorted(view.segments.values(), key=lambda segment: segment.id), page)
    rows = [segment_row(segment, view, state, ()) for segment in segments.items]
    held: dict[int, tuple[int, int]] = {}
    for segment in view.segments.values():
        number, total = held.get(segment.partition_id, (0, 0))
        held[segment.partition_id] = (number + 1, total + segment.rows)
    return OneCollection(
        row=collection_row(view, state, summing, open_copies(state)),
        description=view.schema.description,
        aliases=meta.aliases,
        consistency=meta.consistency.name.capitalize(),
        created_ms=physical_ms(meta.created),
        ttl_s=meta.ttl_s,
        fields=[_field(field, view) for field in view.schema.fields],
        partitions=[
            PartitionRow(
                name=partition.name,
                loaded=partition.loaded,
                segments=held.get(partition.id, (0, 0))[0],
                rows=held.get(partition.id, (0, 0))[1],
            )
            for partition in meta.partitions[:_PARTITIONS]
        ],
        more_partitions=max(0, len(meta.partitions) - _PARTITIONS),
        delete_files=len(meta.deletes),
        deletes=sum(file.rows for file in meta.deletes),
        segments=Page(rows, segments.number, segments.pages, segments.total),
    )


def _field(field: FieldSchema, view: CollectionView) -> FieldRow:
    kind = field.type.name
    if field.dim:
        kind += f"({field.dim})"
    elif field.element_type is not None:
        kind += f" of {field.element_type.name}"
    elif field.max_length:
        kind += f"({field.max_length})"
    notes = [
        word
        for word, holds in (
            ("primary key", field.primary_key),
            ("automatic id", field.auto_id),
            ("nullable", field.nullable),
            ("dynamic fields", field.dynamic),
            (f"default {field.default!r}", field.has_default),
        )
        if holds
    ]
    index = view.meta.index_by_field.get(field.name)
    given = "" if index is None else ", ".join(f"{key} {value}" for key, value in index.params)
    return FieldRow(
        name=field.name,
        type=kind,
        notes=tuple(notes),
        index=""
        if index is None
        else f"{index.family}, {index.metric}" + (f" ({given})" if given else ""),
    )
