"""What a search sees of the growing rows of a collection: arrays that do not move under it.

Invariants: rows lie in order of their timestamps, all rows of a mutation side by side; a view holds
for all reads up to the timestamp that was applied when it was published; of its arrays only
`deleted` still changes, and only by timestamps that are newer. Any thread may use it.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa

from mishards.core.errors import StalePlan
from mishards.core.ids import PartitionId, Timestamp

Array = np.ndarray[Any, Any]
_serials = itertools.count(1)


class Chunk:
    """The scalar columns of some consecutive rows; never changes.

    Attributes:
        serial: tells chunks apart for ever, unlike `id`.
    """

    __slots__ = ("columns", "rows", "serial")

    def __init__(self, columns: pa.RecordBatch) -> None:
        self.columns = columns
        self.rows: int = columns.num_rows
        self.serial = next(_serials)


class GrowingView:
    """The rows as of one moment; arrays are cut to `rows`.

    Attributes:
        floor: rows up to this timestamp are no longer here.
        keys: int64, or a list of text that may be longer than `rows`.
        offsets: of each row in its mutation's batch.
        deleted: when each row was deleted; `MAX_TIMESTAMP` where it was not.
        any_deleted: whether there is such a row.
        vectors: float32, shape (rows, dim), by field.
        scales: inverse norms of the vectors, for COSINE, by field.
        present: by nullable vector field, which rows have a vector.
        chunks: scalar columns, in order of the rows.
    """

    __slots__ = (
        "any_deleted",
        "chunks",
        "deleted",
        "floor",
        "keys",
        "offsets",
        "partition_ids",
        "partitions",
        "present",
        "rows",
        "scales",
        "timestamps",
        "vectors",
    )

    rows: int
    floor: Timestamp
    keys: Array | list[str]
    timestamps: Array
    partitions: Array
    offsets: Array
    deleted: Array
    any_deleted: bool
    partition_ids: frozenset[PartitionId]
    vectors: dict[str, Array]
    scales: dict[str, Array]
    present: dict[str, Array]
    chunks: tuple[Chunk, ...]

    def span(self, after: Timestamp, until: Timestamp) -> tuple[int, int]:
        """The rows with timestamps in (after, until], as a range.

        Raises:
            StalePlan: rows after `after` were let go.
        """
        if after < self.floor:
            raise StalePlan(
                f"growing rows up to {self.floor} are sealed and no longer kept; "
                f"the plan asks for those after {after}"
            )
        if self.rows == 0:
            return 0, 0
        stamps = self.timestamps
        low = 0 if stamps[0] > after else int(stamps.searchsorted(after, "right"))
        high = self.rows
        if stamps[-1] > until:
            high = int(stamps.searchsorted(until, "right"))
        return low, max(low, high)

    def places(self, timestamps: Array, offsets: Array) -> Array:
        """Where the rows of the mutations with `timestamps` lie.

        Raises:
            StalePlan: such a row is not here, or no more.
        """
        places = self.timestamps.searchsorted(timestamps, "left") + offsets
        found = (places < self.rows) & (offsets >= 0)
        found[found] &= self.timestamps[places[found]] == timestamps[found]
        if not found.all():
            gone = int(timestamps[~found][0])
            raise StalePlan(f"growing rows of mutation {gone} are no longer kept")
        return places
