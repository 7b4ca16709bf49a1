"""A reader with a hand-driven log and metadata: what a leader would send it, without one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from mishards.core.columns import arrow_schema, encode_batch
from mishards.core.ids import (
    CollectionId,
    DatabaseId,
    EntrySeq,
    Epoch,
    FieldId,
    IndexId,
    LogId,
    MetadataVersion,
    NodeId,
    PartitionId,
    SegmentId,
    Timestamp,
)
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, Metric
from mishards.index.registry import family
from mishards.log.entry import Entry, Mutation, decode_entry, encode_entry
from mishards.metadata.models import (
    CollectionMeta,
    DeleteFile,
    IndexMeta,
    PartitionMeta,
    Record,
    SegmentIndex,
    SegmentMeta,
    encode,
)
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.reader.config import ReaderConfig
from mishards.reader.reader import Reader
from mishards.rpc.messages import Fetch, Query, ReadPoint, Search
from mishards.rpc.protocol import CallContext
from mishards.segments.deletes import write_deletes
from mishards.segments.layout import deletes_key, index_file, segment_files
from mishards.segments.manifest import file_info
from mishards.segments.write import write_segment
from mishards.storage.memory import MemoryStore
from mishards.storage.protocol import ObjectStore

COLLECTION = CollectionId(7)
PARTITION = PartitionId(71)
OTHER_PARTITION = PartitionId(72)
DIM = 4


def make_schema(*, text_keys: bool = False, auto_id: bool = False, nullable: bool = False) -> Any:
    """`id`, `vector`, `color` (VARCHAR), `size` (INT64, nullable)."""
    key = DataType.VARCHAR if text_keys else DataType.INT64
    return CollectionSchema(
        name="things",
        fields=(
            FieldSchema(
                id=FieldId(100),
                name="id",
                type=key,
                primary_key=True,
                auto_id=auto_id,
                max_length=64 if text_keys else 0,
            ),
            FieldSchema(
                id=FieldId(101),
                name="vector",
                type=DataType.FLOAT_VECTOR,
                dim=DIM,
                nullable=nullable,
            ),
            FieldSchema(id=FieldId(102), name="color", type=DataType.VARCHAR, max_length=32),
            FieldSchema(id=FieldId(103), name="size", type=DataType.INT64, nullable=True),
        ),
    )


def make_rows(
    schema: CollectionSchema,
    keys: Sequence[Any],
    vectors: Any,
    colors: Sequence[str] | None = None,
    sizes: Sequence[int | None] | None = None,
) -> pa.RecordBatch:
    """A batch of the schema; the primary key is left out where ids are automatic."""
    count = len(vectors)
    target = arrow_schema(schema, with_auto_id=False)
    values = {
        "id": list(keys),
        "vector": [None if v is None else [float(x) for x in v] for v in vectors],
        "color": list(colors or ["red"] * count),
        "size": list(sizes or range(count)),
    }
    return pa.RecordBatch.from_arrays(
        [pa.array(values[field.name], field.type) for field in target], schema=target
    )


class Bench:
    """A reader and the hands that feed it. Timestamps are small integers that rise by tens."""

    def __init__(
        self,
        runtime: Runtime,
        store: ObjectStore,
        folder: Path,
        schema: CollectionSchema,
        metric: Metric = Metric.L2,
        config: ReaderConfig | None = None,
        **options: Any,
    ) -> None:
        self.runtime = runtime
        self.store = store
        self.folder = folder
        self.schema = schema
        self.metric = metric
        self.version = MetadataVersion(0)
        self.seq = EntrySeq(0)
        self.now = Timestamp(100)
        self.ids = itertools.count(1000)
        self.index: IndexMeta | None = self.index_meta("FLAT", IndexId(500))
        self.checkpoint = Timestamp(0)
        self.deletes: tuple[DeleteFile, ...] = ()
        self.segments: dict[SegmentId, SegmentMeta] = {}
        self.partitions: tuple[PartitionMeta, ...] = (
            PartitionMeta(id=PARTITION, name="_default", loaded=True),
            PartitionMeta(id=OTHER_PARTITION, name="other", loaded=True),
        )
        self.reader = Reader(
            runtime,
            config or ReaderConfig(),
            store,
            NodeId("r1"),
            scratch=folder / "scratch",
            **options,
        )

    def index_meta(self, name: str, index_id: IndexId, **params: str) -> IndexMeta:
        return IndexMeta(
            id=index_id,
            name="vector",
            field_id=FieldId(101),
            field="vector",
            requested=name,
            family=name,
            metric=self.metric,
            params=tuple(family(name).check_build(params, DIM).items()),
        )

    def meta(self) -> CollectionMeta:
        return CollectionMeta(
            id=COLLECTION,
            database_id=DatabaseId(1),
            schema=self.schema,
            partitions=self.partitions,
            indexes=() if self.index is None else (self.index,),
            deletes=self.deletes,
            checkpoint=self.checkpoint,
            loaded_whole=True,
            replica_number=1,
        )

    # --- feeding -----------------------------------------------------------------------------

    def start(self, *records: Record) -> None:
        self.reader.start(MetadataSnapshot.empty().apply(self.changes(*records, since=0)))
        self.reader.apply_tick(LogId(0), self.seq, self.now)

    def changes(
        self, *records: Record, deletes: tuple[str, ...] = (), since: int | None = None
    ) -> Changes:
        """The next version of metadata."""
        self.version = MetadataVersion(self.version + 1)
        return Changes(
            MetadataVersion(self.version - 1 if since is None else since),
            self.version,
            tuple((record.key, encode(record)) for record in records),
            deletes,
        )

    def commit(self, *records: Record, deletes: tuple[str, ...] = ()) -> None:
        self.reader.apply_changes(self.changes(*records, deletes=deletes))

    def mutation(
        self,
        rows: pa.RecordBatch | None = None,
        keys: Sequence[Any] = (),
        partition: int = PARTITION,
        auto_id_start: int | None = None,
    ) -> Mutation:
        """The next mutation, at the next timestamp."""
        self.now = Timestamp(self.now + 10)
        key_type = arrow_schema(self.schema).field("id").type
        deleted = pa.RecordBatch.from_arrays([pa.array(list(keys), key_type)], names=["id"])
        return Mutation(
            token=bytes(16),
            collection=COLLECTION,
            partition=PartitionId(partition),
            timestamp=self.now,
            rows=b"" if rows is None else encode_batch(rows),
            row_count=0 if rows is None else rows.num_rows,
            keys=encode_batch(deleted) if len(keys) else b"",
            key_count=len(keys),
            auto_id_start=auto_id_start,
        )

    def entry(self, *mutations: Mutation) -> Entry:
        """The next entry, through its bytes."""
        self.seq = EntrySeq(self.seq + 1)
        entry = Entry(
            log_id=LogId(0),
            seq=self.seq,
            epoch=Epoch(1),
            timestamp=max((m.timestamp for m in mutations), default=self.now),
            mutations=mutations,
        )
        return decode_entry(encode_entry(entry), "test")

    def write(
        self, rows: pa.RecordBatch | None = None, keys: Sequence[Any] = (), **more: Any
    ) -> int:
        """One mutation in an entry of its own; gives its timestamp."""
        self.reader.apply_entry(self.entry(self.mutation(rows, keys, **more)))
        return self.now

    # --- sealing -----------------------------------------------------------------------------

    async def segment(
        self,
        rows: pa.RecordBatch,
        timestamps: Sequence[int],
        partition: PartitionId = PARTITION,
    ) -> SegmentMeta:
        """Write a sealed segment and put it into the store."""
        segment_id = SegmentId(next(self.ids))
        folder = self.folder / "work" / str(segment_id)
        meta = write_segment(
            folder,
            self.schema,
            rows,
            np.asarray(timestamps, np.int64),
            segment_id=segment_id,
            collection_id=COLLECTION,
            partition_id=partition,
        )
        for path in segment_files(folder):
            await self.store.put(f"{meta.folder}/{path.name}", path.read_bytes())
        self.segments[meta.id] = meta
        return meta

    async def delete_file(
        self, keys: Sequence[Any], timestamps: Sequence[int], partition: int = 0
    ) -> DeleteFile:
        name = f"{next(self.ids)}.deletes"
        path = self.folder / name
        key_type = arrow_schema(self.schema).field("id").type
        info = write_deletes(path, pa.array(list(keys), key_type), np.asarray(timestamps, np.int64))
        await self.store.put(deletes_key(COLLECTION, name), path.read_bytes())
        return DeleteFile(
            name=name,
            rows=len(keys),
            min_ts=Timestamp(min(timestamps)),
            max_ts=Timestamp(max(timestamps)),
            size_bytes=info.size_bytes,
            checksum=info.checksum,
            partition_id=PartitionId(partition),
        )

    async def build(self, segment: SegmentMeta, vectors: Any, index: IndexMeta) -> SegmentMeta:
        """Build an index of a segment; the record that names it."""
        name = index_file(index.field_id, index.id, next(self.ids))
        path = self.folder / name
        family(index.family).build(
            np.asarray(vectors, np.float32), self.metric, dict(index.params), path, 1
        )
        info = file_info(path)
        await self.store.put(f"{segment.folder}/{name}", path.read_bytes())
        built = SegmentIndex(
            index_id=index.id,
            field=index.field,
            name=name,
            size_bytes=info.size_bytes,
            checksum=info.checksum,
        )
        meta = msgspec.structs.replace(segment, indexes=(built,))
        self.segments[meta.id] = meta
        return meta

    # --- asking ------------------------------------------------------------------------------

    def at(self, **more: Any) -> ReadPoint:
        """All segments and growing rows, now."""
        given: dict[str, Any] = {
            "collection": COLLECTION,
            "version": self.version,
            "checkpoint": self.checkpoint,
            "read_ts": self.now,
            "segments": tuple(self.segments),
            "growing": True,
        }
        return ReadPoint(**{**given, **more})

    def search_message(self, queries: Any, k: int = 3, **more: Any) -> Search:
        flat = np.asarray(queries, np.float32).reshape(-1, DIM)
        at = more.pop("at", None) or self.at(
            **{n: more.pop(n) for n in ReadPoint.__struct_fields__ if n in more}
        )
        return Search(at=at, field="vector", queries=flat.tobytes(), nq=len(flat), k=k, **more)

    async def call(self, message: Any, timeout_s: float = 5.0, traceparent: str = "") -> Any:
        """The answer, first at once and else by waiting, as a transport does."""
        answer = self.reader.handle_now(message, traceparent)
        if answer is not None:
            return answer
        return await self.reader.handle(
            message, CallContext(self.runtime.monotonic_s() + timeout_s, traceparent)
        )

    async def search(self, queries: Any, k: int = 3, **more: Any) -> list[list[tuple[Any, float]]]:
        """Per query its hits as (key, distance)."""
        return hits(await self.call(self.search_message(queries, k, **more)))

    async def query(self, **more: Any) -> Any:
        at = self.at(**{n: more.pop(n) for n in ReadPoint.__struct_fields__ if n in more})
        return await self.call(Query(at=at, **more))

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work)

    async def settle(self) -> None:
        """Let everything run that can run without more input from here."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until something holds."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - any state may be waited for
                await asyncio.sleep(0.001)

    async def fetch(self, units: Sequence[int], offsets: Sequence[int], *output: str) -> Any:
        return await self.call(
            Fetch(
                collection=COLLECTION,
                version=self.version,
                units=np.asarray(units, np.int64).tobytes(),
                offsets=np.asarray(offsets, np.int64).tobytes(),
                output=output,
            )
        )


def hits(partial: Any) -> list[list[tuple[Any, float]]]:
    """Per query its hits as (key, distance)."""
    counts = np.frombuffer(partial.counts, np.int32)
    keys = partial.keys
    keys = keys if isinstance(keys, list) else np.frombuffer(keys, np.int64).tolist()
    distances = np.frombuffer(partial.distances, np.float32).tolist()
    assert len(keys) == len(distances) == counts.sum()
    ends = np.cumsum(counts)
    pairs = list(zip(keys, distances, strict=True))
    return [pairs[end - count : end] for count, end in zip(counts, ends, strict=True)]


def keys_of(found: list[list[tuple[Any, float]]]) -> list[list[Any]]:
    return [[key for key, _ in query] for query in found]


def run_bench(
    folder: Path,
    test: Callable[[Bench], Awaitable[None]],
    *,
    store: Callable[[Runtime], ObjectStore] | None = None,
    started: bool = True,
    schema: CollectionSchema | None = None,
    **options: Any,
) -> None:
    """Run `test` on a bench in a loop of its own, and end the reader afterwards."""

    async def main() -> None:
        runtime = SystemRuntime(seed=1, threads=2)
        made = MemoryStore() if store is None else store(runtime)
        bench = Bench(runtime, made, folder, schema or make_schema(), **options)
        if started:
            bench.start(bench.meta())
        try:
            await test(bench)
        finally:
            await bench.reader.close()
            await runtime.close()

    asyncio.run(main())
