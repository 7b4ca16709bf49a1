"""A proxy whose DDL is decided by the writer's own rules, on a snapshot in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import common_pb2

from mishards.api.health import Health
from mishards.api.milvus.servicer import MilvusServicer
from mishards.core.ids import (
    DatabaseId,
    MetadataVersion,
    NodeId,
    SegmentId,
    Timestamp,
)
from mishards.core.runtime import SystemRuntime
from mishards.metadata.models import DatabaseMeta, Record, SegmentMeta, encode
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.proxy.calls import FlushAnswer, ReplicaInfo
from mishards.rpc.messages import CompactionPlan, CompactionStatus, StatusReply
from mishards.writer.ddl import DDL_RULES

SERVICE = "/milvus.proto.milvus.MilvusService/"
NOW = 470_000_000_000_000_000


class FakeProxy:
    """Keeps what the DDL made of the metadata, and what it was asked for.

    Attributes:
        messages: every DDL message, in order.
        rows: what `row_count` gives.
        progress: what `loading_progress` gives.
    """

    def __init__(self) -> None:
        self.snapshot = MetadataSnapshot.empty()
        self.messages: list[Any] = []
        self.rows = 0
        self.progress = 100
        self.roles: tuple[str, ...] = ("writer", "reader")
        self._numbers = count(NOW)
        self.put(DatabaseMeta(id=DatabaseId(1), name="default"))

    def put(self, *records: Record, deletes: tuple[str, ...] = ()) -> None:
        version = MetadataVersion(self.snapshot.version + 1)
        puts = tuple((record.key, encode(record)) for record in records)
        self.snapshot = self.snapshot.apply(Changes(self.snapshot.version, version, puts, deletes))

    def put_segment(self, view: CollectionView, number: int, rows: int, **more: Any) -> None:
        segment = SegmentMeta(
            id=SegmentId(number),
            collection_id=view.id,
            partition_id=view.meta.partitions[0].id,
            rows=rows,
            min_ts=Timestamp(1),
            max_ts=Timestamp(2),
            size_bytes=100,
            **more,
        )
        self.put(segment)

    async def ddl(self, message: Any) -> MetadataVersion:
        self.messages.append(message)
        edit = DDL_RULES[type(message)](
            self.snapshot, message, lambda: Timestamp(next(self._numbers))
        )
        if not edit.is_empty:
            self.put(*edit.puts, deletes=edit.deletes)
        return self.snapshot.version

    async def _on_rows(self, call: Any) -> None:
        self.snapshot.resolve(call.database, call.collection)

    search = query = delete = _on_rows

    async def flush(self, database: str, collections: Sequence[str]) -> FlushAnswer:
        self.messages.append((database, tuple(collections)))
        found = {self.snapshot.resolve(database, name).id: (SegmentId(5),) for name in collections}
        return FlushAnswer(segments=found, timestamp=Timestamp(NOW))

    async def compact(
        self, view: CollectionView, *, deletes_only: bool = False, target_bytes: int = 0
    ) -> Timestamp:
        self.messages.append((view.name, deletes_only, target_bytes))
        return Timestamp(7)

    async def compaction(self, compaction_id: Timestamp) -> CompactionStatus:
        plans = (CompactionPlan(sources=(SegmentId(1), SegmentId(2)), targets=(SegmentId(3),)),)
        if compaction_id != 7:
            return CompactionStatus(executing=False)
        return CompactionStatus(executing=True, completed_plans=1, executing_plans=2, plans=plans)

    async def allocate_timestamp(self) -> Timestamp:
        return Timestamp(next(self._numbers))

    async def row_count(self, view: CollectionView, partitions: Sequence[str] = ()) -> int:
        return self.rows

    async def loading_progress(self, view: CollectionView, partitions: Sequence[str] = ()) -> int:
        return self.progress

    def replicas(self, view: CollectionView) -> list[ReplicaInfo]:
        segments = {"reader-1": tuple(view.segments)}
        return [ReplicaInfo(id=7, nodes=("reader-1",), segments=segments)]

    async def cluster_status(self) -> list[StatusReply]:
        return [
            StatusReply(node=NodeId(role), roles=(role,), version=self.snapshot.version)
            for role in self.roles
        ]


class Caller:
    """Calls the service by method name, with and without an edge's metadata."""

    def __init__(self, proxy: FakeProxy, health: Health) -> None:
        self.proxy = proxy
        self.servicer = MilvusServicer(proxy, health)  # type: ignore[arg-type]

    def __call__(self, method: str, request: Any, response: Any, database: str = "") -> Any:
        """The parsed answer; its status may be an error."""
        work = self.servicer.call(SERVICE + method, request.SerializeToString(), database)
        return response.FromString(asyncio.run(work))


@pytest.fixture
def proxy() -> FakeProxy:
    return FakeProxy()


@pytest.fixture
def health() -> Health:
    """Of a node that serves."""
    health = Health(SystemRuntime())
    health.serve()
    return health


@pytest.fixture
def call(proxy: FakeProxy, health: Health) -> Caller:
    return Caller(proxy, health)


@pytest.fixture
def books(call: Any, proxy: Any) -> Any:
    """A collection named `books`; gives its newest view when called."""
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=4)
    request = Prepare.create_collection_request("books", schema)
    assert call("CreateCollection", request, common_pb2.Status).code == 0
    return lambda: proxy.snapshot.resolve("", "books")
