"""Handlers of compactions that clients ask for, and of how those go.

As with Milvus a compaction that nobody knows, or knows any more, is completed and has no plans.
"""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.handler import Handler
from mishards.core.errors import CollectionNotFound, InvalidParameter
from mishards.core.ids import CollectionId, Timestamp
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.calls import ProxyApi
from mishards.rpc.messages import CompactionStatus

_MIB = 1024 * 1024


async def manual_compaction(proxy: ProxyApi, request: Any) -> Any:
    """Serves `ManualCompaction`."""
    view = _named(proxy, request)
    if request.target_size < 0:
        raise InvalidParameter(
            f"invalid target_size {request.target_size}: 0 (the writer's own), or MiB above 0"
        )
    if request.majorCompaction:
        # Clustering needs a clustering key, which no collection has: there is nothing to do.
        return milvus_pb2.ManualCompactionResponse(compactionID=await proxy.allocate_timestamp())
    compaction_id = await proxy.compact(
        view, deletes_only=request.l0Compaction, target_bytes=request.target_size * _MIB
    )
    return milvus_pb2.ManualCompactionResponse(compactionID=compaction_id)


def _named(proxy: ProxyApi, request: Any) -> CollectionView:
    """The collection, by name or else by id.

    Raises:
        DatabaseNotFound, CollectionNotFound.
    """
    if request.collection_name or not request.collectionID:
        return proxy.snapshot.resolve(request.db_name, request.collection_name)
    view = proxy.snapshot.collections.get(CollectionId(request.collectionID))
    if view is None:
        raise CollectionNotFound(f"collection not found[collection={request.collectionID}]")
    return view


async def get_compaction_state(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetCompactionState`."""
    status = await proxy.compaction(Timestamp(request.compactionID))
    return milvus_pb2.GetCompactionStateResponse(
        state=_state(status),
        executingPlanNo=status.executing_plans,
        completedPlanNo=status.completed_plans,
        failedPlanNo=status.failed_plans,
    )


async def get_compaction_plans(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetCompactionStateWithPlans`: what each plan merges, and into what."""
    status = await proxy.compaction(Timestamp(request.compactionID))
    answer = milvus_pb2.GetCompactionPlansResponse(state=_state(status))
    for plan in status.plans:
        answer.mergeInfos.add(sources=plan.sources, target=next(iter(plan.targets), 0))
    return answer


def _state(status: CompactionStatus) -> Any:
    return common_pb2.Executing if status.executing else common_pb2.Completed


HANDLERS: dict[str, Handler] = {
    "ManualCompaction": Handler(
        milvus_pb2.ManualCompactionRequest, milvus_pb2.ManualCompactionResponse, manual_compaction
    ),
    "GetCompactionState": Handler(
        milvus_pb2.GetCompactionStateRequest,
        milvus_pb2.GetCompactionStateResponse,
        get_compaction_state,
    ),
    "GetCompactionStateWithPlans": Handler(
        milvus_pb2.GetCompactionPlansRequest,
        milvus_pb2.GetCompactionPlansResponse,
        get_compaction_plans,
    ),
}
