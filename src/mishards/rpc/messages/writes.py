"""Mutations, timestamps and flushes: from proxies to the leader of a log."""

from __future__ import annotations

from mishards.core.ids import (
    CollectionId,
    EntrySeq,
    LogId,
    MetadataVersion,
    PartitionId,
    SegmentId,
    Timestamp,
)
from mishards.rpc.messages.form import Form, Raw


class Write(Form, frozen=True, kw_only=True, tag="write"):
    """One mutation. `rows` is an insert, `keys` a delete, both together an upsert.

    Attributes:
        token: 16 bytes, the same in every retry.
        rows: Arrow IPC of one record batch, see `core.columns`.
        keys: Arrow IPC of one record batch with the primary key column.
        partition: where rows go; where keys are deleted, 0 meaning everywhere.
        log: the collection's.
        version: of the metadata that the mutation was checked with; the leader's is as new.
    """

    token: bytes
    collection: CollectionId
    log: LogId = LogId(0)
    version: MetadataVersion = MetadataVersion(0)
    partition: PartitionId = PartitionId(0)
    rows: Raw = b""
    row_count: int = 0
    keys: Raw = b""
    key_count: int = 0


class Written(Form, frozen=True, kw_only=True, tag="written"):
    """The mutation is durable.

    Attributes:
        auto_id_start: first of the primary keys given to the rows, where the schema has auto ids.
        trace: what the writer recorded; as in `SearchPartial`.
    """

    timestamp: Timestamp
    seq: EntrySeq
    auto_id_start: int | None = None
    trace: Raw = b""


class NewestTimestamp(Form, frozen=True, kw_only=True, tag="newest"):
    """Ask the leader for the timestamp of the newest acknowledged mutation of the log."""

    log: LogId = LogId(0)


class AllocateTimestamp(Form, frozen=True, kw_only=True, tag="allocate"):
    """Ask the leader for a fresh timestamp."""

    count: int = 1


class TimestampReply(Form, frozen=True, kw_only=True, tag="timestamp"):
    timestamp: Timestamp


class Flush(Form, frozen=True, kw_only=True, tag="flush"):
    """Seal all rows acknowledged so far of the collections; answers when they are sealed.

    Attributes:
        log: to which all of them belong.
        version: of the metadata that names them; the leader's is as new.
    """

    collections: tuple[CollectionId, ...]
    log: LogId = LogId(0)
    version: MetadataVersion = MetadataVersion(0)


class Flushed(Form, frozen=True, kw_only=True, tag="flushed"):
    segments: dict[CollectionId, tuple[SegmentId, ...]]
    timestamp: Timestamp
    version: MetadataVersion
