"""Deletes: their files, and which rows of a segment they hide at a timestamp.

Invariants: a row is visible at t when its timestamp is ≤ t and no delete of its key has a
timestamp in (row's, t]; of a row's deletes only the first after it counts, so deletes may be
applied in any order and more than once. A bitmap handed out is never changed afterwards: a search
goes on seeing the state of its own timestamp while newer deletes arrive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mishards.core.errors import CorruptObject, ObjectNotFound
from mishards.core.timestamps import MAX_TIMESTAMP
from mishards.index.protocol import Bitmap, Offsets
from mishards.segments import bitmaps
from mishards.segments.manifest import FileInfo, file_info, sync_file, unreadable
from mishards.segments.read import Segment

_KEY, _TIMESTAMP = "key", "ts"
_STATES_KEPT = 8


def write_deletes(path: Path, keys: pa.Array, timestamps: Offsets) -> FileInfo:
    """Write deletes durably as one Arrow IPC file; gives its size and checksum. Blocking.

    Args:
        keys: primary keys, of the key's Arrow type.
        timestamps: int64, one for each key.
    """
    batch = pa.RecordBatch.from_arrays(
        [keys, pa.array(np.asarray(timestamps, dtype=np.int64))], names=[_KEY, _TIMESTAMP]
    )
    with path.open("wb") as file:
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        file.flush()
        sync_file(file.fileno())
    return file_info(path)


def read_deletes(path: Path, checksum: int | None = None) -> tuple[pa.Array, Offsets]:
    """The keys and timestamps of `write_deletes`. Blocking.

    Raises:
        ObjectNotFound: there is no such file.
        CorruptObject: it is no file of deletes, or not the one of `checksum`.
        StorageError: the system failed to read it.
    """
    try:
        if checksum is not None and (found := file_info(path).checksum) != checksum:
            raise CorruptObject(
                f"file of deletes {path} has checksum {found:08x}; expected {checksum:08x}"
            )
        with pa.OSFile(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(0)
        return batch.column(_KEY), batch.column(_TIMESTAMP).to_numpy()
    except FileNotFoundError:
        raise ObjectNotFound(f"file of deletes {path} is missing") from None
    except (pa.ArrowException, OSError, KeyError) as error:
        raise unreadable(f"file of deletes {path}", error) from error


def hidden_rows(segment: Segment, keys: pa.Array, timestamps: Offsets) -> bitmaps.Mask:
    """Which rows of a segment deletes hide at their newest timestamp, shape (rows,)."""
    mask = np.zeros(segment.rows, dtype=np.bool_)
    positions, rows = segment.find(keys)
    mask[rows[timestamps[positions] > segment.timestamps[rows]]] = True
    return mask


class _State(NamedTuple):
    """Which rows are live as of `newest` and until the next state's `lowest`.

    Attributes:
        lowest, newest: least timestamp of the deletes that made this state of the one before, and
            greatest of all deletes so far.
    """

    lowest: int
    newest: int
    live: Bitmap | None
    rows: int


class DeleteMask:
    """Deletes applied to one segment.

    `apply` is called from one thread at a time; `visible` from any, at the same time.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._max_ts = int(segment.meta.max_ts)
        self._first_delete: np.ndarray[Any, np.dtype[np.int64]] | None = None
        self._states: tuple[_State, ...] = (_State(0, 0, None, segment.rows),)

    def apply(self, keys: pa.Array, timestamps: Offsets) -> int:
        """Apply deletes of `keys`, one timestamp each; gives how many rows they newly hide."""
        positions, rows = self._segment.find(keys)
        if len(rows) == 0:
            return 0
        deleted_at = timestamps[positions]
        counts = deleted_at > self._segment.timestamps[rows]
        if self._first_delete is not None:
            counts &= deleted_at < self._first_delete[rows]
        if not counts.any():
            return 0
        rows, deleted_at = rows[counts], deleted_at[counts]
        if self._first_delete is None:
            self._first_delete = np.full(self._segment.rows, MAX_TIMESTAMP, dtype=np.int64)
        hidden = np.unique(rows[self._first_delete[rows] == MAX_TIMESTAMP])
        np.minimum.at(self._first_delete, rows, deleted_at)
        self._add_state(hidden, int(deleted_at.min()), int(deleted_at.max()))
        return len(hidden)

    def visible(self, read_ts: int) -> tuple[Bitmap | None, int]:
        """Rows visible at `read_ts` as (bitmap, how many); None means all.

        Takes constant time when `read_ts` is not before the segment's newest row and falls on
        one of the last states, as it does but for reads of the past.
        """
        if read_ts >= self._max_ts:
            until = MAX_TIMESTAMP + 1
            for state in reversed(self._states):
                if state.newest <= read_ts < until:
                    return state.live, state.rows
                until = min(until, state.lowest)
        return self._compute(read_ts)

    def _compute(self, read_ts: int) -> tuple[Bitmap | None, int]:
        mask = self._segment.timestamps <= read_ts
        first_delete = self._first_delete
        if first_delete is not None:
            mask &= first_delete > read_ts
        count = int(np.count_nonzero(mask))
        return (None, count) if count == len(mask) else (bitmaps.pack(mask), count)

    def _add_state(self, hidden: Offsets, lowest: int, newest: int) -> None:
        last = self._states[-1]
        live = bitmaps.full(self._segment.rows) if last.live is None else last.live.copy()
        clear = ~(np.uint8(1) << (hidden & 7).astype(np.uint8))
        np.bitwise_and.at(live, hidden >> 3, clear)
        state = _State(lowest, max(newest, last.newest), live, last.rows - len(hidden))
        kept = self._states[-(_STATES_KEPT - 1) :]
        self._states = (*kept, state)
