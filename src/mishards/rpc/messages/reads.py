"""Searches and queries: from proxies to readers."""

from __future__ import annotations

from typing import Any

import msgspec

from mishards.core.ids import (
    CollectionId,
    LogId,
    MetadataVersion,
    PartitionId,
    SegmentId,
    Timestamp,
)
from mishards.rpc.messages.form import Form, Raw


class ReadPoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """At which state, and on which units, a reader answers.

    Attributes:
        version: metadata version the plan was made on.
        log: the collection's.
        checkpoint: the collection's, in that version: growing rows are those after it.
        read_ts: rows and deletes up to this are seen; the reader waits until it has them.
        from_storage: there is no leader to say how far the log goes: before answering, read it on
            storage to its end, and see all of it.
        claimed: no leader has said that it came as far as `read_ts`: a caller did.
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
    claimed: bool = False
    segments: tuple[SegmentId, ...] = ()
    growing: bool = False
    partitions: tuple[PartitionId, ...] = ()
    expired: Timestamp = Timestamp(0)


class Search(Form, frozen=True, kw_only=True, tag="search"):
    """TopK over the units of `at`.

    Attributes:
        queries: float32, shape (nq, dim).
        params: search parameters as given (`ef`, `nprobe`, …).
        filter: text of the filter, empty for none; `templates` its values.
        output: columns to give with the hits; empty for none.
        exact: search without indexes, when nothing else is to be done; may be refused.
    """

    at: ReadPoint
    field: str
    queries: Raw
    nq: int
    k: int
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    filter: str = ""
    templates: dict[str, Any] = msgspec.field(default_factory=dict)
    output: tuple[str, ...] = ()
    exact: bool = False


class UnitFailure(msgspec.Struct, frozen=True):
    """A unit (segment id, or minus the collection id for growing rows) that was not served."""

    unit: int
    error: str
    message: str


class SearchPartial(Form, frozen=True, kw_only=True, tag="search_partial"):
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
        trace: what the reader recorded, where the call came with a trace context: see
            `observability.tracing.Recorder.given_back`.
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
    trace: Raw = b""


class Fetch(Form, frozen=True, kw_only=True, tag="fetch"):
    """Columns of rows found before, in the order given; `units`, `offsets` as in the partial."""

    collection: CollectionId
    version: MetadataVersion
    units: Raw
    offsets: Raw
    output: tuple[str, ...]


class Rows(Form, frozen=True, kw_only=True, tag="rows"):
    """All rows asked for, in order; a reader that lacks one answers with an error instead."""

    columns: Raw
    failures: tuple[UnitFailure, ...] = ()
    trace: Raw = b""


class Query(Form, frozen=True, kw_only=True, tag="query"):
    """Rows by filter or by key over the units of `at`, by primary key, at most `limit` of them.

    Attributes:
        keys: Arrow IPC of a batch with the primary key column; empty for no restriction.
        limit: 0 for no limit.
        count: only their number is wanted.
    """

    at: ReadPoint
    filter: str = ""
    templates: dict[str, Any] = msgspec.field(default_factory=dict)
    keys: Raw = b""
    output: tuple[str, ...] = ()
    limit: int = 0
    count: bool = False


class QueryPartial(Form, frozen=True, kw_only=True, tag="query_partial"):
    """Arrow IPC of the primary key, the output columns and `$ts` (int64, row timestamps)."""

    columns: Raw = b""
    count: int = 0
    failures: tuple[UnitFailure, ...] = ()
    read_ts: Timestamp = Timestamp(0)
    trace: Raw = b""
