"""Which acknowledged rows are gone: by the log, and by what clients read at the end."""

from __future__ import annotations

from collections.abc import Sequence

from mishards.core.ids import CollectionId
from mishards.testing.history import History, Row
from mishards.testing.truth import Truth
from mishards.testing.witness import Durable


def lost_rows(history: History, log: Sequence[Durable], collection: CollectionId) -> set[Row]:
    """Rows of acknowledged writes that the log does not hold, and rows that the log holds and the
    last read of everything did not show."""
    truth = Truth(log, collection)
    lost = {
        row
        for one in history.operations
        if one.outcome == "ok" and one.timestamp not in truth.applied
        for row in one.rows
    }
    last = next(
        (one for one in reversed(history.operations) if one.kind == "query" and one.must_succeed),
        None,
    )
    if last is None or last.outcome != "ok":
        return lost
    shown = {found.stamp for found in last.found}
    newest = max(truth.applied, default=0)
    for key in truth.keys:
        row = truth.options(key, newest, newest)[0]
        if row is not None and row.stamp not in shown:
            lost.add(row)
    return lost
