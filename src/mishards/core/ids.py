"""Identifiers as distinct types, so that one is not passed for another."""

from typing import NewType

DatabaseId = NewType("DatabaseId", int)
CollectionId = NewType("CollectionId", int)
PartitionId = NewType("PartitionId", int)
SegmentId = NewType("SegmentId", int)
IndexId = NewType("IndexId", int)
FieldId = NewType("FieldId", int)
LogId = NewType("LogId", int)
MOST_LOGS = 64
"""A cluster has at most so many logs."""
DDL_LOG = LogId(0)
"""The log whose leader answers DDL and gives timestamps to clients."""
Epoch = NewType("Epoch", int)
NodeId = NewType("NodeId", str)
Timestamp = NewType("Timestamp", int)
"""Hybrid timestamp, `milliseconds << 18 | counter`; see `core.timestamps`."""
EntrySeq = NewType("EntrySeq", int)
"""Number of a log entry; the first is 1, 0 means "before the first"."""
MetadataVersion = NewType("MetadataVersion", int)
