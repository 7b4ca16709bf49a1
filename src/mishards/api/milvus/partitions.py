"""Handlers of partitions."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.collections import find_collection
from mishards.api.milvus.handler import Handler
from mishards.api.milvus.pairs import SUCCESS, put_pairs
from mishards.core.errors import PartitionNotFound, PartitionNotLoaded
from mishards.core.timestamps import physical_ms
from mishards.metadata.models import PartitionMeta
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.calls import ProxyApi
from mishards.rpc.messages import CreatePartition, DropPartition


def find_partition(view: CollectionView, name: str) -> PartitionMeta:
    """The partition of that very name.

    Raises:
        PartitionNotFound.
    """
    found = view.meta.partition_by_name.get(name)
    if found is None:
        raise PartitionNotFound(f"partition not found[collection={view.name}][partition={name}]")
    return found


async def create_partition(proxy: ProxyApi, request: Any) -> Any:
    """Serves `CreatePartition`."""
    message = CreatePartition(
        database=request.db_name,
        collection=request.collection_name,
        partition=request.partition_name,
    )
    await proxy.ddl(message)
    return SUCCESS


async def drop_partition(proxy: ProxyApi, request: Any) -> Any:
    """Serves `DropPartition`."""
    message = DropPartition(
        database=request.db_name,
        collection=request.collection_name,
        partition=request.partition_name,
    )
    await proxy.ddl(message)
    return SUCCESS


async def has_partition(proxy: ProxyApi, request: Any) -> Any:
    """Serves `HasPartition`."""
    view = proxy.snapshot.resolve(request.db_name, request.collection_name)
    return milvus_pb2.BoolResponse(value=request.partition_name in view.meta.partition_by_name)


async def show_partitions(proxy: ProxyApi, request: Any) -> Any:
    """Serves `ShowPartitions`: all, or those loaded, with their progress."""
    view = find_collection(
        proxy.snapshot, request.db_name, request.collection_name, request.collectionID
    )
    in_memory = request.type == milvus_pb2.InMemory
    if request.partition_names:
        chosen = [find_partition(view, name) for name in request.partition_names]
    else:
        chosen = [p for p in view.meta.partitions if p.loaded or not in_memory]
    answer = milvus_pb2.ShowPartitionsResponse()
    for partition in chosen:
        if in_memory:
            if not partition.loaded:
                raise PartitionNotLoaded(f"partition not loaded[partition={partition.name}]")
            progress = await proxy.loading_progress(view, (partition.name,))
            answer.inMemory_percentages.append(progress)
        answer.partition_names.append(partition.name)
        answer.partitionIDs.append(partition.id)
        answer.created_timestamps.append(partition.created)
        answer.created_utc_timestamps.append(physical_ms(partition.created))
    return answer


async def get_partition_statistics(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetPartitionStatistics`: the number of rows."""
    view = proxy.snapshot.resolve(request.db_name, request.collection_name)
    partition = find_partition(view, request.partition_name)
    answer = milvus_pb2.GetPartitionStatisticsResponse()
    rows = await proxy.row_count(view, (partition.name,))
    put_pairs(answer.stats, (("row_count", str(rows)),))
    return answer


HANDLERS: dict[str, Handler] = {
    "CreatePartition": Handler(
        milvus_pb2.CreatePartitionRequest, common_pb2.Status, create_partition
    ),
    "DropPartition": Handler(milvus_pb2.DropPartitionRequest, common_pb2.Status, drop_partition),
    "HasPartition": Handler(milvus_pb2.HasPartitionRequest, milvus_pb2.BoolResponse, has_partition),
    "ShowPartitions": Handler(
        milvus_pb2.ShowPartitionsRequest, milvus_pb2.ShowPartitionsResponse, show_partitions
    ),
    "GetPartitionStatistics": Handler(
        milvus_pb2.GetPartitionStatisticsRequest,
        milvus_pb2.GetPartitionStatisticsResponse,
        get_partition_statistics,
    ),
}
