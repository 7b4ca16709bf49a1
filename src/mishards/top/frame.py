"""One frame of the live view, fitted to the terminal's width and height.

Invariant: what does not fit is left out whole, the least important column first, and rows that are
left out are counted; nothing wraps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mishards.doctor.words import size
from mishards.top.view import CollectionRow, NodeRow, View

R = TypeVar("R")

_STATES = {"ready": "green", "not ready": "yellow", "no answer": "bold red"}
_MOST_EVENTS = 5
_ALL_ROLES = 3


class Column(NamedTuple):
    """A column of a table; those of the lowest rank are kept longest."""

    head: str
    width: int
    rank: int
    cell: Callable[[NodeRow], Text | str] | Callable[[CollectionRow], Text | str]
    left: bool = False


def _number(value: float | None, form: str = "{:,.0f}") -> str:
    return "-" if value is None else form.format(value)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:,.1f} ms" if value < 1 else f"{value:,.1f} s"


def _bytes(value: float | None) -> str:
    return "-" if value is None else size(value)


def _roles(row: NodeRow) -> str:
    roles = "all" if len(row.roles) == _ALL_ROLES else "+".join(row.roles)
    return f"{roles} *{','.join(map(str, row.leads))}" if row.leads else roles


def _epoch(row: NodeRow) -> str:
    return ",".join(map(str, row.epochs)) if row.leads else "-"


NODES = (
    Column("node", 24, 0, lambda r: r.id, left=True),
    Column("role", 12, 2, _roles, left=True),
    Column("state", 9, 1, lambda r: Text(r.state, style=_STATES[r.state]), left=True),
    Column("calls/s", 8, 3, lambda r: _number(r.calls_s, "{:,.1f}")),
    Column("p50", 9, 8, lambda r: _seconds(r.p50_s)),
    Column("p99", 9, 4, lambda r: _seconds(r.p99_s)),
    Column("cpu", 6, 6, lambda r: _number(None if r.cpu is None else 100 * r.cpu, "{:,.0f} %")),
    Column("memory", 10, 7, lambda r: _bytes(r.resident_bytes)),
    Column("lag", 9, 5, lambda r: _seconds(r.lag_s)),
    Column("cache", 10, 10, lambda r: _bytes(r.cache_bytes)),
    Column("segments", 8, 9, lambda r: _number(r.segments)),
    Column("epoch", 5, 11, _epoch),
)
COLLECTIONS = (
    Column("collection", 24, 0, lambda r: r.name, left=True),
    Column("database", 12, 7, lambda r: r.database, left=True),
    Column("loaded", 6, 3, lambda r: "yes" if r.loaded else "no", left=True),
    Column("rows", 14, 1, lambda r: f"{r.rows:,}"),
    Column("growing", 10, 2, lambda r: f"{r.growing:,}"),
    Column("segments", 8, 4, lambda r: f"{r.segments:,}"),
    Column("open", 6, 5, lambda r: f"{r.open:,}"),
    Column("size", 10, 6, lambda r: _bytes(r.size_bytes)),
)


def fitting(columns: Sequence[Column], width: int) -> tuple[Column, ...]:
    """The columns that fit side by side, with two blanks between them; the first always."""
    kept: list[Column] = []
    used = 0
    for column in sorted(columns, key=lambda column: column.rank):
        if kept and used + column.width > width:
            break
        used += column.width + 2
        kept.append(column)
    return tuple(column for column in columns if column in kept)


def frame(
    view: View, events: Sequence[str], width: int, height: int | None, heading: str
) -> RenderableType:
    """The whole picture.

    Args:
        height: lines that there are; None for as many as it takes.
        heading: what stands in the first line: the cluster, the time.
    """
    parts: list[RenderableType] = [Text(_heading(view, heading)[:width], style="bold")]
    parts += [Text(problem[:width], style="bold red") for problem in view.problems]
    shown = events[-_MOST_EVENTS:]
    # Headings of the two tables, a blank line before each part, and a line that counts the rest.
    left = None if height is None else height - len(parts) - len(shown) - 8
    most_nodes = len(view.nodes) if left is None else max(1, min(len(view.nodes), left * 2 // 3))
    most_rest = len(view.collections) if left is None else max(1, left - most_nodes)
    parts += _table(NODES, view.nodes, width, most_nodes)
    parts += _table(COLLECTIONS, view.collections, width, most_rest)
    if shown:
        parts += [Text(""), *(Text(event[:width]) for event in shown)]
    return Group(*parts)


def _heading(view: View, heading: str) -> str:
    leaders = ", ".join(f"{log}: {name}" for log, name in sorted(view.leaders.items()))
    ready = sum(row.state == "ready" for row in view.nodes)
    return (
        f"{heading}  {ready} of {len(view.nodes)} nodes ready  leaders {leaders or 'none'}  "
        f"metadata {view.version}"
    )


def _table(
    columns: Sequence[Column], rows: Sequence[R], width: int, most: int
) -> list[RenderableType]:
    kept = fitting(columns, width)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for column in kept:
        table.add_column(
            column.head,
            justify="left" if column.left else "right",
            width=min(column.width, width),
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows[:most]:
        table.add_row(*(column.cell(row) for column in kept))  # type: ignore[arg-type]
    more = len(rows) - most
    rest = [Text(f"and {more:,} more")] if more > 0 else []
    return [Text(""), table, *rest]
