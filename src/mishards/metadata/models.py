"""The records of the metadata store, as frozen structs, and their keys.

A store keeps `key -> bytes`; `encode` and `decode` here are the only place that knows the bytes
(JSON, so that an operator can read them).
"""

from __future__ import annotations

import enum
from functools import cached_property
from typing import Any

import msgspec

from mishards.core.ids import (
    CollectionId,
    DatabaseId,
    EntrySeq,
    Epoch,
    FieldId,
    IndexId,
    LogId,
    NodeId,
    PartitionId,
    SegmentId,
    Timestamp,
)
from mishards.core.schema import CollectionSchema, Metric
from mishards.core.ttl import ttl_of

DEFAULT_DATABASE = "default"
DEFAULT_PARTITION = "_default"


class ConsistencyLevel(enum.IntEnum):
    """Milvus's levels with its numbers."""

    STRONG = 0
    SESSION = 1
    BOUNDED = 2
    EVENTUALLY = 3
    CUSTOMIZED = 4


class _Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    pass


class DatabaseMeta(_Record, frozen=True, kw_only=True, tag="database"):
    id: DatabaseId
    name: str
    created: Timestamp = Timestamp(0)
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        return f"database/{self.id}"


class PartitionMeta(_Record, frozen=True, kw_only=True):
    id: PartitionId
    name: str
    created: Timestamp = Timestamp(0)
    loaded: bool = False


class IndexMeta(_Record, frozen=True, kw_only=True):
    """An index as the user asked for it.

    Attributes:
        requested: the index type the user named; `AUTOINDEX` when none.
        family: the family that is built for it (`HNSW`, `IVF_FLAT`, …).
        params: checked build parameters, metric not included.
        given: parameters in the form that the client chose, type and metric not included; given
            back by describe, because clients read what they wrote where they wrote it.
    """

    id: IndexId
    name: str
    field_id: FieldId
    field: str
    requested: str
    family: str
    metric: Metric
    params: tuple[tuple[str, str], ...] = ()
    given: tuple[tuple[str, str], ...] = ()
    created: Timestamp = Timestamp(0)


class DeleteFile(_Record, frozen=True, kw_only=True):
    """Deletes flushed to storage: `segments/<collection>/deletes/<name>`.

    Attributes:
        partition_id: where the keys are deleted; 0 means in all partitions.
    """

    name: str
    rows: int
    min_ts: Timestamp
    max_ts: Timestamp
    size_bytes: int
    checksum: int
    partition_id: PartitionId = PartitionId(0)


class CollectionMeta(_Record, frozen=True, kw_only=True, tag="collection"):
    """A collection.

    Attributes:
        checkpoint: rows and deletes with timestamps up to this are in sealed segments and delete
            files; all later ones are growing, in the log.
        loaded_whole: partitions created later are loaded too.
        replica_number: 0 when nothing is loaded.
    """

    id: CollectionId
    database_id: DatabaseId
    schema: CollectionSchema
    partitions: tuple[PartitionMeta, ...]
    aliases: tuple[str, ...] = ()
    indexes: tuple[IndexMeta, ...] = ()
    deletes: tuple[DeleteFile, ...] = ()
    checkpoint: Timestamp = Timestamp(0)
    consistency: ConsistencyLevel = ConsistencyLevel.BOUNDED
    shards: int = 1
    log_id: LogId = LogId(0)
    created: Timestamp = Timestamp(0)
    updated: Timestamp = Timestamp(0)
    loaded_whole: bool = False
    replica_number: int = 0

    @property
    def key(self) -> str:
        return f"collection/{self.id}"

    @property
    def name(self) -> str:
        return self.schema.name

    @cached_property
    def partition_by_name(self) -> dict[str, PartitionMeta]:
        return {partition.name: partition for partition in self.partitions}

    @cached_property
    def index_by_field(self) -> dict[str, IndexMeta]:
        return {index.field: index for index in self.indexes}

    @cached_property
    def ttl_s(self) -> int:
        """How long rows live; 0: for ever."""
        return ttl_of(self.schema.properties)

    @cached_property
    def loaded_partitions(self) -> frozenset[PartitionId]:
        return frozenset(p.id for p in self.partitions if p.loaded)


class ColumnStatistics(_Record, frozen=True, kw_only=True):
    """Least and greatest value of a scalar column (None when all are null), and its nulls."""

    low: bool | int | float | str | None = None
    high: bool | int | float | str | None = None
    nulls: int = 0


class SegmentIndex(_Record, frozen=True, kw_only=True):
    """A built index of a segment: file `name` in the segment's folder."""

    index_id: IndexId
    field: str
    name: str
    size_bytes: int
    checksum: int


class SegmentMeta(_Record, frozen=True, kw_only=True, tag="segment"):
    """A sealed segment. Its files never change; indexes are added beside them.

    Attributes:
        folded: no delete up to this hides one of its rows; 0 where sealing alone says so.
    """

    id: SegmentId
    collection_id: CollectionId
    partition_id: PartitionId
    rows: int
    min_ts: Timestamp
    max_ts: Timestamp
    size_bytes: int
    statistics: dict[str, ColumnStatistics] = {}
    indexes: tuple[SegmentIndex, ...] = ()
    folded: Timestamp = Timestamp(0)

    @property
    def folded_until(self) -> Timestamp:
        """Deletes up to this need not be looked at: sealing leaves out what is hidden as of its
        newest row."""
        return max(self.folded, self.max_ts)

    @property
    def key(self) -> str:
        return f"segment/{self.collection_id}/{self.id}"

    @property
    def folder(self) -> str:
        return f"segments/{self.collection_id}/{self.id}"


class LogMeta(_Record, frozen=True, kw_only=True, tag="log"):
    """State of a log.

    Attributes:
        replay_from: the first entry that may hold something not yet sealed; starts read from here.
        trimmed: entries before this are gone or about to go, but for the fences; at most
            `replay_from`.
        build_min_rows: the leader builds no index on a smaller segment.
        fences: entries that are never trimmed: where a leader of before would go on to write,
            something has to stand for as long as such a leader may live.
    """

    id: LogId
    epoch: Epoch = Epoch(0)
    leader: NodeId = NodeId("")
    replay_from: EntrySeq = EntrySeq(1)
    trimmed: EntrySeq = EntrySeq(1)
    build_min_rows: int = 0
    fences: tuple[EntrySeq, ...] = ()

    @property
    def key(self) -> str:
        return f"log/{self.id}"


class DdlMeta(_Record, frozen=True, kw_only=True, tag="ddl"):
    """A DDL that was applied, in the transaction that applied it.

    Attributes:
        token: in hexadecimal digits.
        done: when; what was done longest ago is forgotten first.
    """

    token: str
    done: Timestamp

    @property
    def key(self) -> str:
        return f"ddl/{self.token}"


Record = DatabaseMeta | CollectionMeta | SegmentMeta | LogMeta | DdlMeta

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    return _encoder.encode(record)


def decode(data: bytes) -> Record:
    """The record of its bytes.

    Raises:
        msgspec.ValidationError, msgspec.DecodeError: when `data` is no record.
    """
    record: Record = _decoder.decode(data)
    return record
