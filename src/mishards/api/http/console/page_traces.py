"""The pages of slow requests: their list, and one as a waterfall and as text."""

from __future__ import annotations

from mishards.api.http.console.figures import count, duration, moment, plural
from mishards.api.http.console.frame import badge, document, pager, section, table
from mishards.api.http.console.markup import Child, Html, el
from mishards.api.http.console.traces import SlowList, Step, TraceRow, Waterfall, as_text

_LONG = 90


def slow_page(view: SlowList) -> str:
    """The list."""
    rows = [(row.trace_id, _row(row)) for row in view.page.items]
    columns = ("request", "began", "#took", "outcome", "collection", "#steps", "trace")
    nothing = el(
        "p",
        "None since this proxy started. What takes longer than tracing.slow_ms, and what the "
        "system failed, appears here; each proxy has a list of its own.",
        class_="none",
    )
    return document(
        "Slow searches",
        "/slow",
        section(
            "Slow and failed requests",
            table("Slow and failed requests", columns, rows) if rows else nothing,
            pager(view.page, "/slow", "request"),
            note="of this proxy, the newest first",
        ),
    )


def trace_page(view: Waterfall | None) -> str:
    """One of them; None where it is no longer remembered."""
    if view is None:
        said = "This proxy does not remember that request: newer ones took its place."
        return document("Request", "/slow", el("p", said, class_="none"), live=False)
    row = view.row
    failed = el("p", badge("broken", "failed"), " ", row.error) if row.error else None
    return document(
        f"{row.name}, {duration(row.duration_s)}",
        "/slow",
        el("p", f"Began {moment(row.started_ms)}. ", el("span", row.trace_id, class_="id")),
        failed,
        waterfall_section(view),
        live=False,
    )


def waterfall_section(view: Waterfall) -> Html:
    """A request's steps, drawn, and as text."""
    columns = ("step", "when", "#took", "node", "what it says")
    rows = [(str(at), _step(step)) for at, step in enumerate(view.steps)]
    more = f", {plural(view.more_steps, 'more step')} not shown" if view.more_steps else ""
    return section(
        "Steps",
        el("div", table("Steps of the request", columns, rows), class_="waterfall"),
        el("details", el("summary", "As text"), el("pre", as_text(view), tabindex=0)),
        note=plural(view.row.spans, "step") + more,
    )


def _row(row: TraceRow) -> list[Child]:
    failed: Child = badge("warning", "slow")
    if row.error:
        said = row.error if len(row.error) <= _LONG else row.error[:_LONG] + "…"
        failed = [badge("broken", "failed"), " ", said]
    return [
        el("a", row.name, href=f"/slow/{row.trace_id}"),
        moment(row.started_ms),
        duration(row.duration_s),
        failed,
        row.about or "–",
        count(row.spans),
        el("span", row.trace_id[:16], class_="id"),
    ]


def _step(step: Step) -> list[Child]:
    events = [
        el("li", f"+{duration(event.after_s)} ", el("b", event.name), f" {event.said}")
        for event in step.events
    ]
    return [
        el("span", step.name, class_=f"depth-{min(step.depth, 8)}"),
        _bar(step),
        duration(step.duration_s),
        el("span", step.node, class_="id"),
        [
            step.said or None,
            el("p", badge("broken", "failed"), " ", step.error) if step.error else None,
            el("ul", events) if events else None,
        ],
    ]


def _bar(step: Step) -> Html:
    said = f"from {duration(step.start_s)} on, for {duration(step.duration_s)}"
    return el(
        "svg",
        el("title", said),
        el("rect", x=0, y=7, width=200, height=2, class_="track"),
        el(
            "rect",
            x=f"{198 * step.start:.1f}",
            y=2,
            width=f"{max(2.0, 200 * step.width):.1f}",
            height=12,
            rx=2,
            class_="bar-failed" if step.error else "bar-whole",
        ),
        [
            el("rect", x=f"{198.5 * event.at:.1f}", y=0, width=1.5, height=16, class_="mark")
            for event in step.events
        ],
        viewBox="0 0 200 16",
        preserveAspectRatio="none",
        role="img",
        class_="span",
    )
