"""Handlers of the methods that write and read rows.

Invariants: a feature that is not served is refused by name; nothing of a refused request is
written. `HybridSearch` has no handler and is answered as unimplemented.
"""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from mishards.api.milvus.decode_reads import decode_delete, decode_query, decode_search
from mishards.api.milvus.decode_rows import decode_insert, decode_upsert
from mishards.api.milvus.encode_answers import (
    encode_delete,
    encode_insert,
    encode_query,
    encode_search,
    encode_upsert,
)
from mishards.api.milvus.handler import Handler
from mishards.api.milvus.traced import describe, explanation
from mishards.core.errors import CollectionNotFound
from mishards.observability import tracing
from mishards.proxy.calls import ProxyApi


async def insert(proxy: ProxyApi, request: Any) -> bytes:
    """Serves `Insert`."""
    view = proxy.snapshot.resolve(request.db_name, request.collection_name)
    call = decode_insert(request, view)
    describe(tracing.current(), call)
    return encode_insert(await proxy.insert(call))


async def upsert(proxy: ProxyApi, request: Any) -> bytes:
    """Serves `Upsert`."""
    view = proxy.snapshot.resolve(request.db_name, request.collection_name)
    call = decode_upsert(request, view)
    describe(tracing.current(), call)
    return encode_upsert(await proxy.upsert(call))


async def delete(proxy: ProxyApi, request: Any) -> bytes:
    """Serves `Delete`."""
    call = decode_delete(request)
    describe(tracing.current(), call)
    return encode_delete(await proxy.delete(call))


async def search(proxy: ProxyApi, request: Any) -> bytes:
    """Serves `Search`."""
    call, round_decimal = decode_search(request)
    describe(tracing.current(), call)
    answer = await proxy.search(call)
    why = explanation(tracing.current(), call, answer)
    return encode_search(answer, call.collection, round_decimal, why)


async def query(proxy: ProxyApi, request: Any) -> bytes:
    """Serves `Query`."""
    call, collection_id = decode_query(request)
    describe(tracing.current(), call)
    if collection_id:
        current = proxy.snapshot.resolve(call.database, call.collection).id
        if collection_id != current:
            raise CollectionNotFound(
                f"collection {call.collection!r} now has the id {current}; "
                f"the iterator began on {collection_id}"
            )
    return encode_query(await proxy.query(call), call.collection)


DATA_HANDLERS: dict[str, Handler] = {
    "Insert": Handler(milvus_pb2.InsertRequest, milvus_pb2.MutationResult, insert),
    "Upsert": Handler(milvus_pb2.UpsertRequest, milvus_pb2.MutationResult, upsert),
    "Delete": Handler(milvus_pb2.DeleteRequest, milvus_pb2.MutationResult, delete),
    "Search": Handler(milvus_pb2.SearchRequest, milvus_pb2.SearchResults, search),
    "Query": Handler(milvus_pb2.QueryRequest, milvus_pb2.QueryResults, query),
}
