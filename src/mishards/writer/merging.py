"""Rewriting segments without the rows that nobody sees any more, and counting rows that deletes
hide. Blocking; what it gets and leaves are files, so that it may run in another process.

Invariants: a row is left out only where a delete of the job hides it, or it has expired: equal
keys that no delete parts stay, each with its timestamp. Inputs are compared with their checksums
first, so damage is found here and not written on under a fresh checksum.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from mishards.core.ids import PartitionId, SegmentId, Timestamp
from mishards.core.schema import CollectionSchema
from mishards.metadata.models import DeleteFile, SegmentMeta
from mishards.segments.bitmaps import Mask
from mishards.segments.deletes import hidden_rows, read_deletes
from mishards.segments.manifest import verify_segment
from mishards.segments.read import Segment, open_rows, open_segment
from mishards.segments.write import write_segment


class StoredSegment(msgspec.Struct, frozen=True):
    """A segment and the folder of its files."""

    meta: SegmentMeta
    folder: str


class StoredDeletes(msgspec.Struct, frozen=True):
    """A file of deletes and its path."""

    meta: DeleteFile
    path: str


class MergeJob(msgspec.Struct, frozen=True, kw_only=True, tag="merge"):
    """Segments of one partition to merge.

    Attributes:
        deletes: all that are not applied yet; those of other partitions are passed over.
        folded: all deletes up to this are among `deletes`, or applied to the inputs.
        expired: rows with timestamps up to this are left out; see `core.ttl`.
        first_id: first of `outputs_at_most` ids.
        output: folder to write segments to, each into a folder named by its id.
    """

    schema: CollectionSchema
    inputs: tuple[StoredSegment, ...]
    deletes: tuple[StoredDeletes, ...]
    folded: Timestamp
    expired: Timestamp
    first_id: int
    max_rows: int
    max_bytes: int
    output: str


class SurveyJob(msgspec.Struct, frozen=True, kw_only=True, tag="survey"):
    """Segments of which the hidden rows are to be counted; their vectors are not looked at."""

    schema: CollectionSchema
    inputs: tuple[StoredSegment, ...]
    deletes: tuple[StoredDeletes, ...]


def outputs_at_most(inputs: Sequence[SegmentMeta], max_rows: int, max_bytes: int) -> int:
    """How many segments a merge may write."""
    rows, size_bytes = sum(m.rows for m in inputs), sum(m.size_bytes for m in inputs)
    return _count(rows, size_bytes, max_rows, max_bytes)


def merge(job: MergeJob) -> tuple[SegmentMeta, ...]:
    """Write what lives of the inputs; nothing when no row does.

    Raises:
        SegmentNotFound, ObjectNotFound, CorruptObject, StorageError: an input is missing or
            damaged; names it.
        OSError: the disk is full or failing.
    """
    deletes = _Deletes(job.deletes)
    names = [field.name for field in job.schema.fields]
    tables, stamps, size_bytes = [], [], 0
    for stored in job.inputs:
        verify_segment(Path(stored.folder))
        segment = open_segment(Path(stored.folder), stored.meta, job.schema)
        table = pa.table({name: segment.column(name) for name in names})
        timestamps = segment.timestamps
        hidden = deletes.hidden(segment) | (timestamps <= job.expired)
        if hidden.any():
            table, timestamps = table.filter(pa.array(~hidden)), timestamps[~hidden]
        tables.append(table)
        stamps.append(timestamps)
        size_bytes += stored.meta.size_bytes * len(timestamps) // stored.meta.rows
    table, timestamps = pa.concat_tables(tables), np.concatenate(stamps)
    rows = len(timestamps)
    if not rows:
        return ()
    parts = _count(rows, size_bytes, job.max_rows, job.max_bytes)
    edges = [rows * number // parts for number in range(parts + 1)]
    first = job.inputs[0].meta
    written = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        segment_id = SegmentId(job.first_id + number)
        meta = write_segment(
            Path(job.output) / str(segment_id),
            job.schema,
            table.slice(start, stop - start),
            timestamps[start:stop],
            segment_id=segment_id,
            collection_id=first.collection_id,
            partition_id=first.partition_id,
        )
        written.append(msgspec.structs.replace(meta, folded=job.folded))
    return tuple(written)


def survey(job: SurveyJob) -> tuple[int, ...]:
    """Of each input, how many rows the deletes hide. Raises as `merge`."""
    deletes = _Deletes(job.deletes)
    counts = []
    for stored in job.inputs:
        segment = open_rows(Path(stored.folder), stored.meta, job.schema)
        counts.append(int(np.count_nonzero(deletes.hidden(segment))))
    return tuple(counts)


class _Deletes:
    """The contents of files of deletes."""

    def __init__(self, files: Sequence[StoredDeletes]) -> None:
        self._files = [
            (file.meta, *read_deletes(Path(file.path), file.meta.checksum)) for file in files
        ]

    def hidden(self, segment: Segment) -> Mask:
        """Which rows of a segment some delete hides."""
        mask = np.zeros(segment.rows, dtype=np.bool_)
        for meta, keys, timestamps in self._files:
            concerns = meta.partition_id in (PartitionId(0), segment.meta.partition_id)
            if concerns and meta.max_ts > segment.meta.folded_until:
                mask |= hidden_rows(segment, keys, timestamps)
        return mask


def _count(rows: int, size_bytes: int, max_rows: int, max_bytes: int) -> int:
    return max(-(-rows // max_rows), min(rows, -(-size_bytes // max_bytes)), 1)
