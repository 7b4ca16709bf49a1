"""The state of a whole cluster, gathered from its metadata, its registry and its nodes."""

from __future__ import annotations

import asyncio

import msgspec

from mishards.core.errors import MishardsError
from mishards.core.ids import MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.rpc.messages import NodeStatus, StatusReply
from mishards.rpc.protocol import Transport
from mishards.server.config import Config
from mishards.server.seams import open_seams

_TIMEOUT_S = 2.0


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """A node: what the registry says of it and, where it answers, what it says itself."""

    id: str
    roles: tuple[str, ...]
    address: str
    edge: str
    http: str
    pid: int
    host: str
    ready: bool
    leads: tuple[int, ...]
    answers: bool
    metadata_version: int
    applied_seq: int
    growing_rows: int


class SegmentReport(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed segment.

    Attributes:
        served_by: what each node that has it open searches it with.
        quarantined_by: what each node that refuses it found wrong.
    """

    id: int
    partition: str
    rows: int
    size_bytes: int
    indexes: tuple[str, ...]
    served_by: dict[str, str]
    quarantined_by: dict[str, str] = {}


class CollectionReport(msgspec.Struct, frozen=True, kw_only=True):
    """A collection.

    Attributes:
        recall: share of the true neighbours that searches found lately, 0 to 1, as the recall
            guards of the proxies saw it; None where they have checked none.
        recall_queries: of how many queries that is the mean.
    """

    database: str
    name: str
    loaded: bool
    replicas: int
    partitions: tuple[str, ...]
    rows_sealed: int
    rows_growing: int
    segments: tuple[SegmentReport, ...]
    recall: float | None = None
    recall_queries: int = 0


class ClusterReport(msgspec.Struct, frozen=True, kw_only=True):
    cluster: str
    metadata_version: int
    nodes: tuple[NodeReport, ...]
    collections: tuple[CollectionReport, ...]


async def cluster_report(config: Config) -> ClusterReport:
    """Ask everyone; a node that does not answer is listed as such.

    Raises:
        MetadataUnavailable, ConfigError: the cluster's metadata cannot be read.
    """
    config.require_data()
    runtime = SystemRuntime(threads=2)
    try:
        seams = await open_seams(config, runtime)
        try:
            cluster = await seams.metadata.open("")
            changes = await seams.metadata.changes(MetadataVersion(0))
            nodes = await seams.registry.nodes()
            answers = await asyncio.gather(*(_ask(seams.transport, node) for node in nodes))
        finally:
            await seams.close()
    finally:
        await runtime.close()
    snapshot = MetadataSnapshot.empty().apply(changes)
    replies = {node.id: answer for node, answer in zip(nodes, answers, strict=True)}
    return ClusterReport(
        cluster=cluster,
        metadata_version=snapshot.version,
        nodes=tuple(_node(node, replies[node.id]) for node in nodes),
        collections=tuple(
            _collection(snapshot, view, [r for r in replies.values() if r is not None])
            for view in sorted(snapshot.collections.values(), key=lambda view: view.name)
        ),
    )


async def _ask(transport: Transport, node: NodeInfo) -> StatusReply | None:
    try:
        answer = await transport.channel(node.address).call(NodeStatus(), timeout_s=_TIMEOUT_S)
    except MishardsError:
        return None
    return answer if isinstance(answer, StatusReply) else None


def _node(node: NodeInfo, answer: StatusReply | None) -> NodeReport:
    return NodeReport(
        id=node.id,
        roles=node.roles,
        address=node.address,
        edge=node.edge,
        http=node.http,
        pid=node.pid,
        host=node.host,
        ready=node.ready,
        leads=node.leads,
        answers=answer is not None,
        metadata_version=0 if answer is None else answer.version,
        applied_seq=0 if answer is None else max(answer.applied_seq.values(), default=0),
        growing_rows=0 if answer is None else sum(answer.growing_rows.values()),
    )


def _collection(
    snapshot: MetadataSnapshot, view: CollectionView, replies: list[StatusReply]
) -> CollectionReport:
    meta = view.meta
    database = next(d.name for d in snapshot.databases.values() if d.id == meta.database_id)
    partitions = {partition.id: partition.name for partition in meta.partitions}
    seen = [reply.recall[view.id] for reply in replies if view.id in reply.recall]
    checked = sum(one.queries for one in seen)
    return CollectionReport(
        database=database,
        name=meta.name,
        loaded=bool(meta.loaded_partitions),
        replicas=meta.replica_number,
        partitions=tuple(partitions.values()),
        rows_sealed=sum(segment.rows for segment in view.segments.values()),
        rows_growing=max((reply.growing_rows.get(view.id, 0) for reply in replies), default=0),
        segments=tuple(
            SegmentReport(
                id=segment.id,
                partition=partitions.get(segment.partition_id, str(segment.partition_id)),
                rows=segment.rows,
                size_bytes=segment.size_bytes,
                indexes=tuple(index.field for index in segment.indexes),
                served_by={
                    reply.node: reply.segments[segment.id]
                    for reply in replies
                    if segment.id in reply.segments
                },
                quarantined_by={
                    reply.node: reply.quarantined[segment.id]
                    for reply in replies
                    if segment.id in reply.quarantined
                },
            )
            for segment in view.segments.values()
        ),
        recall=sum(one.ratio * one.queries for one in seen) / checked if checked else None,
        recall_queries=checked,
    )
