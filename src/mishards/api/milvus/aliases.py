"""Handlers of aliases."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.handler import Handler
from mishards.api.milvus.pairs import SUCCESS
from mishards.core.errors import AliasNotFound
from mishards.proxy.calls import ProxyApi
from mishards.rpc.messages import AlterAlias, CreateAlias, DropAlias


async def create_alias(proxy: ProxyApi, request: Any) -> Any:
    """Serves `CreateAlias`."""
    message = CreateAlias(
        database=request.db_name, collection=request.collection_name, alias=request.alias
    )
    await proxy.ddl(message)
    return SUCCESS


async def alter_alias(proxy: ProxyApi, request: Any) -> Any:
    """Serves `AlterAlias`."""
    message = AlterAlias(
        database=request.db_name, collection=request.collection_name, alias=request.alias
    )
    await proxy.ddl(message)
    return SUCCESS


async def drop_alias(proxy: ProxyApi, request: Any) -> Any:
    """Serves `DropAlias`."""
    await proxy.ddl(DropAlias(database=request.db_name, alias=request.alias))
    return SUCCESS


async def describe_alias(proxy: ProxyApi, request: Any) -> Any:
    """Serves `DescribeAlias`."""
    owner = proxy.snapshot.database(request.db_name)
    view = proxy.snapshot.find(request.db_name, request.alias)
    if view is None or request.alias not in view.meta.aliases:
        raise AliasNotFound(f"alias not found[database={owner.name}][alias={request.alias}]")
    return milvus_pb2.DescribeAliasResponse(
        db_name=owner.name, alias=request.alias, collection=view.name
    )


async def list_aliases(proxy: ProxyApi, request: Any) -> Any:
    """Serves `ListAliases`: of a collection, or of a whole database."""
    snapshot = proxy.snapshot
    owner = snapshot.database(request.db_name)
    if request.collection_name:
        views = [snapshot.resolve(request.db_name, request.collection_name)]
    else:
        views = [v for v in snapshot.collections.values() if v.meta.database_id == owner.id]
    return milvus_pb2.ListAliasesResponse(
        db_name=owner.name,
        collection_name=request.collection_name,
        aliases=[alias for view in views for alias in view.meta.aliases],
    )


HANDLERS: dict[str, Handler] = {
    "CreateAlias": Handler(milvus_pb2.CreateAliasRequest, common_pb2.Status, create_alias),
    "AlterAlias": Handler(milvus_pb2.AlterAliasRequest, common_pb2.Status, alter_alias),
    "DropAlias": Handler(milvus_pb2.DropAliasRequest, common_pb2.Status, drop_alias),
    "DescribeAlias": Handler(
        milvus_pb2.DescribeAliasRequest, milvus_pb2.DescribeAliasResponse, describe_alias
    ),
    "ListAliases": Handler(
        milvus_pb2.ListAliasesRequest, milvus_pb2.ListAliasesResponse, list_aliases
    ),
}
