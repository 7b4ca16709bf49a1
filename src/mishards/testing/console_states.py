"""Clusters of any size as a proxy would see them, made up: for tests of what is shown of them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

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
from mishards.metadata.models import (
    CollectionMeta,
    DatabaseMeta,
    IndexMeta,
    LogMeta,
    PartitionMeta,
    SegmentIndex,
    SegmentMeta,
)
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.proxy.cluster_state import ClusterState
from mishards.routing.protocol import RoutingPolicy, Unit
from mishards.routing.registry import policy
from mishards.rpc.messages import StatusReply

NOW_MS = 1_780_000_000_000
DIM = 8
_VERSION = MetadataVersion(412)
_END = EntrySeq(98_765)
_ROWS = 50_000
_SMALL = 20_000
"""Units times readers up to which it is worked out who is to serve what."""


def made_view(
    number: int, segments: int, *, name: str = "", replicas: int = 1, first_segment: int = 1
) -> CollectionView:
    """A collection with sealed segments, each with an index but the last of many."""
    name = name or f"collection_{number}"
    vector = FieldSchema(id=FieldId(101), name="vector", type=DataType.FLOAT_VECTOR, dim=DIM)
    fields = (
        FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True),
        vector,
        FieldSchema(id=FieldId(102), name="title", type=DataType.VARCHAR, max_length=200),
    )
    partition = PartitionMeta(id=PartitionId(1), name="_default", loaded=replicas > 0)
    meta = CollectionMeta(
        id=CollectionId(number),
        database_id=DatabaseId(1),
        schema=CollectionSchema(name=name, fields=fields),
        partitions=(partition,),
        indexes=(
            IndexMeta(
                id=IndexId(7),
                name="vector",
                field_id=vector.id,
                field="vector",
                requested="HNSW",
                family="HNSW",
                metric=Metric.COSINE,
            ),
        ),
        created=compose(NOW_MS - 86_400_000),
        replica_number=replicas,
    )
    made = [
        _segment(number, first_segment + at, indexed=at < 3 or at < segments - 1)
        for at in range(segments)
    ]
    return CollectionView(meta, {segment.id: segment for segment in made})


def _segment(collection: int, number: int, *, indexed: bool) -> SegmentMeta:
    index = SegmentIndex(
        index_id=IndexId(7), field="vector", name="vector.hnsw", size_bytes=9_000_000, checksum=0
    )
    return SegmentMeta(
        id=SegmentId(460_000_000_000_000_000 + number),
        collection_id=CollectionId(collection),
        partition_id=PartitionId(1),
        rows=_ROWS - 37 * (number % 100),
        min_ts=Timestamp(1),
        max_ts=Timestamp(2),
        size_bytes=26_000_000,
        indexes=(index,) if indexed else (),
    )


def made_state(
    *views: CollectionView, readers: int = 3, writers: int = 2, proxies: int = 1
) -> ClusterState:
    """A healthy cluster: the first writer leads log 0, readers have open what is planned there."""
    nodes = [
        *(_node(f"proxy-{n + 1}", "proxy", 100 + n, edge=f"10.0.0.{n + 1}:19530", http=True)
          for n in range(proxies)),
        *(_node(f"reader-{n + 1}", "reader", 1000 + n) for n in range(readers)),
        *(_node(f"writer-{n + 1}", "writer", 500 + n, leads=(0,) if n == 0 else ())
          for n in range(writers)),
    ]  # fmt: skip
    snapshot = MetadataSnapshot(
        version=_VERSION,
        databases={"default": DatabaseMeta(id=DatabaseId(1), name="default")},
        collections={view.id: view for view in views},
        names={(view.meta.database_id, view.name): view.id for view in views},
        logs={LogId(0): LogMeta(id=LogId(0), epoch=Epoch(4), leader=NodeId("writer-1"))},
    )
    opened = _opened(views, [node.id for node in nodes if "reader" in node.roles])
    return ClusterState(
        node=NodeId("proxy-1"),
        now_ms=NOW_MS,
        snapshot=snapshot,
        nodes=tuple(sorted(nodes)),
        replies={node.id: _reply(node, opened.get(node.id, {}), views) for node in nodes},
        heard_ago_s={LogId(0): 0.05},
    )


def _node(
    name: str,
    role: str,
    port: int,
    *,
    edge: str = "",
    http: bool = False,
    leads: tuple[int, ...] = (),
) -> NodeInfo:
    return NodeInfo(
        id=NodeId(name),
        roles=(role,),
        address=f"tcp://10.0.{port // 250}.{port % 250}:7000",
        leads=leads,
        epochs=(4,) if leads else (),
        edge=edge,
        http=f"10.0.0.1:{port}" if http else "",
        pid=port,
        host=f"host-{port}",
    )


def _opened(
    views: tuple[CollectionView, ...], readers: list[NodeId]
) -> dict[NodeId, dict[SegmentId, str]]:
    opened: dict[NodeId, dict[SegmentId, str]] = {}
    for view in views:
        small = len(view.segments) * len(readers) < _SMALL
        table = planned(view, readers) if small else {}
        for at, segment in enumerate(view.segments.values()):
            how = "vector: HNSW" if segment.indexes else "vector: exact"
            order = table.get(segment.id) or (readers[at % len(readers) :] if readers else [])
            for node in order[: view.meta.replica_number]:
                opened.setdefault(node, {})[segment.id] = how
    return opened


def _reply(
    node: NodeInfo, opened: dict[SegmentId, str], views: tuple[CollectionView, ...]
) -> StatusReply:
    reads = "reader" in node.roles
    return StatusReply(
        node=node.id,
        roles=node.roles,
        version=_VERSION,
        applied_seq={LogId(0): _END},
        applied_ts={LogId(0): compose(NOW_MS)},
        epoch={LogId(0): 4} if node.leads else {},
        segments=opened,
        growing_rows={view.id: 1234 for view in views} if reads else {},
        details={} if not node.leads else {"log 0": "led"},
    )


def planned(view: CollectionView, readers: list[NodeId]) -> Mapping[Unit, tuple[NodeId, ...]]:
    """Preference lists by the default policy."""
    chosen: RoutingPolicy = policy()
    return chosen.preferences([*view.segments, -view.id], readers, {})


def broken(state: ClusterState) -> ClusterState:
    """The same cluster with its writers dead, a reader silent, and the registry away."""
    gone = {node.id for node in state.nodes if "writer" in node.roles}
    silent = next((node.id for node in state.nodes if "reader" in node.roles), None)
    dead = gone | ({silent} if silent else set())
    return msgspec.structs.replace(
        state,
        silent=frozenset(dead),
        replies={node: reply for node, reply in state.replies.items() if node not in dead},
        registry_answers=False,
        heard_ago_s=dict.fromkeys(state.heard_ago_s, 42.0),
    )


class MadeLook:
    """A `Look` at a state that was made up, which may be replaced at any time."""

    def __init__(self, state: ClusterState) -> None:
        self.now = state

    @property
    def node(self) -> NodeId:
        return self.now.node

    async def state(self) -> ClusterState:
        return self.now

    def preferences(self, view: CollectionView) -> Mapping[Unit, tuple[NodeId, ...]]:
        readers = [node.id for node in self.now.nodes if "reader" in node.roles and node.ready]
        return planned(view, readers)
