"""The messages between roles: frozen structs, encoded as MessagePack with a tag.

Arrays travel as raw little-endian bytes; rows as Arrow IPC. A reader of a message may hold
`memoryview`s of the frame it came in.
"""

from __future__ import annotations

from mishards.rpc.messages.care import (
    Compact,
    CompactionPlan,
    CompactionStarted,
    CompactionStatus,
    DamageReply,
    GetCompaction,
    LookAgain,
    ReportDamage,
)
from mishards.rpc.messages.conditions import Condition, Examine
from mishards.rpc.messages.ddl import (
    AlterAlias,
    AlterCollection,
    AlterDatabase,
    Committed,
    CreateAlias,
    CreateCollection,
    CreateDatabase,
    CreateIndex,
    CreatePartition,
    Ddl,
    DdlOnce,
    DropAlias,
    DropCollection,
    DropDatabase,
    DropIndex,
    DropPartition,
    ImportCollections,
    ImportedCollection,
    Load,
    Release,
    RenameCollection,
    TruncateCollection,
)
from mishards.rpc.messages.drills import Drill, DrillBegun
from mishards.rpc.messages.following import (
    Follow,
    LogPush,
    MetadataPush,
    Tick,
)
from mishards.rpc.messages.form import Raw
from mishards.rpc.messages.nodes import (
    Attend,
    HandedOver,
    HandOver,
    Introduce,
    Introduction,
    NodeStatus,
    PrepareTakeover,
    RecallSeen,
    SlowTraces,
    StatusReply,
    TakeOver,
    Traces,
)
from mishards.rpc.messages.reads import (
    Fetch,
    Query,
    QueryPartial,
    ReadPoint,
    Rows,
    Search,
    SearchPartial,
    UnitFailure,
)
from mishards.rpc.messages.writes import (
    AllocateTimestamp,
    Flush,
    Flushed,
    NewestTimestamp,
    TimestampReply,
    Write,
    Written,
)

__all__ = [
    "AllocateTimestamp",
    "AlterAlias",
    "AlterCollection",
    "AlterDatabase",
    "Attend",
    "Committed",
    "Compact",
    "CompactionPlan",
    "CompactionStarted",
    "CompactionStatus",
    "Condition",
    "CreateAlias",
    "CreateCollection",
    "CreateDatabase",
    "CreateIndex",
    "CreatePartition",
    "DamageReply",
    "Ddl",
    "DdlOnce",
    "Drill",
    "DrillBegun",
    "DropAlias",
    "DropCollection",
    "DropDatabase",
    "DropIndex",
    "DropPartition",
    "Examine",
    "Fetch",
    "Flush",
    "Flushed",
    "Follow",
    "GetCompaction",
    "HandOver",
    "HandedOver",
    "ImportCollections",
    "ImportedCollection",
    "Introduce",
    "Introduction",
    "Load",
    "LogPush",
    "LookAgain",
    "Message",
    "MetadataPush",
    "NewestTimestamp",
    "NodeStatus",
    "PrepareTakeover",
    "Query",
    "QueryPartial",
    "Raw",
    "ReadPoint",
    "RecallSeen",
    "Release",
    "RenameCollection",
    "Reply",
    "ReportDamage",
    "Rows",
    "Search",
    "SearchPartial",
    "SlowTraces",
    "StatusReply",
    "TakeOver",
    "Tick",
    "TimestampReply",
    "Traces",
    "TruncateCollection",
    "UnitFailure",
    "Write",
    "Written",
]

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
    | Introduce
    | Examine
    | Drill
    | SlowTraces
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
    | Introduction
    | Condition
    | DrillBegun
    | Traces
)
