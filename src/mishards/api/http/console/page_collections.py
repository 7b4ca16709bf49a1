"""The list of collections."""

from __future__ import annotations

import msgspec

from mishards.api.http.console.collections import (
    CollectionRow,
    Summing,
    collection_row,
    open_copies,
    sorted_views,
)
from mishards.api.http.console.figures import count, plural, size
from mishards.api.http.console.frame import (
    badge,
    collection_path,
    document,
    pager,
    section,
    table,
)
from mishards.api.http.console.markup import Child, Html, el
from mishards.api.http.console.paging import Page, cut
from mishards.proxy.cluster_state import ClusterState


class Collections(msgspec.Struct, frozen=True):
    """Collections whose names hold `part`."""

    part: str
    page: Page[CollectionRow]


def collections(
    state: ClusterState, summing: Summing, part: str = "", number: int = 1
) -> Collections:
    """The view of a state."""
    views = cut(sorted_views(state.snapshot, part), number)
    copies = open_copies(state)
    rows = [collection_row(view, state, summing, copies) for view in views.items]
    return Collections(part, Page(rows, views.number, views.pages, views.total))


def collections_page(view: Collections) -> str:
    """The page."""
    columns = (
        *("collection", "state", "#rows sealed", "#rows growing", "#segments"),
        *("#indexed", "#on storage", "#mapped by readers", "indexes"),
    )
    rows = [(f"{row.database}/{row.name}", _row(row)) for row in view.page.items]
    search = el(
        "form",
        el("label", "Name holds", for_="part"),
        el("input", id="part", name="part", value=view.part, type="search", maxlength=255),
        el("button", "Show"),
        method="get",
        role="search",
        class_="bar",
    )
    nothing = el(
        "p",
        "No collection yet. " if not view.part else "No collection's name holds that. ",
        None if view.part else "Make one with any Milvus client; it appears here by itself.",
        class_="none",
    )
    return document(
        "Collections",
        "/collections",
        search,
        section(
            "All collections" if not view.part else "Collections found",
            table("Collections", columns, rows) if rows else nothing,
            pager(view.page, "/collections", "collection", part=view.part),
            note=plural(view.page.total, "collection"),
        ),
    )


def loaded(row: CollectionRow) -> Html:
    """Whether it can be searched, in a word."""
    if not row.loaded:
        return badge("quiet", "not loaded")
    return badge("good", f"loaded, {plural(row.replicas, 'replica')}")


def _row(row: CollectionRow) -> list[Child]:
    sealed = row.sealed
    return [
        el(
            "a",
            row.name if row.database == "default" else f"{row.database} / {row.name}",
            href=collection_path(row.database, row.name),
        ),
        loaded(row),
        count(sealed.rows),
        count(row.growing),
        count(sealed.segments),
        count(sealed.indexed),
        size(sealed.data_bytes + sealed.index_bytes),
        size(row.mapped_bytes),
        el("ul", [el("li", index) for index in row.indexes]) if row.indexes else "none",
    ]
