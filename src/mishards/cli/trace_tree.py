"""A trace on the terminal: its spans as a tree, with times, attributes and what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from mishards.cli.tables import new_table

_PIPED_WIDTH = 200
_BAR = 12


def draw(explanation: Mapping[str, Any], hits: int) -> None:
    """Print the explanation of a search that found so many hits."""
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    console.print(tree_of(explanation["spans"]))
    table = new_table("segment", "reader", "method", "rows", "allowed", "scanned", "ms")
    table.title = "searched"
    for one in explanation["segments"]:
        how = one["method"] or "no row is allowed"
        table.add_row(
            one["segment"] or "growing rows",
            one["reader"],
            f"{how} ({one['index']})" if one["index"] != "none" else how,
            f"{one['rows']:,}",
            f"{one['rows_allowed']:,} ({one['selectivity']:.1%})",
            f"{one['rows_scanned']:,}",
            f"{one['ms']:.3f}",
        )
    console.print(table)
    if explanation["pruned"]:
        console.print(f"not searched: {len(explanation['pruned'])} segments")
        for one in explanation["pruned"]:
            console.print(f"  {one['segment']} ({one['rows']:,} rows): {one['why']}")
    console.print(f"{hits} hits in {explanation['ms']:.3f} ms, trace {explanation['trace_id']}")


def draw_all(traces: Sequence[Mapping[str, Any]]) -> None:
    """Print traces one below the other, each with the time it began."""
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    for trace in traces:
        began = datetime.fromtimestamp(trace["spans"][0]["start_ns"] / 1e9, UTC)
        console.print(f"{began:%Y-%m-%d %H:%M:%S.%f} UTC, trace {trace['trace_id']}")
        console.print(tree_of(trace["spans"]))
    console.print(f"{len(traces)} calls")


def tree_of(spans: list[dict[str, Any]]) -> Tree:
    """The spans of a trace, the root first, each below its parent."""
    root = spans[0]
    whole_ms = root["ms"] or 1.0
    drawn = {root["span_id"]: Tree(_line(root, root, whole_ms))}
    left = spans[1:]
    while left:
        later = []
        for span in left:
            if (parent := drawn.get(span["parent_id"])) is None:
                later.append(span)
            else:
                drawn[span["span_id"]] = parent.add(_line(span, root, whole_ms))
        if len(later) == len(left):  # their parent was left out: they are shown all the same
            for span in later:
                drawn[root["span_id"]].add(_line(span, root, whole_ms))
            break
        left = later
    return drawn[root["span_id"]]


def _line(span: Mapping[str, Any], root: Mapping[str, Any], whole_ms: float) -> str:
    """A span in a line, its events below."""
    at_ms = (span["start_ns"] - root["start_ns"]) / 1e6
    first = min(_BAR - 1, max(0, int(_BAR * at_ms / whole_ms)))
    length = max(1, min(_BAR - first, round(_BAR * span["ms"] / whole_ms)))
    bar = "·" * first + "━" * length + "·" * (_BAR - first - length)
    parts = [f"[dim]{bar}[/dim] [bold]{escape(span['name'])}[/bold] {span['ms']:.3f} ms"]
    if span["node"] != root["node"] or span is root:
        parts.append(f"[cyan]{escape(span['node'])}[/cyan]")
    parts += [f"{name}={escape(str(value))}" for name, value in span["attributes"].items()]
    if span["error"]:
        parts.append(f"[red]{escape(span['error'])}[/red]")
    line = " ".join(parts)
    for event in span["events"]:
        told = " ".join(f"{name}={escape(str(v))}" for name, v in event["attributes"].items())
        line += f"\n[yellow]! {escape(event['name'])}[/yellow] at {event['ms']:.3f} ms {told}"
    return line
