"""Rows of the table: a figure, its peer's in the same run, and whether the goal was reached."""

from __future__ import annotations

from typing import Any


def row(
    what: str,
    beside: str,
    ours: float,
    theirs: float,
    *,
    ratio: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    also: bool = True,
    note: str = "",
) -> dict[str, Any]:
    """One row.

    Args:
        ratio: how many times better ours is; `ours / theirs` where more is better.
        at_least: the ratio to reach.
        at_most: what `ours` may be at most.
        also: whether all else that the goal asks for holds (recall, p99).
    """
    better = ours / theirs if ratio is None else ratio
    goals = []
    if at_least is not None:
        goals.append(f"≥ {at_least:g} ×")
    if at_most is not None:
        goals.append(f"≤ {at_most:g}")
    reached = (
        also and (at_least is None or better >= at_least) and (at_most is None or ours <= at_most)
    )
    return {
        "what": what,
        "beside": beside,
        "ours": ours,
        "theirs": theirs,
        "ratio": better,
        "goal": ", ".join(goals) or "–",
        "reached": reached,
        "note": note,
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table: one line per figure."""
    lines = ["| what | ours | beside | theirs | ratio | to reach | reached | note |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for found in rows:
        reached = "yes" if found["reached"] else "**no**"
        lines.append(
            f"| {found['what']} | {_number(found['ours'])} | {found['beside']} | "
            f"{_number(found['theirs'])} | {found['ratio']:.2f} | {found['goal']} | "
            f"{reached if found['goal'] != '–' else ''} | {found['note']} |"
        )
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
