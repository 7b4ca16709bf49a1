"""The ring: which reader serves which segments, drawn and as tables."""

from __future__ import annotations

from mishards.api.http.console.collections import SegmentRow
from mishards.api.http.console.figures import clock, count, plural, size
from mishards.api.http.console.frame import CONDITIONS, badge, document, pager, section, table
from mishards.api.http.console.markup import Child, Html, el
from mishards.api.http.console.ring import Ring, Share
from mishards.api.http.console.ring_drawing import WORDS, legend, ring_drawing

_LISTED = 30


def ring_page(view: Ring) -> str:
    """The page."""
    if not view.chosen:
        nothing = el("p", "No collection yet: there is nothing to place.", class_="none")
        return document("Ring", "/ring", nothing)
    return document(
        "Ring",
        "/ring",
        _choice(view),
        _said(view),
        el(
            "div",
            el("figure", ring_drawing(view), el("figcaption", legend())),
            _shares(view),
            class_="beside",
        ),
        segments_section(view.segments.items, planned=view.planned),
        pager(view.segments, "/ring", "segment", collection=view.chosen),
    )


def _choice(view: Ring) -> Html:
    options = [el("option", name, value=name, selected=name == view.chosen) for name in view.names]
    return el(
        "form",
        el("label", "Collection", for_="collection"),
        el("select", options, id="collection", name="collection"),
        el("button", "Show"),
        method="get",
        class_="bar",
    )


def _said(view: Ring) -> list[Html]:
    said = []
    if not view.loaded:
        said.append(el("p", badge("quiet", "not loaded"), " It cannot be searched until it is."))
    elif view.unserved:
        said.append(
            el(
                "p",
                badge("warning", f"{plural(view.unserved, 'segment')} open at no reader"),
                " The first search that needs one waits while it is opened.",
            )
        )
    if not view.planned and view.segments.total:
        said.append(
            el("p", "So large a cluster is shown as it is, not as it is planned.", class_="note")
        )
    return said


def _shares(view: Ring) -> Html:
    # Those that need a look come first, then those that serve most.
    listed = sorted(view.shares, key=lambda share: (share.condition == "ready", -share.total))
    rows = [(share.reader, _share(share)) for share in listed[:_LISTED]]
    left = view.more_readers + len(view.shares) - len(rows)
    more = f"{plural(left, 'more reader')} not listed." if left else ""
    as_of = f"{plural(view.replicas, 'replica')}, as of {clock(view.now_ms)}"
    return section(
        "Readers",
        table("What each reader serves", ("reader", "state", "#segments", "#rows", "#size"), rows),
        note=f"{as_of}. {more}",
    )


def _share(share: Share) -> list[Child]:
    off = [f"{n} {WORDS[kind]}" for kind, n in share.counts.items() if kind != "indexed"]
    return [
        el("span", share.reader, class_="id"),
        badge(CONDITIONS[share.condition], share.condition),
        [count(share.total), el("small", ", ".join(off), class_="below") if off else None],
        count(share.rows),
        size(share.size_bytes),
    ]


def segments_section(rows: list[SegmentRow], *, planned: bool) -> Html:
    """The segments of a page, as a table."""
    served = ("to be served by",) if planned else ()
    columns = ("segment", "partition", "#rows", "#size", "indexes", *served, "open at")
    cells = [(str(row.id), _segment(row, planned=planned)) for row in rows]
    return section("Segments", table("Segments and their readers", columns, cells))


def _segment(row: SegmentRow, *, planned: bool) -> list[Child]:
    opened: list[Child] = [
        el("li", el("span", node, class_="id"), f" ({how})") for node, how in row.open_at.items()
    ]
    opened += [
        el("li", badge("broken", "damaged"), " ", el("span", node, class_="id"), f": {why}")
        for node, why in row.damaged_at.items()
    ]
    return [
        el("span", row.id, class_="id"),
        row.partition,
        count(row.rows),
        size(row.size_bytes),
        ", ".join(row.indexes) or "none yet",
        *([el("span", ", ".join(row.planned) or "–", class_="id")] if planned else []),
        el("ul", opened) if opened else badge("quiet", "no reader"),
    ]
