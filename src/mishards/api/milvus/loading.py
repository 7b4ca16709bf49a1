"""Handlers of loading and releasing, and of what is loaded where."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.collections import find_collection
from mishards.api.milvus.handler import Handler
from mishards.api.milvus.pairs import SUCCESS
from mishards.api.milvus.partitions import find_partition
from mishards.core.errors import (
    CollectionNotLoaded,
    MissingParameter,
    PartitionNotLoaded,
    Unimplemented,
)
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.calls import ProxyApi
from mishards.rpc.messages import Load, Release

RESOURCE_GROUP = "__default_resource_group"
"""The one group that all readers are in, under Milvus's name for it."""


def node_number(node: str) -> int:
    """A node's name as the number that Milvus's messages want: the same everywhere, always."""
    return int.from_bytes(hashlib.blake2b(node.encode(), digest_size=6).digest())


async def _load(proxy: ProxyApi, request: Any, partitions: tuple[str, ...]) -> Any:
    groups = [group for group in request.resource_groups if group != RESOURCE_GROUP]
    if groups:
        raise Unimplemented(f"resource groups are not served: {', '.join(groups)}")
    view = proxy.snapshot.resolve(request.db_name, request.collection_name)
    message = Load(
        database=request.db_name,
        collection=request.collection_name,
        partitions=partitions,
        replica_number=request.replica_number or view.meta.replica_number or 1,
    )
    await proxy.ddl(message)
    return SUCCESS


async def load_collection(proxy: ProxyApi, request: Any) -> Any:
    """Serves `LoadCollection`. All fields are loaded, also where only some are asked for."""
    return await _load(proxy, request, ())


async def load_partitions(proxy: ProxyApi, request: Any) -> Any:
    """Serves `LoadPartitions`."""
    return await _load(proxy, request, _named(request.partition_names))


async def release_collection(proxy: ProxyApi, request: Any) -> Any:
    """Serves `ReleaseCollection`."""
    await proxy.ddl(Release(database=request.db_name, collection=request.collection_name))
    return SUCCESS


async def release_partitions(proxy: ProxyApi, request: Any) -> Any:
    """Serves `ReleasePartitions`."""
    message = Release(
        database=request.db_name,
        collection=request.collection_name,
        partitions=_named(request.partition_names),
    )
    await proxy.ddl(message)
    return SUCCESS


def _named(partitions: Sequence[str]) -> tuple[str, ...]:
    """To the writer no partition means all of them; here it means a mistake."""
    if not partitions:
        raise MissingParameter("partition_names is empty: name at least one partition")
    return tuple(partitions)


def _not_loaded(view: CollectionView, partitions: Sequence[str]) -> str:
    """The first of the partitions that is not loaded; without any named, the collection."""
    if not partitions:
        return "" if view.meta.loaded_partitions else view.name
    return next((name for name in partitions if not find_partition(view, name).loaded), "")


async def get_load_state(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetLoadState`."""
    proxy.snapshot.database(request.db_name)
    view = proxy.snapshot.find(request.db_name, request.collection_name)
    if view is None:
        state = common_pb2.LoadStateNotExist
    elif _not_loaded(view, request.partition_names):
        state = common_pb2.LoadStateNotLoad
    elif await proxy.loading_progress(view, tuple(request.partition_names)) < 100:
        state = common_pb2.LoadStateLoading
    else:
        state = common_pb2.LoadStateLoaded
    return milvus_pb2.GetLoadStateResponse(state=state)


async def get_loading_progress(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetLoadingProgress`; a refresh is part of following, so it is never behind."""
    view = proxy.snapshot.resolve(request.db_name, request.collection_name)
    if name := _not_loaded(view, request.partition_names):
        if request.partition_names:
            raise PartitionNotLoaded(f"partition not loaded[partition={name}]")
        raise CollectionNotLoaded(f"collection not loaded[collection={name}]")
    progress = await proxy.loading_progress(view, tuple(request.partition_names))
    return milvus_pb2.GetLoadingProgressResponse(progress=progress, refresh_progress=progress)


async def get_replicas(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetReplicas`: one shard per replica, led by the first of its nodes."""
    view = find_collection(
        proxy.snapshot, request.db_name, request.collection_name, request.collectionID
    )
    if _not_loaded(view, ()):
        raise CollectionNotLoaded(f"collection not loaded[collection={view.name}]")
    answer = milvus_pb2.GetReplicasResponse()
    for replica in proxy.replicas(view):
        numbers = [node_number(node) for node in replica.nodes]
        info = answer.replicas.add(
            replicaID=replica.id,
            collectionID=view.id,
            partition_ids=sorted(view.meta.loaded_partitions),
            node_ids=numbers,
            resource_group_name=RESOURCE_GROUP,
        )
        info.shard_replicas.add(
            leaderID=numbers[0] if numbers else 0,
            leader_addr=replica.nodes[0] if replica.nodes else "",
            dm_channel_name=f"log-{view.meta.log_id}",
            node_ids=numbers,
        )
    return answer


HANDLERS: dict[str, Handler] = {
    "LoadCollection": Handler(milvus_pb2.LoadCollectionRequest, common_pb2.Status, load_collection),
    "LoadPartitions": Handler(milvus_pb2.LoadPartitionsRequest, common_pb2.Status, load_partitions),
    "ReleaseCollection": Handler(
        milvus_pb2.ReleaseCollectionRequest, common_pb2.Status, release_collection
    ),
    "ReleasePartitions": Handler(
        milvus_pb2.ReleasePartitionsRequest, common_pb2.Status, release_partitions
    ),
    "GetLoadState": Handler(
        milvus_pb2.GetLoadStateRequest, milvus_pb2.GetLoadStateResponse, get_load_state
    ),
    "GetLoadingProgress": Handler(
        milvus_pb2.GetLoadingProgressRequest,
        milvus_pb2.GetLoadingProgressResponse,
        get_loading_progress,
    ),
    "GetReplicas": Handler(
        milvus_pb2.GetReplicasRequest, milvus_pb2.GetReplicasResponse, get_replicas
    ),
}
