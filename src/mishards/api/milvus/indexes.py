"""Handlers of indexes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.handler import Handler
from mishards.api.milvus.pairs import SUCCESS, pairs_of, put_pairs
from mishards.core.errors import IndexNotFound, InvalidParameter
from mishards.index.registry import family
from mishards.metadata.models import IndexMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.proxy.calls import ProxyApi
from mishards.rpc.messages import CreateIndex, DropIndex

_MEMORY_MAPPING = "mmap.enabled"
"""Accepted and without effect: every index is memory-mapped."""
_OWN = ("index_type", "metric_type")
"""Parameters that every description has, whatever the client named."""


class _Progress(msgspec.Struct, frozen=True):
    """Rows in sealed segments, and those of them that need no further build."""

    total: int
    indexed: int

    @property
    def state(self) -> int:
        finished = self.indexed >= self.total
        state: int = common_pb2.Finished if finished else common_pb2.InProgress
        return state


def _progress(snapshot: MetadataSnapshot, view: CollectionView, index: IndexMeta) -> _Progress:
    total = indexed = 0
    log = snapshot.logs.get(view.meta.log_id)
    least_rows = 0 if log is None else log.build_min_rows
    builds_file = family(index.family).builds_file
    for segment in view.segments.values():
        total += segment.rows
        if (
            not builds_file
            or segment.rows < least_rows
            or any(built.index_id == index.id for built in segment.indexes)
        ):
            indexed += segment.rows
    return _Progress(total, indexed)


def _build_params(extra: Any) -> dict[str, str]:
    """All parameters of a request in one level: those inside the JSON of `params` too.

    Raises:
        InvalidParameter: `params` is no JSON object.
    """
    found: dict[str, str] = {}
    for pair in extra:
        if pair.key != "params":
            found[pair.key] = pair.value
            continue
        try:
            inner = json.loads(pair.value or "{}")
        except (ValueError, RecursionError) as error:
            raise InvalidParameter(f"index params are no JSON: {pair.value[:80]!r}") from error
        if not isinstance(inner, dict):
            raise InvalidParameter(f"index params must be a JSON object, not {pair.value[:80]!r}")
        for key, value in inner.items():
            found[key] = value if isinstance(value, str) else json.dumps(value)
    found.pop(_MEMORY_MAPPING, None)
    return found


async def create_index(proxy: ProxyApi, request: Any) -> Any:
    """Serves `CreateIndex`."""
    message = CreateIndex(
        database=request.db_name,
        collection=request.collection_name,
        field=request.field_name,
        name=request.index_name,
        params=_build_params(request.extra_params),
        given=tuple(pair for pair in pairs_of(request.extra_params) if pair[0] not in _OWN),
    )
    await proxy.ddl(message)
    return SUCCESS


async def drop_index(proxy: ProxyApi, request: Any) -> Any:
    """Serves `DropIndex`."""
    message = DropIndex(
        database=request.db_name,
        collection=request.collection_name,
        field=request.field_name,
        name=request.index_name,
    )
    await proxy.ddl(message)
    return SUCCESS


def _chosen(view: CollectionView, name: str, field: str) -> list[IndexMeta]:
    """Indexes of that name and field, either of which may be left open.

    Raises:
        IndexNotFound: there is none.
    """
    found = [
        index
        for index in view.meta.indexes
        if (not name or index.name == name) and (not field or index.field == field)
    ]
    if not found:
        raise IndexNotFound(f"index not found[collection={view.name}][indexName={name or field}]")
    return found


def _put_description(
    answer: Any, snapshot: MetadataSnapshot, view: CollectionView, index: IndexMeta
) -> None:
    progress = _progress(snapshot, view, index)
    description = answer.index_descriptions.add(
        index_name=index.name,
        indexID=index.id,
        field_name=index.field,
        total_rows=progress.total,
        indexed_rows=progress.indexed,
        pending_index_rows=progress.total - progress.indexed,
        state=progress.state,
    )
    # What was chosen for the user may be chosen otherwise tomorrow: as in Milvus, it is not shown.
    own = zip(_OWN, (index.requested, index.metric.value), strict=True)
    put_pairs(description.params, (*index.given, *own))


async def describe_index(proxy: ProxyApi, request: Any) -> Any:
    """Serves `DescribeIndex`."""
    snapshot = proxy.snapshot
    view = snapshot.resolve(request.db_name, request.collection_name)
    answer = milvus_pb2.DescribeIndexResponse()
    for index in _chosen(view, request.index_name, request.field_name):
        _put_description(answer, snapshot, view, index)
    return answer


async def get_index_statistics(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetIndexStatistics`."""
    snapshot = proxy.snapshot
    view = snapshot.resolve(request.db_name, request.collection_name)
    answer = milvus_pb2.GetIndexStatisticsResponse()
    for index in _chosen(view, request.index_name, ""):
        _put_description(answer, snapshot, view, index)
    return answer


def _only_progress(proxy: ProxyApi, request: Any) -> _Progress:
    """Progress of the indexes that the request means, taken together."""
    snapshot = proxy.snapshot
    view = snapshot.resolve(request.db_name, request.collection_name)
    found = [
        _progress(snapshot, view, index)
        for index in _chosen(view, request.index_name, request.field_name)
    ]
    return _Progress(max(p.total for p in found), min(p.indexed for p in found))


async def get_index_state(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetIndexState`."""
    return milvus_pb2.GetIndexStateResponse(state=_only_progress(proxy, request).state)


async def get_index_build_progress(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetIndexBuildProgress`."""
    progress = _only_progress(proxy, request)
    return milvus_pb2.GetIndexBuildProgressResponse(
        indexed_rows=progress.indexed, total_rows=progress.total
    )


HANDLERS: dict[str, Handler] = {
    "CreateIndex": Handler(milvus_pb2.CreateIndexRequest, common_pb2.Status, create_index),
    "DropIndex": Handler(milvus_pb2.DropIndexRequest, common_pb2.Status, drop_index),
    "DescribeIndex": Handler(
        milvus_pb2.DescribeIndexRequest, milvus_pb2.DescribeIndexResponse, describe_index
    ),
    "GetIndexStatistics": Handler(
        milvus_pb2.GetIndexStatisticsRequest,
        milvus_pb2.GetIndexStatisticsResponse,
        get_index_statistics,
    ),
    "GetIndexState": Handler(
        milvus_pb2.GetIndexStateRequest, milvus_pb2.GetIndexStateResponse, get_index_state
    ),
    "GetIndexBuildProgress": Handler(
        milvus_pb2.GetIndexBuildProgressRequest,
        milvus_pb2.GetIndexBuildProgressResponse,
        get_index_build_progress,
    ),
}
