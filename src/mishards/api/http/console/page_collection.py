"""The page of one collection."""

from __future__ import annotations

from mishards.api.http.console.collection import FieldRow, OneCollection, PartitionRow
from mishards.api.http.console.figures import count, duration, large, moment, plural, size
from mishards.api.http.console.frame import (
    badge,
    collection_path,
    document,
    pager,
    section,
    table,
    tile,
    url,
)
from mishards.api.http.console.markup import Child, Html, el
from mishards.api.http.console.page_collections import loaded
from mishards.api.http.console.page_ring import segments_section


def collection_page(view: OneCollection, steering: Child = None) -> str:
    """The page; `steering` is what may be done to the collection."""
    row = view.row
    full = f"{row.database}/{row.name}"
    return document(
        f"Collection {row.name}",
        "/collections",
        el("p", view.description) if view.description else None,
        el(
            "p",
            loaded(row),
            " · ",
            el("a", "Search it in the playground", href=url("/playground", collection=full)),
            " · ",
            el("a", "See it on the ring", href=url("/ring", collection=full)),
        ),
        _figures(view),
        steering,
        section(
            "Fields",
            table(
                "Fields of the collection",
                ("field", "type", "notes", "index"),
                [(field.name, _field(field)) for field in view.fields],
            ),
        ),
        section(
            "Partitions",
            table(
                "Partitions of the collection",
                ("partition", "state", "#segments", "#rows sealed"),
                [(partition.name, _partition(partition)) for partition in view.partitions],
            ),
            note=f"{plural(view.more_partitions, 'more partition')} not shown"
            if view.more_partitions
            else None,
        ),
        segments_section(view.segments.items, planned=False),
        pager(view.segments, collection_path(row.database, row.name), "segment"),
    )


def _figures(view: OneCollection) -> Html:
    row, sealed = view.row, view.row.sealed
    more = [
        ("Database", row.database),
        ("Log", f"log {row.log}"),
        ("Consistency", view.consistency),
        ("Created", moment(view.created_ms)),
        ("Aliases", ", ".join(view.aliases) or "none"),
        ("Rows live", duration(view.ttl_s) if view.ttl_s else "for ever"),
        (
            "Deletes not folded in",
            f"{count(view.deletes)} in {plural(view.delete_files, 'file')}"
            if view.delete_files
            else "none",
        ),
    ]
    return el(
        "div",
        el(
            "dl",
            tile("Rows, sealed", large(sealed.rows), f"in {plural(sealed.segments, 'segment')}"),
            tile("Rows, growing", count(row.growing), "searched, not sealed yet"),
            tile(
                "With an index",
                f"{count(sealed.indexed)} of {count(sealed.segments)}",
                "segments; others are searched in full",
            ),
            tile(
                "On storage",
                size(sealed.data_bytes + sealed.index_bytes),
                f"{size(sealed.index_bytes)} of it indexes",
            ),
            tile("Mapped by readers", size(row.mapped_bytes), "of all that have it open"),
            class_="tiles",
        ),
        el(
            "dl", [el("div", el("dt", name), el("dd", said)) for name, said in more], class_="facts"
        ),
    )


def _field(field: FieldRow) -> list[Child]:
    return [field.name, field.type, ", ".join(field.notes) or "–", field.index or "–"]


def _partition(partition: PartitionRow) -> list[Child]:
    state = badge("good", "loaded") if partition.loaded else badge("quiet", "not loaded")
    return [partition.name, state, count(partition.segments), count(partition.rows)]
