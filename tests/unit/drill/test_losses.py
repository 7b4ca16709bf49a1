"""Lost rows are found, whether the log or an answer lacks them."""

from __future__ import annotations

import itertools

from mishards.core.columns import encode_batch
from mishards.core.ids import CollectionId, EntrySeq, Epoch, LogId, Timestamp
from mishards.drill.losses import lost_rows
from mishards.log.entry import Entry, Mutation
from mishards.testing.history import Found, History, Operation, Row
from mishards.testing.shape import Shape, batch_of
from mishards.testing.witness import Durable

COLLECTION = CollectionId(7)
ROWS = [Row(key, 0, key + 100, (0.5, 0.5, 0.5, 0.5)) for key in range(1, 6)]


def history(shown: list[Row], outcome: str = "ok") -> History:
    """Five acknowledged inserts of a row each, at timestamps 1 to 5, and the last read."""
    clock, found = itertools.count(), History()
    for number, row in enumerate(ROWS, 1):
        written = call("insert", next(clock))
        written.rows, written.timestamp, written.count = (row,), number, 1
        found.operations.append(written)
    last = call("query", next(clock), outcome)
    last.must_succeed = True
    last.found = tuple(Found(row.key, row.group, row.stamp) for row in shown)
    found.operations.append(last)
    return found


def call(kind: str, at_s: float, outcome: str = "ok") -> Operation:
    return Operation(
        client="c", kind=kind, timeout_s=10.0, start_s=at_s, end_s=at_s + 0.5, outcome=outcome
    )


def log(rows: list[Row]) -> list[Durable]:
    """Each row's insert in an entry of its own, at the timestamp of the history."""
    entries = []
    for row in rows:
        timestamp = Timestamp(ROWS.index(row) + 1)
        mutation = Mutation(
            token=bytes([timestamp]) * 16,
            collection=COLLECTION,
            timestamp=timestamp,
            rows=encode_batch(batch_of([row], Shape().schema)),
            row_count=1,
        )
        entry = Entry(
            log_id=LogId(0),
            seq=EntrySeq(timestamp),
            epoch=Epoch(1),
            timestamp=timestamp,
            mutations=(mutation,),
        )
        entries.append(Durable(0.0, entry))
    return entries


def test_what_is_logged_and_shown_is_not_lost() -> None:
    assert lost_rows(history(ROWS), log(ROWS), COLLECTION) == set()


def test_an_acknowledged_row_that_the_log_lacks_is_lost() -> None:
    assert lost_rows(history(ROWS[1:]), log(ROWS[1:]), COLLECTION) == {ROWS[0]}


def test_a_row_that_the_last_read_lacks_is_lost() -> None:
    assert lost_rows(history(ROWS[:4]), log(ROWS), COLLECTION) == {ROWS[4]}


def test_a_last_read_that_failed_shows_nothing() -> None:
    assert lost_rows(history([], "failed"), log(ROWS), COLLECTION) == set()
    assert lost_rows(history([], "failed"), log(ROWS[:2]), COLLECTION) == set(ROWS[2:])
