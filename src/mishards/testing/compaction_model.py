"""A model of a partition's segments under a load, compacted by the policy: what it writes, and
what space it takes.

Invariants: keys stand for rows, one byte-less unit each; all follows from the calls, so a run
repeats. What the policy is told is what the writer would know: sizes, rows that deletes hide, and
deletes kept in files.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mishards.core.ids import PartitionId, SegmentId
from mishards.writer.compaction_policy import (
    Compaction,
    CompactionLimits,
    SegmentLoad,
    choose,
)

_PARTITION = PartitionId(1)
_ROW_BYTES = 1


class ModelSegment(msgspec.Struct):
    """A segment: how many rows were written, which of them live, and until when deletes are out.

    Attributes:
        applied: number of the last flush whose deletes are folded in or hit nothing here.
    """

    rows: int
    live: set[int]
    applied: int


class CompactionModel:
    """One partition. `flush` seals what came since the last one; `compact` does what is due.

    Attributes:
        flushed_rows, compacted_rows: written so far by either.
        deleted_rows: rows that deletes and upserts hid after they were sealed.
        delete_rows: deletes written to files.
        most_segments, most_delete_rows: seen after a compaction.
        worst_space: greatest ratio of stored to living rows seen after a compaction.
    """

    def __init__(self, limits: CompactionLimits) -> None:
        self.limits = limits
        self.flushed_rows = self.compacted_rows = self.deleted_rows = self.delete_rows = 0
        self.most_segments = self.most_delete_rows = self.compactions = 0
        self.worst_space = 1.0
        self.segments: dict[SegmentId, ModelSegment] = {}
        self._deletes: dict[int, int] = {}
        self._where: dict[int, SegmentId] = {}
        self._flushes = 0
        self._last_id = 0

    @property
    def write_amplification(self) -> float:
        """Rows written for each row flushed."""
        return (self.flushed_rows + self.compacted_rows) / max(1, self.flushed_rows)

    def flush(self, upserts: Iterable[int], deletes: Iterable[int] = ()) -> None:
        """Seal rows; their keys, and those deleted, are hidden where they were."""
        fresh, gone = set(upserts), set(deletes)
        self._flushes += 1
        hits = 0
        for key in fresh | gone:
            if (segment := self._where.pop(key, None)) is not None:
                self.segments[segment].live.discard(key)
                hits += 1
        self.deleted_rows += hits
        if hits:
            self._deletes[self._flushes] = len(fresh | gone)
            self.delete_rows += len(fresh | gone)
        if fresh:
            self._add(fresh)
            self.flushed_rows += len(fresh)

    def compact(self) -> None:
        """Do what is due until nothing is."""
        while chosen := choose(self.loads(), self.limits):
            self._check(chosen)
            for one in chosen:
                self._replace(one)
        self._settle()
        stored = sum(segment.rows for segment in self.segments.values())
        self.most_segments = max(self.most_segments, len(self.segments))
        self.most_delete_rows = max(self.most_delete_rows, sum(self._deletes.values()))
        if self._where:
            self.worst_space = max(self.worst_space, stored / len(self._where))

    def loads(self) -> list[SegmentLoad]:
        """What the policy is told."""
        return [
            SegmentLoad(
                id=segment_id,
                partition=_PARTITION,
                rows=segment.rows,
                size_bytes=segment.rows * _ROW_BYTES,
                dead=segment.rows - len(segment.live),
                pending=sum(n for at, n in self._deletes.items() if at > segment.applied),
            )
            for segment_id, segment in self.segments.items()
        ]

    def _check(self, chosen: list[Compaction]) -> None:
        inputs = [segment for one in chosen for segment in one.inputs]
        if len(set(inputs)) != len(inputs) or not self.segments.keys() >= set(inputs):
            raise AssertionError(f"a segment is chosen twice, or is not there: {chosen}")
        self.compactions += len(chosen)
        if self.compactions > 1000 * (self._flushes + 1):
            raise AssertionError("compaction does not come to an end")

    def _replace(self, one: Compaction) -> None:
        rows: set[int] = set()
        for segment_id in one.inputs:
            rows |= self.segments.pop(segment_id).live
        if rows:
            self._add(rows)
            self.compacted_rows += len(rows)

    def _add(self, rows: set[int]) -> None:
        self._last_id += 1
        segment_id = SegmentId(self._last_id)
        self.segments[segment_id] = ModelSegment(len(rows), rows.copy(), self._flushes)
        for key in rows:
            self._where[key] = segment_id

    def _settle(self) -> None:
        """Segments that deletes do not hit need them no longer; nor does anyone, then."""
        for segment in self.segments.values():
            if len(segment.live) == segment.rows:
                segment.applied = self._flushes
        oldest = min((s.applied for s in self.segments.values()), default=self._flushes)
        self._deletes = {at: n for at, n in self._deletes.items() if at > oldest}
