"""Turning growing mutations into files: segments of the rows that live, and one file of deletes
per scope for the rows in older segments. Blocking; called off the loop.

Invariants: of the rows up to the cut, those and only those that no delete up to the cut hides are
in the new segments; a delete is left out only where no older segment can hold its key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mishards.core.columns import decode_batch, primary_key_type, with_auto_ids
from mishards.core.ids import PartitionId, SegmentId, Timestamp
from mishards.core.schema import CollectionSchema
from mishards.log.entry import Mutation
from mishards.metadata.models import DeleteFile, SegmentMeta
from mishards.metadata.snapshot import CollectionView
from mishards.segments.deletes import read_deletes, write_deletes
from mishards.segments.write import write_segment

Times = np.ndarray[Any, np.dtype[np.int64]]
EVERYWHERE = PartitionId(0)


class SealPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to seal.

    Attributes:
        view: the collection as of the metadata that the plan was made on.
        mutations: all growing ones up to `cut`.
        first_id: first of `ids_needed` fresh ids for segments and files.
        merge: files of deletes to fold into the new ones, with where they lie.
    """

    view: CollectionView
    mutations: tuple[Mutation, ...]
    cut: Timestamp
    first_id: int
    max_rows: int
    max_bytes: int
    merge: tuple[tuple[DeleteFile, Path], ...] = ()


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: segments in folders named by their id, files of deletes by theirs."""

    segments: tuple[SegmentMeta, ...]
    deletes: tuple[DeleteFile, ...]


class Deletes(msgspec.Struct, frozen=True):
    """Deletes of one scope: a key and a timestamp each."""

    keys: pa.Array
    timestamps: Times


def ids_needed(view: CollectionView, mutations: Sequence[Mutation]) -> int:
    """How many ids sealing may use: a segment holds at least a row, a scope has one file."""
    return sum(m.row_count for m in mutations) + len(view.meta.partitions) + 1


def seal(plan: SealPlan, folder: Path) -> Sealed:
    """Write the files of a plan below `folder`.

    Raises:
        OSError: the disk is full or failing.
        CorruptObject: a file of deletes to be merged cannot be read.
    """
    view = plan.view
    ids = iter(range(plan.first_id, plan.first_id + ids_needed(view, plan.mutations)))
    deletes = _collect_deletes(plan)
    alive = {partition.id for partition in view.meta.partitions}
    segments: list[SegmentMeta] = []
    for partition, table, timestamps in _rows(view.schema, plan.mutations):
        if partition not in alive:
            continue
        kept = _visible(table.column(view.schema.primary.name), timestamps, partition, deletes)
        if kept is not None:
            table, timestamps = table.filter(pa.array(kept)), timestamps[kept]
        for part in _slices(table, plan.max_rows, plan.max_bytes):
            segment_id = SegmentId(next(ids))
            segments.append(
                write_segment(
                    folder / str(segment_id),
                    view.schema,
                    table.slice(part.start, part.stop - part.start),
                    timestamps[part],
                    segment_id=segment_id,
                    collection_id=view.id,
                    partition_id=partition,
                )
            )
    for file, path in plan.merge:
        keys, timestamps = read_deletes(path, file.checksum)
        old = Deletes(keys, timestamps)
        known = deletes.get(file.partition_id)
        deletes[file.partition_id] = old if known is None else _joined((old, known))
    files = [
        written
        for scope, found in sorted(deletes.items())
        if scope == EVERYWHERE or scope in alive
        if (written := _write_deletes(view, scope, found, folder, ids)) is not None
    ]
    return Sealed(segments=tuple(segments), deletes=tuple(files))


def _rows(
    schema: CollectionSchema, mutations: Iterable[Mutation]
) -> Iterable[tuple[PartitionId, pa.Table, Times]]:
    """The inserted rows of each partition, with their timestamps."""
    batches: defaultdict[PartitionId, list[tuple[pa.RecordBatch, int]]] = defaultdict(list)
    for mutation in mutations:
        if mutation.row_count:
            batch = with_auto_ids(decode_batch(mutation.rows), schema, mutation.auto_id_start)
            batches[mutation.partition].append((batch, mutation.timestamp))
    for partition, found in batches.items():
        counts = [batch.num_rows for batch, _ in found]
        timestamps = np.repeat(np.array([ts for _, ts in found], dtype=np.int64), counts)
        yield partition, pa.Table.from_batches([batch for batch, _ in found]), timestamps


def _collect_deletes(plan: SealPlan) -> dict[PartitionId, Deletes]:
    """The growing deletes by where they apply."""
    kind = primary_key_type(plan.view.schema)
    parts: defaultdict[PartitionId, list[Deletes]] = defaultdict(list)
    for mutation in plan.mutations:
        if mutation.key_count:
            keys = decode_batch(mutation.keys).column(0).cast(kind)
            timestamps = np.full(len(keys), mutation.timestamp, dtype=np.int64)
            # An upsert replaces its keys wherever they are: a key is to be in one place.
            scope = EVERYWHERE if mutation.row_count else mutation.partition
            parts[scope].append(Deletes(keys, timestamps))
    return {scope: _joined(found) for scope, found in parts.items()}


def _joined(parts: Sequence[Deletes]) -> Deletes:
    return Deletes(
        pa.concat_arrays([part.keys for part in parts]),
        np.concatenate([part.timestamps for part in parts]),
    )


def _visible(
    keys: pa.ChunkedArray,
    timestamps: Times,
    partition: PartitionId,
    deletes: dict[PartitionId, Deletes],
) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Which rows no delete of their partition hides; None for all."""
    hidden = np.zeros(len(timestamps), dtype=np.bool_)
    for scope in (EVERYWHERE, partition):
        if (found := deletes.get(scope)) is None:
            continue
        # A row is hidden by some delete after it exactly when it is by the newest of its key.
        newest = (
            pa.table({"key": found.keys, "ts": found.timestamps})
            .group_by("key")
            .aggregate([("ts", "max")])
        )
        places = pc.index_in(keys, value_set=newest.column("key").combine_chunks())
        places = np.asarray(places.combine_chunks().fill_null(-1))
        hit = places >= 0
        hidden[hit] |= newest.column("ts_max").to_numpy()[places[hit]] > timestamps[hit]
    return ~hidden if hidden.any() else None


def _slices(table: pa.Table, max_rows: int, max_bytes: int) -> list[slice]:
    """Even parts of the rows that keep to the limits of a segment."""
    rows = table.num_rows
    if rows == 0:
        return []
    count = max(-(-rows // max_rows), min(rows, -(-table.nbytes // max_bytes)))
    edges = [rows * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _write_deletes(
    view: CollectionView, scope: PartitionId, deletes: Deletes, folder: Path, ids: Iterable[int]
) -> DeleteFile | None:
    """Write the deletes that an older segment may hold a row for; None when there are none."""
    segments = [s for s in view.segments.values() if scope in (EVERYWHERE, s.partition_id)]
    wanted = concerned(deletes, segments, view.schema.primary.name)
    if not wanted.any():
        return None
    keys, timestamps = deletes.keys.filter(pa.array(wanted)), deletes.timestamps[wanted]
    name = f"{next(iter(ids))}.arrow"
    info = write_deletes(folder / name, keys, timestamps)
    return DeleteFile(
        name=name,
        rows=len(timestamps),
        min_ts=Timestamp(int(timestamps.min())),
        max_ts=Timestamp(int(timestamps.max())),
        size_bytes=info.size_bytes,
        checksum=info.checksum,
        partition_id=scope,
    )


def concerned(
    deletes: Deletes, segments: Iterable[SegmentMeta], primary: str
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which deletes may hide a row of the segments, by their key ranges and timestamps."""
    wanted = np.zeros(len(deletes.timestamps), dtype=np.bool_)
    for segment in segments:
        after = deletes.timestamps > segment.folded_until
        statistics = segment.statistics.get(primary)
        if statistics is not None and statistics.low is not None:
            inside = pc.and_(
                pc.greater_equal(deletes.keys, statistics.low),
                pc.less_equal(deletes.keys, statistics.high),
            )
            after &= np.asarray(inside)
        wanted |= after
        if wanted.all():
            break
    return wanted
