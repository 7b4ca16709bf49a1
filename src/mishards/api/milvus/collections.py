"""Handlers of collections."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.handler import Handler
from mishards.api.milvus.pairs import SUCCESS, Pairs, is_true, pairs_of, put_pairs
from mishards.api.milvus.schemas import decode_schema, encode_schema
from mishards.core.errors import (
    CollectionNotFound,
    CollectionNotLoaded,
    InvalidParameter,
    Unimplemented,
)
from mishards.core.ids import CollectionId
from mishards.core.timestamps import physical_ms
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.proxy.calls import ProxyApi
from mishards.rpc.messages import (
    AlterCollection,
    CreateCollection,
    DropCollection,
    RenameCollection,
    TruncateCollection,
)

_SWITCHES = ("allow_insert_auto_id", "partitionkey.isolation", "dynamicfield.enabled")


def find_collection(
    snapshot: MetadataSnapshot, database: str, name: str, collection_id: int
) -> CollectionView:
    """A collection by name or alias or, without one, by id.

    Raises:
        DatabaseNotFound, CollectionNotFound.
    """
    if name or not collection_id:
        return snapshot.resolve(database, name)
    view = snapshot.collections.get(CollectionId(collection_id))
    if view is None:
        raise CollectionNotFound(f"collection not found[collection={collection_id}]")
    return view


def _check_properties(properties: Pairs) -> None:
    """Refuse properties that would change what the collection does and are not served."""
    for key, value in properties:
        if key in _SWITCHES and is_true(value):
            raise Unimplemented(f"property {key} is not served")


async def create_collection(proxy: ProxyApi, request: Any) -> Any:
    """Serves `CreateCollection`."""
    properties = pairs_of(request.properties)
    _check_properties(properties)
    if request.num_partitions > 0:
        raise InvalidParameter(
            f"num_partitions {request.num_partitions} can only be given with a partition key"
        )
    schema = decode_schema(request.schema, request.collection_name, properties)
    message = CreateCollection(
        database=request.db_name,
        schema=schema,
        consistency=request.consistency_level,
        shards=request.shards_num or 1,
    )
    await proxy.ddl(message)
    return SUCCESS


def _put_description(answer: Any, snapshot: MetadataSnapshot, view: CollectionView) -> None:
    meta = view.meta
    encode_schema(meta.schema, answer.schema)
    answer.collectionID = meta.id
    answer.collection_name = meta.name
    answer.created_timestamp = meta.created
    answer.created_utc_timestamp = physical_ms(meta.created)
    answer.update_timestamp = meta.updated
    answer.update_timestamp_str = str(meta.updated)
    answer.shards_num = meta.shards
    answer.consistency_level = int(meta.consistency)
    answer.num_partitions = len(meta.partitions)
    answer.aliases.extend(meta.aliases)
    answer.db_id = meta.database_id
    answer.db_name = answer.schema.dbName = next(
        (d.name for d in snapshot.databases.values() if d.id == meta.database_id), ""
    )
    put_pairs(answer.properties, meta.schema.properties)


async def describe_collection(proxy: ProxyApi, request: Any) -> Any:
    """Serves `DescribeCollection`."""
    snapshot = proxy.snapshot
    view = find_collection(snapshot, request.db_name, request.collection_name, request.collectionID)
    answer = milvus_pb2.DescribeCollectionResponse()
    _put_description(answer, snapshot, view)
    return answer


async def batch_describe_collection(proxy: ProxyApi, request: Any) -> Any:
    """Serves `BatchDescribeCollection`: by names or, without any, by ids."""
    snapshot = proxy.snapshot
    answer = milvus_pb2.BatchDescribeCollectionResponse()
    wanted = [(name, 0) for name in request.collection_name] or [
        ("", number) for number in request.collectionID
    ]
    for name, number in wanted:
        view = find_collection(snapshot, request.db_name, name, number)
        _put_description(answer.responses.add(), snapshot, view)
    return answer


async def has_collection(proxy: ProxyApi, request: Any) -> Any:
    """Serves `HasCollection`."""
    proxy.snapshot.database(request.db_name)
    found = proxy.snapshot.find(request.db_name, request.collection_name)
    return milvus_pb2.BoolResponse(value=found is not None)


async def show_collections(proxy: ProxyApi, request: Any) -> Any:
    """Serves `ShowCollections`: all of a database, or those loaded, with their progress."""
    snapshot = proxy.snapshot
    in_memory = request.type == milvus_pb2.InMemory
    if request.collection_names:
        views = [snapshot.resolve(request.db_name, name) for name in request.collection_names]
    else:
        owner = snapshot.database(request.db_name).id
        views = [v for v in snapshot.collections.values() if v.meta.database_id == owner]
        if in_memory:
            views = [view for view in views if view.meta.loaded_partitions]
    answer = milvus_pb2.ShowCollectionsResponse()
    for view in views:
        meta = view.meta
        if in_memory:
            if not meta.loaded_partitions:
                raise CollectionNotLoaded(f"collection not loaded[collection={meta.name}]")
            answer.inMemory_percentages.append(await proxy.loading_progress(view))
            answer.query_service_available.append(True)
        answer.collection_names.append(meta.name)
        answer.collection_ids.append(meta.id)
        answer.created_timestamps.append(meta.created)
        answer.created_utc_timestamps.append(physical_ms(meta.created))
        answer.shards_num.append(meta.shards)
    return answer


async def drop_collection(proxy: ProxyApi, request: Any) -> Any:
    """Serves `DropCollection`."""
    await proxy.ddl(DropCollection(database=request.db_name, name=request.collection_name))
    return SUCCESS


async def rename_collection(proxy: ProxyApi, request: Any) -> Any:
    """Serves `RenameCollection`, also into another database."""
    message = RenameCollection(
        database=request.db_name,
        name=request.oldName,
        new_database=request.newDBName or request.db_name,
        new_name=request.newName,
    )
    await proxy.ddl(message)
    return SUCCESS


async def alter_collection(proxy: ProxyApi, request: Any) -> Any:
    """Serves `AlterCollection`: sets properties, or removes them."""
    if request.properties and request.delete_keys:
        raise InvalidParameter("cannot provide both properties and delete_keys")
    properties = pairs_of(request.properties)
    _check_properties(properties)
    message = AlterCollection(
        database=request.db_name,
        name=request.collection_name,
        properties=properties,
        removed=tuple(request.delete_keys),
    )
    await proxy.ddl(message)
    return SUCCESS


async def truncate_collection(proxy: ProxyApi, request: Any) -> Any:
    """Serves `TruncateCollection`."""
    await proxy.ddl(TruncateCollection(database=request.db_name, name=request.collection_name))
    return milvus_pb2.TruncateCollectionResponse()


async def get_collection_statistics(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetCollectionStatistics`: the number of rows."""
    view = proxy.snapshot.resolve(request.db_name, request.collection_name)
    answer = milvus_pb2.GetCollectionStatisticsResponse()
    put_pairs(answer.stats, (("row_count", str(await proxy.row_count(view))),))
    return answer


HANDLERS: dict[str, Handler] = {
    "CreateCollection": Handler(
        milvus_pb2.CreateCollectionRequest, common_pb2.Status, create_collection
    ),
    "DescribeCollection": Handler(
        milvus_pb2.DescribeCollectionRequest,
        milvus_pb2.DescribeCollectionResponse,
        describe_collection,
    ),
    "BatchDescribeCollection": Handler(
        milvus_pb2.BatchDescribeCollectionRequest,
        milvus_pb2.BatchDescribeCollectionResponse,
        batch_describe_collection,
    ),
    "HasCollection": Handler(
        milvus_pb2.HasCollectionRequest, milvus_pb2.BoolResponse, has_collection
    ),
    "ShowCollections": Handler(
        milvus_pb2.ShowCollectionsRequest, milvus_pb2.ShowCollectionsResponse, show_collections
    ),
    "DropCollection": Handler(milvus_pb2.DropCollectionRequest, common_pb2.Status, drop_collection),
    "RenameCollection": Handler(
        milvus_pb2.RenameCollectionRequest, common_pb2.Status, rename_collection
    ),
    "AlterCollection": Handler(
        milvus_pb2.AlterCollectionRequest, common_pb2.Status, alter_collection
    ),
    "TruncateCollection": Handler(
        milvus_pb2.TruncateCollectionRequest,
        milvus_pb2.TruncateCollectionResponse,
        truncate_collection,
    ),
    "GetCollectionStatistics": Handler(
        milvus_pb2.GetCollectionStatisticsRequest,
        milvus_pb2.GetCollectionStatisticsResponse,
        get_collection_statistics,
    ),
}
