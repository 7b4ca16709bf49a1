"""Handlers of databases."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.handler import Handler
from mishards.api.milvus.pairs import SUCCESS, pairs_of, put_pairs
from mishards.core.errors import InvalidParameter
from mishards.proxy.calls import ProxyApi
from mishards.rpc.messages import AlterDatabase, CreateDatabase, DropDatabase


async def create_database(proxy: ProxyApi, request: Any) -> Any:
    """Serves `CreateDatabase`."""
    await proxy.ddl(CreateDatabase(name=request.db_name, properties=pairs_of(request.properties)))
    return SUCCESS


async def drop_database(proxy: ProxyApi, request: Any) -> Any:
    """Serves `DropDatabase`."""
    await proxy.ddl(DropDatabase(name=request.db_name))
    return SUCCESS


async def list_databases(proxy: ProxyApi, request: Any) -> Any:
    """Serves `ListDatabases`."""
    answer = milvus_pb2.ListDatabasesResponse()
    for database in proxy.snapshot.databases.values():
        answer.db_names.append(database.name)
        answer.created_timestamp.append(database.created)
        answer.db_ids.append(database.id)
    return answer


async def alter_database(proxy: ProxyApi, request: Any) -> Any:
    """Serves `AlterDatabase`: sets properties, or removes them."""
    if request.properties and request.delete_keys:
        raise InvalidParameter("cannot provide both properties and delete_keys")
    message = AlterDatabase(
        name=request.db_name,
        properties=pairs_of(request.properties),
        removed=tuple(request.delete_keys),
    )
    await proxy.ddl(message)
    return SUCCESS


async def describe_database(proxy: ProxyApi, request: Any) -> Any:
    """Serves `DescribeDatabase`."""
    database = proxy.snapshot.database(request.db_name)
    answer = milvus_pb2.DescribeDatabaseResponse(
        db_name=database.name, dbID=database.id, created_timestamp=database.created
    )
    put_pairs(answer.properties, database.properties)
    return answer


HANDLERS: dict[str, Handler] = {
    "CreateDatabase": Handler(milvus_pb2.CreateDatabaseRequest, common_pb2.Status, create_database),
    "DropDatabase": Handler(milvus_pb2.DropDatabaseRequest, common_pb2.Status, drop_database),
    "ListDatabases": Handler(
        milvus_pb2.ListDatabasesRequest, milvus_pb2.ListDatabasesResponse, list_databases
    ),
    "AlterDatabase": Handler(milvus_pb2.AlterDatabaseRequest, common_pb2.Status, alter_database),
    "DescribeDatabase": Handler(
        milvus_pb2.DescribeDatabaseRequest, milvus_pb2.DescribeDatabaseResponse, describe_database
    ),
}
