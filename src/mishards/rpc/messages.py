"""The messages between roles: frozen structs, encoded as MessagePack with a tag.

Arrays travel as raw little-endian bytes; rows as Arrow IPC. A reader of a message may hold
`memoryview`s of the frame it came in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mishards.core.ids import (
    DDL_LOG,
    CollectionId,
    EntrySeq,
    LogId,
    MetadataVersion,
    NodeId,
    PartitionId,
    SegmentId,
    Timestamp,
)
from mishards.core.schema import CollectionSchema
from mishards.metadata.models import CollectionMeta, SegmentMeta
from mishards.metadata.protocol import Changes

if TYPE_CHECKING:
    Raw = bytes | memoryview
else:
    Raw = memoryview  # any buffer is encoded; a view of the frame is decoded


class _Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request or an answer."""


# --- writes: proxy to writer -------------------------------------------------------------------


class Write(_Message, frozen=True, kw_only=True, tag="write"):
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


class Written(_Message, frozen=True, kw_only=True, tag="written"):
    """The mutation is durable.

    Attributes:
        auto_id_start: first of the primary keys given to the rows, where the schema has auto ids.
    """

    timestamp: Timestamp
    seq: EntrySeq
    auto_id_start: int | None = None


class NewestTimestamp(_Message, frozen=True, kw_only=True, tag="newest"):
    """Ask the leader for the timestamp of the newest acknowledged mutation of the log."""

    log: LogId = LogId(0)


class AllocateTimestamp(_Message, frozen=True, kw_only=True, tag="allocate"):
    """Ask the leader for a fresh timestamp."""

    count: int = 1


class TimestampReply(_Message, frozen=True, kw_only=True, tag="timestamp"):
    timestamp: Timestamp


class Flush(_Message, frozen=True, kw_only=True, tag="flush"):
    """Seal all rows acknowledged so far of the collections; answers when they are sealed.

    Attributes:
        log: to which all of them belong.
        version: of the metadata that names them; the leader's is as new.
    """

    collections: tuple[CollectionId, ...]
    log: LogId = LogId(0)
    version: MetadataVersion = MetadataVersion(0)


class Flushed(_Message, frozen=True, kw_only=True, tag="flushed"):
    segments: dict[CollectionId, tuple[SegmentId, ...]]
    timestamp: Timestamp
    version: MetadataVersion


class ReportDamage(_Message, frozen=True, kw_only=True, tag="report_damage"):
    """An index file could not be opened; the leader looks for itself, and has it built anew.

    Attributes:
        name: of the file in the segment's folder.
        reason: what was found.
        log: the collection's.
    """

    collection: CollectionId
    segment: SegmentId
    name: str
    reason: str = ""
    log: LogId = LogId(0)


class LookAgain(_Message, frozen=True, kw_only=True, tag="look_again"):
    """A segment's files were found damaged; a reader that has it open compares them once more, and
    refuses it from then on where that is so."""

    collection: CollectionId
    segment: SegmentId


class DamageReply(_Message, frozen=True, kw_only=True, tag="damage_reply"):
    """What came of a report: whether an index is built anew, or a segment refused, and why or why
    not."""

    rebuilt: bool
    refused: bool = False
    reason: str = ""


class Compact(_Message, frozen=True, kw_only=True, tag="compact"):
    """Compact a collection; answers when that is noted, not when it is done.

    Attributes:
        deletes_only: only rewrite segments with deleted rows.
        target_bytes: most bytes of a segment; 0 for the writer's own limit.
        log: the collection's.
        version: of the metadata that names it; the leader's is as new.
    """

    collection: CollectionId
    log: LogId = LogId(0)
    version: MetadataVersion = MetadataVersion(0)
    deletes_only: bool = False
    target_bytes: int = 0


class CompactionStarted(_Message, frozen=True, kw_only=True, tag="compaction_started"):
    """The id by which to ask how a compaction goes, the leader of log `id % MOST_LOGS`."""

    id: Timestamp


class GetCompaction(_Message, frozen=True, kw_only=True, tag="get_compaction"):
    """Ask how a compaction goes; of one that the leader does not know, it is completed."""

    id: Timestamp
    log: LogId = LogId(0)


class CompactionPlan(_Message, frozen=True, kw_only=True):
    """Segments to merge, and what came of them; no targets where that is not done."""

    sources: tuple[SegmentId, ...]
    targets: tuple[SegmentId, ...] = ()


class CompactionStatus(_Message, frozen=True, kw_only=True, tag="compaction_status"):
    """How a compaction goes.

    Attributes:
        executing: it has not come to its end, good or bad.
        collection: 0 where the compaction is not known.
    """

    executing: bool
    collection: CollectionId = CollectionId(0)
    executing_plans: int = 0
    completed_plans: int = 0
    failed_plans: int = 0
    plans: tuple[CompactionPlan, ...] = ()


# --- DDL: proxy to writer ----------------------------------------------------------------------


class CreateDatabase(_Message, frozen=True, kw_only=True, tag="create_database"):
    name: str
    properties: tuple[tuple[str, str], ...] = ()


class DropDatabase(_Message, frozen=True, kw_only=True, tag="drop_database"):
    name: str


class AlterDatabase(_Message, frozen=True, kw_only=True, tag="alter_database"):
    name: str
    properties: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


class CreateCollection(_Message, frozen=True, kw_only=True, tag="create_collection"):
    """`schema` is checked; fields carry their ids. `partitions` is for partition keys."""

    database: str
    schema: CollectionSchema
    consistency: int = 2
    shards: int = 1


class DropCollection(_Message, frozen=True, kw_only=True, tag="drop_collection"):
    """Dropping a missing collection succeeds, as in Milvus."""

    database: str
    name: str


class RenameCollection(_Message, frozen=True, kw_only=True, tag="rename_collection"):
    database: str
    name: str
    new_database: str
    new_name: str


class AlterCollection(_Message, frozen=True, kw_only=True, tag="alter_collection"):
    database: str
    name: str
    properties: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


class TruncateCollection(_Message, frozen=True, kw_only=True, tag="truncate_collection"):
    """Let go of all rows so far: which those are, the leader of the collection's log knows."""

    database: str
    name: str
    log: LogId = LogId(0)


class CreatePartition(_Message, frozen=True, kw_only=True, tag="create_partition"):
    database: str
    collection: str
    partition: str


class DropPartition(_Message, frozen=True, kw_only=True, tag="drop_partition"):
    database: str
    collection: str
    partition: str


class CreateAlias(_Message, frozen=True, kw_only=True, tag="create_alias"):
    database: str
    collection: str
    alias: str


class AlterAlias(_Message, frozen=True, kw_only=True, tag="alter_alias"):
    database: str
    collection: str
    alias: str


class DropAlias(_Message, frozen=True, kw_only=True, tag="drop_alias"):
    database: str
    alias: str


class CreateIndex(_Message, frozen=True, kw_only=True, tag="create_index"):
    """Index a field.

    Attributes:
        params: in one level, `index_type` and `metric_type` among them.
        given: as `IndexMeta`'s.
    """

    database: str
    collection: str
    field: str
    name: str = ""
    params: dict[str, str] = {}
    given: tuple[tuple[str, str], ...] = ()


class DropIndex(_Message, frozen=True, kw_only=True, tag="drop_index"):
    """By index name or, when that is empty, by field."""

    database: str
    collection: str
    field: str = ""
    name: str = ""


class Load(_Message, frozen=True, kw_only=True, tag="load"):
    """Load the partitions, or the whole collection when there are none."""

    database: str
    collection: str
    partitions: tuple[str, ...] = ()
    replica_number: int = 1


class Release(_Message, frozen=True, kw_only=True, tag="release"):
    database: str
    collection: str
    partitions: tuple[str, ...] = ()


class ImportedCollection(msgspec.Struct, frozen=True, kw_only=True):
    """A collection whose files are on storage under its own, fresh ids."""

    database: str
    meta: CollectionMeta
    segments: tuple[SegmentMeta, ...] = ()


class ImportCollections(_Message, frozen=True, kw_only=True, tag="import_collections"):
    """Let collections appear, all of them or none. Importing the same again succeeds.

    Attributes:
        databases: made where they are missing, with these properties.
    """

    collections: tuple[ImportedCollection, ...]
    databases: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()


class DdlOnce(_Message, frozen=True, kw_only=True, tag="ddl_once"):
    """A DDL that is applied once, however often its token comes.

    Attributes:
        token: 16 bytes, the same in every retry.
        log: whose leader is to do it.
        version: of the metadata that it was decided with; the leader's is as new.
    """

    token: bytes
    ddl: Ddl
    log: LogId = DDL_LOG
    version: MetadataVersion = MetadataVersion(0)


class Committed(_Message, frozen=True, kw_only=True, tag="committed"):
    """A DDL is done as of metadata `version`."""

    version: MetadataVersion


# --- the log stream: writer to followers -------------------------------------------------------


class Follow(_Message, frozen=True, kw_only=True, tag="follow"):
    """Subscribe to a log from entry `seq` on and to metadata after `version`.

    `entries` false: positions and metadata only, for proxies.
    """

    log: LogId
    seq: EntrySeq
    version: MetadataVersion
    entries: bool = True


class LogPush(_Message, frozen=True, kw_only=True, tag="log_push"):
    """One durable entry, as stored."""

    seq: EntrySeq
    timestamp: Timestamp
    entry: Raw = b""


class MetadataPush(_Message, frozen=True, kw_only=True, tag="metadata_push"):
    changes: Changes


class Tick(_Message, frozen=True, kw_only=True, tag="tick"):
    """Every mutation up to `timestamp` is in the entries up to `seq`."""

    seq: EntrySeq
    timestamp: Timestamp


# --- reads: proxy to reader --------------------------------------------------------------------


class ReadPoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """At which state, and on which units, a reader answers.

    Attributes:
        version: metadata version the plan was made on.
        log: the collection's.
        checkpoint: the collection's, in that version: growing rows are those after it.
        read_ts: rows and deletes up to this are seen; the reader waits until it has them.
        from_storage: there is no leader to say how far the log goes: before answering, read it on
            storage to its end, and see all of it.
        segments: sealed segments to answer for.
        growing: whether to answer for growing rows.
        partitions: of the growing rows; empty means all.
        expired: rows with timestamps up to this have outlived the collection's TTL.
    """

    collection: CollectionId
    version: MetadataVersion
    log: LogId = LogId(0)
    checkpoint: Timestamp
    read_ts: Timestamp
    from_storage: bool = False
    segments: tuple[SegmentId, ...] = ()
    growing: bool = False
    partitions: tuple[PartitionId, ...] = ()
    expired: Timestamp = Timestamp(0)


class Search(_Message, frozen=True, kw_only=True, tag="search"):
    """TopK over the units of `at`.

    Attributes:
        queries: float32, shape (nq, dim).
        params: search parameters as given (`ef`, `nprobe`, …).
        filter: text of the filter, empty for none; `templates` its values.
        output: columns to give with the hits; empty for none.
    """

    at: ReadPoint
    field: str
    queries: Raw
    nq: int
    k: int
    params: dict[str, Any] = {}
    filter: str = ""
    templates: dict[str, Any] = {}
    output: tuple[str, ...] = ()


class UnitFailure(msgspec.Struct, frozen=True):
    """A unit (segment id, or minus the collection id for growing rows) that was not served."""

    unit: int
    error: str
    message: str


class SearchPartial(_Message, frozen=True, kw_only=True, tag="search_partial"):
    """The best hits of a reader, query after query, best first. Ragged: `counts` per query.

    Attributes:
        counts: int32, shape (nq,).
        keys: int64 raw, or a list of text.
        distances: float32; as the metric gives them.
        timestamps: int64; of the rows.
        units: int64; segment id, or minus the timestamp of the mutation for a growing row.
        offsets: int64; row within the unit.
        columns: Arrow IPC of the output columns, a row per hit; empty when none were asked for.
        failures: units that were not served; all others were.
        read_ts: the state they were read at.
    """

    counts: Raw
    keys: Raw | list[str]
    distances: Raw
    timestamps: Raw
    units: Raw
    offsets: Raw
    columns: Raw = b""
    failures: tuple[UnitFailure, ...] = ()
    read_ts: Timestamp = Timestamp(0)


class Fetch(_Message, frozen=True, kw_only=True, tag="fetch"):
    """Columns of rows found before, in the order given; `units`, `offsets` as in the partial."""

    collection: CollectionId
    version: MetadataVersion
    units: Raw
    offsets: Raw
    output: tuple[str, ...]


class Rows(_Message, frozen=True, kw_only=True, tag="rows"):
    """All rows asked for, in order; a reader that lacks one answers with an error instead."""

    columns: Raw
    failures: tuple[UnitFailure, ...] = ()


class Query(_Message, frozen=True, kw_only=True, tag="query"):
    """Rows by filter or by key over the units of `at`, by primary key, at most `limit` of them.

    Attributes:
        keys: Arrow IPC of a batch with the primary key column; empty for no restriction.
        limit: 0 for no limit.
        count: only their number is wanted.
    """

    at: ReadPoint
    filter: str = ""
    templates: dict[str, Any] = {}
    keys: Raw = b""
    output: tuple[str, ...] = ()
    limit: int = 0
    count: bool = False


class QueryPartial(_Message, frozen=True, kw_only=True, tag="query_partial"):
    """Arrow IPC of the primary key, the output columns and `$ts` (int64, row timestamps)."""

    columns: Raw = b""
    count: int = 0
    failures: tuple[UnitFailure, ...] = ()
    read_ts: Timestamp = Timestamp(0)


class Attend(_Message, frozen=True, kw_only=True, tag="attend"):
    """Stay with the leader of a log: a stream of its status, once, that ends with its reign."""

    log: LogId


class PrepareTakeover(_Message, frozen=True, kw_only=True, tag="prepare_takeover"):
    """Ask a standby to read the log to its end; answers with its status."""

    log: LogId


class TakeOver(_Message, frozen=True, kw_only=True, tag="take_over"):
    """Tell a standby that the lease was left to it; answers with its status when it leads."""

    log: LogId


class HandOver(_Message, frozen=True, kw_only=True, tag="hand_over"):
    """Ask the leader to let a standby lead: `to`, or, where that is empty, any."""

    log: LogId
    to: NodeId = NodeId("")


class HandedOver(_Message, frozen=True, kw_only=True, tag="handed_over"):
    """Another node leads; writes had to wait for `paused_ms`."""

    leader: NodeId
    paused_ms: float


class NodeStatus(_Message, frozen=True, kw_only=True, tag="node_status"):
    """Ask any node how it is."""


class StatusReply(_Message, frozen=True, kw_only=True, tag="status_reply"):
    """What a node knows of itself.

    Attributes:
        oldest_version: what metadata of this and later versions does not name, the node no longer
            reads; None where it reads nothing that metadata names.
        segments: what is searched in each open segment.
        quarantined: segments that were found damaged, and how.
    """

    node: str
    roles: tuple[str, ...]
    version: MetadataVersion
    applied_seq: dict[LogId, EntrySeq] = {}
    applied_ts: dict[LogId, Timestamp] = {}
    oldest_version: MetadataVersion | None = None
    epoch: dict[LogId, int] = {}
    segments: dict[SegmentId, str] = {}
    growing_rows: dict[CollectionId, int] = {}
    details: dict[str, str] = {}
    quarantined: dict[SegmentId, str] = {}


Ddl = (
    CreateDatabase
    | DropDatabase
    | AlterDatabase
    | CreateCollection
    | DropCollection
    | RenameCollection
    | AlterCollection
    | TruncateCollection
    | CreatePartition
    | DropPartition
    | CreateAlias
    | AlterAlias
    | DropAlias
    | CreateIndex
    | DropIndex
    | Load
    | Release
    | ImportCollections
)
Message = (
    Write
    | NewestTimestamp
    | AllocateTimestamp
    | Flush
    | ReportDamage
    | LookAgain
    | Compact
    | GetCompaction
    | Ddl
    | DdlOnce
    | Follow
    | Search
    | Fetch
    | Query
    | Attend
    | PrepareTakeover
    | TakeOver
    | HandOver
    | NodeStatus
)
Reply = (
    Written
    | TimestampReply
    | Flushed
    | DamageReply
    | CompactionStarted
    | CompactionStatus
    | Committed
    | LogPush
    | MetadataPush
    | Tick
    | SearchPartial
    | Rows
    | QueryPartial
    | HandedOver
    | StatusReply
)
