"""A dictionary by primary key with timestamps: what a collection held at every moment.

Built from the entries that became durable, by rules of its own: an insert adds a version, a
delete ends it, an upsert does both at one timestamp.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mishards.core.columns import decode_batch
from mishards.core.ids import CollectionId
from mishards.log.entry import Mutation
from mishards.testing.history import (
    GROUP_FIELD,
    KEY_FIELD,
    STAMP_FIELD,
    VECTOR_FIELD,
    Key,
    Row,
)
from mishards.testing.witness import Durable


class Applied(NamedTuple):
    """A mutation as rows and keys, and the virtual time at which it became durable."""

    at_s: float
    timestamp: int
    rows: tuple[Row, ...]
    keys: tuple[Key, ...]


class Truth:
    """All states of one collection."""

    def __init__(self, log: Sequence[Durable], collection: CollectionId) -> None:
        self.repeated: list[Row] = []
        """Rows that were written twice, by their stamps."""
        self.applied: dict[int, Applied] = {}
        """By timestamp."""
        self._stamps: dict[Key, list[int]] = {}
        self._versions: dict[Key, list[Row | None]] = {}
        self._durable: list[tuple[float, int]] = []
        newest = 0
        for at_s, entry in log:
            for mutation in entry.mutations:
                if mutation.collection == collection:
                    self._apply(at_s, mutation)
                    newest = max(newest, mutation.timestamp)
            self._durable.append((at_s, newest))
        self.durable_s: dict[int, float] = {}
        """When each row became durable, by its stamp."""
        for one in self.applied.values():
            for row in one.rows:
                if self.durable_s.setdefault(row.stamp, one.at_s) != one.at_s:
                    self.repeated.append(row)

    def _apply(self, at_s: float, mutation: Mutation) -> None:
        rows = tuple(_rows(mutation))
        keys = tuple(decode_batch(mutation.keys).column(0).to_pylist()) if mutation.keys else ()
        self.applied[mutation.timestamp] = Applied(at_s, mutation.timestamp, rows, keys)
        changes: dict[Key, Row | None] = dict.fromkeys(keys)
        changes.update((row.key, row) for row in rows)
        for key, row in changes.items():
            self._stamps.setdefault(key, []).append(mutation.timestamp)
            self._versions.setdefault(key, []).append(row)

    @property
    def keys(self) -> Iterable[Key]:
        """All keys that were ever written."""
        return self._stamps.keys()

    def options(self, key: Key, low: int, high: int) -> list[Row | None]:
        """What the key held at the moments from `low` to `high`; None where it was absent."""
        stamps, versions = self._stamps[key], self._versions[key]
        first, last = bisect_right(stamps, low), bisect_right(stamps, high)
        held = None if first == 0 else versions[first - 1]
        return [held, *versions[first:last]]

    def newest(self, by_s: float) -> int:
        """Timestamp of the last mutation that was durable at a virtual time."""
        place = bisect_right(self._durable, (by_s, 1 << 63))
        return self._durable[place - 1][1] if place else 0


def _rows(mutation: Mutation) -> Iterator[Row]:
    if not mutation.rows:
        return
    columns = decode_batch(mutation.rows).to_pydict()
    if KEY_FIELD not in columns:
        start = mutation.auto_id_start or 0
        columns[KEY_FIELD] = list(range(start, start + mutation.row_count))
    names = (KEY_FIELD, GROUP_FIELD, STAMP_FIELD, VECTOR_FIELD)
    for key, group, stamp, vector in zip(*(columns[name] for name in names), strict=True):
        yield Row(key, group, stamp, tuple(vector))
