"""Facts about clusters that do not exist, for tests of what the doctor makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mishards.core.ids import (
    CollectionId,
    DatabaseId,
    EntrySeq,
    Epoch,
    FieldId,
    IndexId,
    LogId,
    MetadataVersion,
    NodeId,
    PartitionId,
    SegmentId,
    Timestamp,
)
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, Metric
from mishards.core.timestamps import compose
from mishards.discovery.protocol import NodeInfo
from mishards.doctor.findings import Finding, Level
from mishards.doctor.nodes import NodeFacts
from mishards.metadata.models import (
    CollectionMeta,
    DatabaseMeta,
    IndexMeta,
    LogMeta,
    PartitionMeta,
    Record,
    SegmentMeta,
    encode,
)
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import Condition, StatusReply

NOW_MS = 1_700_000_000_000
LOG = LogId(0)
_PARTITION = PartitionId(2)
_COLLECTION = CollectionId(1)


def node(
    name: str,
    *roles: str,
    leads: Iterable[int] = (),
    epochs: Iterable[int] = (),
    status: dict[str, Any] | None = None,
    condition: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    **info: Any,
) -> NodeFacts:
    """A node that answers and is ready, unless told otherwise.

    Args:
        status, condition, facts: fields of `StatusReply`, `Condition` and `NodeFacts`.
        info: fields of its entry.
    """
    entry: dict[str, Any] = {
        "address": f"tcp://10.0.0.1:{len(name)}{ord(name[-1])}",
        "host": "here",
    }
    listed = NodeInfo(
        id=NodeId(name),
        roles=roles or ("reader",),
        leads=tuple(leads),
        epochs=tuple(epochs),
        **(entry | info),
    )
    return NodeFacts(
        **(
            {
                "listed": listed,
                "said": listed,
                "status": StatusReply(
                    node=name, roles=listed.roles, version=MetadataVersion(1), **(status or {})
                ),
                "condition": Condition(
                    node=name, now_ms=NOW_MS, release="1.0", **(condition or {})
                ),
            }
            | (facts or {})
        )
    )


def silent_node(name: str, *roles: str, problem: str, **facts: Any) -> NodeFacts:
    """A node that does not answer."""
    given = {"said": None, "status": None, "condition": None, "problem": problem, **facts}
    return node(name, *roles, facts=given)


def snapshot(
    *, replicas: int = 1, loaded: bool = True, segments: Iterable[SegmentMeta] = ()
) -> MetadataSnapshot:
    """One log, one collection `c` with an index, and segments."""
    vector = FieldSchema(id=FieldId(101), name="v", type=DataType.FLOAT_VECTOR, dim=2)
    key = FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True)
    index = IndexMeta(
        id=IndexId(9),
        name="v",
        field_id=vector.id,
        field="v",
        requested="HNSW",
        family="HNSW",
        metric=Metric.L2,
    )
    records: tuple[Record, ...] = (
        DatabaseMeta(id=DatabaseId(1), name="default"),
        CollectionMeta(
            id=_COLLECTION,
            database_id=DatabaseId(1),
            schema=CollectionSchema(name="c", fields=(key, vector)),
            partitions=(PartitionMeta(id=_PARTITION, name="_default", loaded=loaded),),
            indexes=(index,),
            replica_number=replicas,
        ),
        LogMeta(id=LOG, epoch=Epoch(3), replay_from=EntrySeq(5), build_min_rows=1_000),
        *segments,
    )
    puts = tuple((record.key, encode(record)) for record in records)
    return MetadataSnapshot.empty().apply(Changes(MetadataVersion(0), MetadataVersion(7), puts))


def segment(*, sealed_s_ago: float = 60.0, rows: int = 100, size_bytes: int = 1_000) -> SegmentMeta:
    """A segment without indexes, numbered by when it was sealed."""
    return SegmentMeta(
        id=SegmentId(compose(NOW_MS - int(sealed_s_ago * 1000))),
        collection_id=_COLLECTION,
        partition_id=_PARTITION,
        rows=rows,
        min_ts=Timestamp(1),
        max_ts=Timestamp(2),
        size_bytes=size_bytes,
    )


def found(findings: Iterable[Finding]) -> dict[str, tuple[Level, str]]:
    """What each check found at its worst; the first of several as bad."""
    worst: dict[str, tuple[Level, str]] = {}
    for finding in findings:
        known = worst.get(finding.check)
        if known is None or finding.level.weight > known[0].weight:
            worst[finding.check] = finding.level, finding.seen
        assert finding.level in (Level.OK, Level.NOTE) or finding.todo, finding
    return worst


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    """The level of each check that is not well."""
    return {check: level for check, (level, _) in found(findings).items() if level is not Level.OK}
