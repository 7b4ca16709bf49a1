"""Handlers that list segments: those on storage, and those that readers serve."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.handler import Handler
from mishards.api.milvus.loading import node_number
from mishards.core.ids import SegmentId
from mishards.metadata.models import SegmentMeta
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.calls import ProxyApi


async def get_persistent_segment_info(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetPersistentSegmentInfo`: every segment on storage is flushed."""
    view = proxy.snapshot.resolve(request.dbName, request.collectionName)
    answer = milvus_pb2.GetPersistentSegmentInfoResponse()
    if request.states and common_pb2.Flushed not in request.states:
        return answer
    for segment in view.segments.values():
        answer.infos.add(
            segmentID=segment.id,
            collectionID=segment.collection_id,
            partitionID=segment.partition_id,
            num_rows=segment.rows,
            state=common_pb2.Flushed,
            level=common_pb2.L1,
            is_sorted=True,
        )
    return answer


async def get_query_segment_info(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetQuerySegmentInfo`: the sealed segments of what is loaded, and their nodes."""
    view = proxy.snapshot.resolve(request.dbName, request.collectionName)
    answer = milvus_pb2.GetQuerySegmentInfoResponse()
    if not view.meta.loaded_partitions:
        return answer
    nodes: dict[SegmentId, list[int]] = {}
    for replica in proxy.replicas(view):
        for node, segments in replica.segments.items():
            for segment_id in segments:
                nodes.setdefault(segment_id, []).append(node_number(node))
    for segment in view.segments.values():
        if segment.partition_id in view.meta.loaded_partitions:
            _put_served(answer.infos.add(), view, segment, nodes.get(segment.id, []))
    return answer


def _put_served(info: Any, view: CollectionView, segment: SegmentMeta, nodes: list[int]) -> None:
    info.segmentID = segment.id
    info.collectionID = segment.collection_id
    info.partitionID = segment.partition_id
    info.mem_size = segment.size_bytes
    info.num_rows = segment.rows
    info.state = common_pb2.Sealed
    info.level = common_pb2.L1
    info.is_sorted = True
    info.nodeIds.extend(nodes)
    built = {one.index_id for one in segment.indexes}
    index = next((index for index in view.meta.indexes if index.id in built), None)
    if index is not None:
        info.index_name = index.name
        info.indexID = index.id


HANDLERS: dict[str, Handler] = {
    "GetPersistentSegmentInfo": Handler(
        milvus_pb2.GetPersistentSegmentInfoRequest,
        milvus_pb2.GetPersistentSegmentInfoResponse,
        get_persistent_segment_info,
    ),
    "GetQuerySegmentInfo": Handler(
        milvus_pb2.GetQuerySegmentInfoRequest,
        milvus_pb2.GetQuerySegmentInfoResponse,
        get_query_segment_info,
    ),
}
