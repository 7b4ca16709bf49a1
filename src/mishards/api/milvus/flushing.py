"""Handlers of flushing.

Invariant: a flush is answered when all it asked for is sealed, so to ask for the state of a flush
that was answered is to be told that it is done.
"""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from mishards.api.milvus.handler import Handler
from mishards.core.errors import MissingParameter
from mishards.core.timestamps import physical_ms
from mishards.metadata.models import DEFAULT_DATABASE
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.proxy.calls import ProxyApi


async def flush(proxy: ProxyApi, request: Any) -> Any:
    """Serves `Flush`."""
    names = tuple(dict.fromkeys(request.collection_names))
    if not names:
        raise MissingParameter("collection_names is empty: name at least one collection")
    views = {name: proxy.snapshot.resolve(request.db_name, name) for name in names}
    flushed = await proxy.flush(request.db_name, names)
    answer = milvus_pb2.FlushResponse(db_name=request.db_name)
    for name, view in views.items():
        segments = flushed.segments.get(view.id, ())
        answer.coll_segIDs[name].data.extend(segments)
        answer.flush_coll_segIDs[name].data.extend(segments)
        answer.coll_seal_times[name] = physical_ms(flushed.timestamp) // 1000
        answer.coll_flush_ts[name] = flushed.timestamp
    return answer


async def get_flush_state(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetFlushState`."""
    if request.collection_name:
        proxy.snapshot.resolve(request.db_name, request.collection_name)
    return milvus_pb2.GetFlushStateResponse(flushed=True)


def _targets(snapshot: MetadataSnapshot, request: Any) -> dict[str, list[str]]:
    """Collections to flush by database: those named, or all of one database, or all there are.

    Raises:
        DatabaseNotFound, CollectionNotFound.
    """
    found: dict[str, list[str]] = {}
    for target in request.flush_targets:
        names = found.setdefault(target.db_name or request.db_name or DEFAULT_DATABASE, [])
        names.extend(target.collection_names)
    if not found:
        chosen = [request.db_name] if request.db_name else list(snapshot.databases)
        found = {name: [] for name in chosen}
    for database, names in found.items():
        owner = snapshot.database(database).id
        if not names:
            views = snapshot.collections.values()
            names.extend(view.name for view in views if view.meta.database_id == owner)
    return found


async def flush_all(proxy: ProxyApi, request: Any) -> Any:
    """Serves `FlushAll`."""
    snapshot = proxy.snapshot
    answer = milvus_pb2.FlushAllResponse()
    newest = 0
    for database, names in _targets(snapshot, request).items():
        if not names:
            continue
        flushed = await proxy.flush(database, names)
        newest = max(newest, flushed.timestamp)
        results = answer.flush_results.add(db_name=database)
        for name in names:
            segments = flushed.segments.get(snapshot.resolve(database, name).id, ())
            result = results.collection_results.add(collection_name=name)
            result.segment_ids.data.extend(segments)
            result.flush_segment_ids.data.extend(segments)
            result.seal_time = physical_ms(flushed.timestamp) // 1000
            result.flush_ts = flushed.timestamp
    answer.flush_all_ts = newest or await proxy.allocate_timestamp()
    return answer


async def get_flush_all_state(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetFlushAllState`."""
    return milvus_pb2.GetFlushAllStateResponse(flushed=True)


HANDLERS: dict[str, Handler] = {
    "Flush": Handler(milvus_pb2.FlushRequest, milvus_pb2.FlushResponse, flush),
    "GetFlushState": Handler(
        milvus_pb2.GetFlushStateRequest, milvus_pb2.GetFlushStateResponse, get_flush_state
    ),
    "FlushAll": Handler(milvus_pb2.FlushAllRequest, milvus_pb2.FlushAllResponse, flush_all),
    "GetFlushAllState": Handler(
        milvus_pb2.GetFlushAllStateRequest, milvus_pb2.GetFlushAllStateResponse, get_flush_all_state
    ),
}
