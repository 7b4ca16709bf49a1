"""The ring as a drawing: an arc for each reader, in it a cell for each of its segments.

The table beside it says the same; the drawing's size is bounded by what `Ring` holds.
"""

from __future__ import annotations

import math

from mishards.api.http.console.figures import plural
from mishards.api.http.console.markup import Html, el
from mishards.api.http.console.ring import Cell, Ring, Share

_NAMED = 24
"""Up to so many readers have their names at their arcs."""
_OUTER, _INNER, _LABEL = 150.0, 104.0, 162.0
_GAP = 0.012
_CENTRE = (260.0, 200.0)

WORDS: dict[Cell, str] = {
    "indexed": "open, searched by index",
    "unindexed": "open, no index yet",
    "closed": "not open",
    "damaged": "damaged",
}


def ring_drawing(view: Ring) -> Html:
    """The drawing, with words for those who do not see it."""
    readers = plural(len(view.shares) + view.more_readers, "reader")
    segments = plural(view.segments.total, "segment")
    weights = [max(1, share.total) for share in view.shares]
    whole = sum(weights)
    arcs = []
    start = -math.pi / 2
    for share, weight in zip(view.shares, weights, strict=True):
        end = start + 2 * math.pi * weight / whole
        arcs.append(_share(share, start, end, named=len(view.shares) <= _NAMED))
        start = end
    return el(
        "svg",
        el("title", f"{segments} of {view.chosen} on {readers}", id="drawn"),
        arcs,
        _text(_CENTRE[0], _CENTRE[1] - 6, str(view.segments.total), "middle", "big"),
        _text(_CENTRE[0], _CENTRE[1] + 16, "segment" if view.segments.total == 1 else "segments"),
        _text(_CENTRE[0], _CENTRE[1] + 36, f"on {readers}"),
        viewBox="0 0 520 400",
        role="img",
        aria_labelledby="drawn",
        class_="ring",
    )


def legend() -> Html:
    """What the cells' looks mean."""
    return el(
        "ul",
        [
            el(
                "li",
                el(
                    "svg",
                    el("rect", x=1, y=1, width=14, height=14, rx=2, class_=f"cell {kind}"),
                    viewBox="0 0 16 16",
                    width=16,
                    height=16,
                    aria_hidden="true",
                ),
                " ",
                words,
            )
            for kind, words in WORDS.items()
        ],
        class_="legend",
    )


def _share(share: Share, start: float, end: float, *, named: bool) -> Html:
    gap = min(_GAP, (end - start) / 4)
    start, end = start + gap, end - gap
    said = ", ".join(f"{count} {WORDS[kind]}" for kind, count in share.counts.items())
    title = el("title", f"{share.reader}, {share.condition}: {said or 'no segment'}")
    if share.cells:
        step = (end - start) / len(share.cells)
        parts = [
            _arc(start + at * step, start + (at + 1) * step, kind)
            for at, kind in enumerate(share.cells)
        ]
    else:
        parts = _bands(share, start, end)
    label = _label(share, (start + end) / 2) if named else None
    silent = "" if share.condition in ("ready", "not asked") else " down"
    return el("g", title, parts, label, class_="share" + silent)


def _bands(share: Share, start: float, end: float) -> list[Html]:
    """One arc for each state, as long as there are segments in it."""
    if not share.counts:
        return [_arc(start, end, "none")]
    made, at = [], start
    for kind in WORDS:
        width = (end - start) * share.counts.get(kind, 0) / share.total
        if width:
            made.append(_arc(at, at + width, kind))
        at += width
    return made


def _arc(start: float, end: float, kind: str) -> Html:
    """A piece of the ring between two angles."""
    # What has the same start and end is nothing to SVG: a whole turn is a little less than one.
    end = min(end, start + 2 * math.pi - 0.0005)
    large = int(end - start > math.pi)
    points = [_at(start, _OUTER), _at(end, _OUTER), _at(end, _INNER), _at(start, _INNER)]
    a, b, c, d = (f"{x:.1f} {y:.1f}" for x, y in points)
    path = f"M{a}A{_OUTER} {_OUTER} 0 {large} 1 {b}L{c}A{_INNER} {_INNER} 0 {large} 0 {d}Z"
    return el("path", d=path, class_=f"cell {kind}")


def _label(share: Share, angle: float) -> Html:
    x, y = _at(angle, _LABEL)
    across = math.cos(angle)
    anchor = "start" if across > 0.2 else "end" if across < -0.2 else "middle"
    sign = "" if share.condition in ("ready", "not asked") else "✕ "
    return _text(x, y + 4 + 6 * math.sin(angle), sign + _short(share.reader), anchor, "name")


def _short(name: str) -> str:
    """A name that fits beside the ring: long ones differ most at their ends."""
    return name if len(name) <= 14 else f"…{name[-13:]}"


def _at(angle: float, radius: float) -> tuple[float, float]:
    return _CENTRE[0] + radius * math.cos(angle), _CENTRE[1] + radius * math.sin(angle)


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "small") -> Html:
    return el("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=kind)
