"""What a reader holds of one collection: growing rows, deletes, open segments.

Invariants: the loop's thread alone changes it; `rows.view`, `open` and the masks of open segments
may be read by any thread. Rows and deletes of a mutation are in place before the reader's applied
timestamp reaches it.
"""

from __future__ import annotations

import pyarrow as pa

from mishards.core.columns import decode_batch, with_auto_ids
from mishards.core.errors import CorruptObject
from mishards.core.ids import PartitionId, SegmentId, Timestamp
from mishards.log.entry import Mutation
from mishards.metadata.snapshot import CollectionView
from mishards.reader.deletes import DeleteHistory, LoggedDelete
from mishards.reader.growing import GrowingRows
from mishards.reader.opened import OpenSegment


class CollectionState:
    """See the module.

    Attributes:
        view: of the newest metadata.
        partitions: ids of those that exist in it.
        open: segments that can be searched, by id.
    """

    def __init__(self, view: CollectionView) -> None:
        self.renew(view)
        self.rows = GrowingRows(view.schema, view.meta.checkpoint)
        self.deletes = DeleteHistory()
        self.open: dict[SegmentId, OpenSegment] = {}

    def renew(self, view: CollectionView) -> None:
        """Take over newer metadata."""
        self.view = view
        self.partitions = frozenset(partition.id for partition in view.meta.partitions)

    def apply(self, mutation: Mutation) -> None:
        """Apply a mutation that is newer than all before.

        Raises:
            CorruptObject: its rows or keys cannot be read; names it.
        """
        timestamp = mutation.timestamp
        try:
            keys = decode_batch(mutation.keys).column(0) if len(mutation.keys) else None
            rows = self._rows_of(mutation) if timestamp > self.rows.view.floor else None
        except (pa.ArrowException, KeyError) as error:
            raise CorruptObject(
                f"mutation {timestamp} of collection {self.view.id} cannot be read: {error}"
            ) from error
        if keys is not None:
            confined = PartitionId(0) if len(mutation.rows) else mutation.partition
            self._delete(LoggedDelete(timestamp, confined, keys))
        if rows is not None:
            self.rows.append(rows, timestamp, mutation.partition)

    def let_go(self) -> list[OpenSegment]:
        """Mutations up to the newest checkpoint were missed: let go of what they may have changed
        and no file of deletes makes up for. Gives the segments that are no longer open."""
        self.rows.prune(self.view.meta.checkpoint)
        return [self.open.pop(one) for one in list(self.open) if one not in self.view.segments]

    def _rows_of(self, mutation: Mutation) -> pa.RecordBatch | None:
        if not len(mutation.rows):
            return None
        batch = decode_batch(mutation.rows)
        return with_auto_ids(batch, self.view.schema, mutation.auto_id_start)

    def _delete(self, delete: LoggedDelete) -> None:
        self.deletes.add(delete)
        self.rows.delete(delete.keys.to_pylist(), delete.timestamp, delete.partition)
        stamps = delete.timestamps()
        for opened in self.open.values():
            if delete.concerns(opened.meta.partition_id):
                opened.mask.apply(delete.keys, stamps)

    def prune(self, checkpoint: Timestamp) -> None:
        """Let go of rows and deletes up to `checkpoint`."""
        self.rows.prune(checkpoint)
        self.deletes.prune(checkpoint, self.view.meta.deletes)

    def growing_rows(self) -> int:
        """Rows after the newest checkpoint, deleted ones among them."""
        view = self.rows.view
        return view.rows - int(view.timestamps.searchsorted(self.view.meta.checkpoint, "right"))
