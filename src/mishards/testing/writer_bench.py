"""A bench for writers: stores in memory that outlive them, storage that fails as told, and what
they publish written down.

Invariant: nothing runs by the clock; ticks and watches are an hour apart unless a test sets them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mishards.core.columns import arrow_schema, encode_batch, primary_key_type
from mishards.core.errors import StorageError
from mishards.core.ids import DDL_LOG, CollectionId, FieldId, LogId, NodeId, PartitionId
from mishards.core.runtime import SystemRuntime
from mishards.core.schema import CollectionSchema, DataType, FieldSchema
from mishards.log.entry import Entry
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.models import SegmentMeta
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.rpc.messages import CreateCollection, Flush, Flushed, Message, Write, Written
from mishards.rpc.protocol import CallContext
from mishards.storage.memory import MemoryStore
from mishards.writer.build_job import BuildJob
from mishards.writer.config import WriterConfig
from mishards.writer.merging import MergeJob, SurveyJob
from mishards.writer.writer import Writer

CONTEXT = CallContext(deadline_s=float("inf"))
DIM = 4
_numbers = itertools.count(1)


class Recorder:
    """Stands for the publisher: keeps what it is given."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.changes: list[Changes] = []
        self.ticks: list[tuple[int, int]] = []
        self.closed: Exception | None = None

    def publish_entry(self, entry: Entry, raw: bytes) -> None:
        self.entries.append(entry)

    def publish_changes(self, changes: Changes) -> None:
        self.changes.append(changes)

    def publish_tick(self, seq: int, ts: int) -> None:
        self.ticks.append((seq, ts))

    def close(self, error: Exception | None = None) -> None:
        self.closed = error

    async def stream(self, follow: Any, log: Any, metadata: Any) -> AsyncIterator[Any]:
        for entry in self.entries:
            yield entry


class FailingStore(MemoryStore):
    """Fails as told; `before` and `after` it did the work."""

    def __init__(self) -> None:
        super().__init__()
        self.fail_before: Exception | None = None
        self.fail_after: Exception | None = None
        self.late: list[tuple[str, bytes]] = []
        self.hold: asyncio.Event | None = None
        self.creates = 0
        self.unreadable = False

    async def get(self, key: str) -> bytes:
        if self.unreadable:
            raise StorageError("storage does not answer")
        return await super().get(key)

    async def create(self, key: str, data: bytes) -> None:
        self.creates += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.fail_before is not None:
            self.late.append((key, bytes(data)))
            raise self.fail_before
        await super().create(key, data)
        if self.fail_after is not None:
            raise self.fail_after

    async def land_late(self) -> None:
        """What failed before turns up after all."""
        for key, data in self.late:
            await super().create(key, data)
        self.late.clear()


class NullBuilder:
    """Writes a file for each build; fails as often as told first."""

    def __init__(self, failures: int = 0) -> None:
        self.jobs: list[BuildJob] = []
        self.failures = failures

    async def build(self, job: BuildJob) -> None:
        self.jobs.append(job)
        if self.failures:
            self.failures -= 1
            raise StorageError("no builder today")
        await asyncio.to_thread(Path(job.output).write_bytes, b"index")

    async def merge(self, job: MergeJob) -> tuple[SegmentMeta, ...]:
        raise StorageError("no segments are merged here")

    async def survey(self, job: SurveyJob) -> tuple[int, ...]:
        raise StorageError("no segments are looked at here")


class Bench:
    """Stores that outlive writers, and writers upon them."""

    def __init__(self) -> None:
        self.runtime = SystemRuntime(seed=1, threads=2)
        self.store = FailingStore()
        self.metadata = MemoryMetadataStore()
        self.config = WriterConfig(tick_s=3600.0, flush_check_s=3600.0)
        self.builder = NullBuilder()
        self.peers: Any = None
        self.recorders: list[Recorder] = []
        self._writers: list[Writer] = []

    async def writer(self, name: str = "w1", log: LogId = DDL_LOG, **settings: Any) -> Writer:
        """A started writer of a log; `settings` of its config."""
        writer, _ = self.make(name, log, **settings)
        await writer.start()
        return writer

    def make(
        self, name: str = "w1", log: LogId = DDL_LOG, **settings: Any
    ) -> tuple[Writer, Recorder]:
        recorder = Recorder()
        config = WriterConfig(**{**_fields(self.config), **settings})
        writer = Writer(
            self.runtime,
            config,
            self.store,
            self.metadata,
            cast(Any, recorder),
            NodeId(name),
            log,
            builder=self.builder,
            peers=self.peers,
        )
        self.recorders.append(recorder)
        self._writers.append(writer)
        return writer, recorder

    async def snapshot(self) -> MetadataSnapshot:
        empty = MetadataSnapshot.empty()
        return empty.apply(await self.metadata.changes(empty.version))

    async def view(self, name: str = "c") -> CollectionView:
        return (await self.snapshot()).resolve("", name)

    async def collection(self, writer: Writer, schema: CollectionSchema) -> CollectionView:
        await ask(writer, CreateCollection(database="", schema=schema))
        return await self.view(schema.name)

    async def close(self) -> None:
        for writer in self._writers:
            await writer.close()
        await self.runtime.close()


def _fields(config: WriterConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__struct_fields__}


@asynccontextmanager
async def bench_open() -> AsyncIterator[Bench]:
    bench = Bench()
    try:
        yield bench
    finally:
        await bench.close()


async def ask(writer: Writer, message: Message) -> Any:
    return await writer.handle(message, CONTEXT)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def make_schema(
    name: str = "c", key: DataType = DataType.INT64, auto_id: bool = False
) -> CollectionSchema:
    return CollectionSchema(
        name=name,
        fields=(
            FieldSchema(
                id=FieldId(100),
                name="id",
                type=key,
                primary_key=True,
                auto_id=auto_id,
                max_length=32 if key is DataType.VARCHAR else 0,
            ),
            FieldSchema(id=FieldId(101), name="v", type=DataType.FLOAT_VECTOR, dim=DIM),
            FieldSchema(id=FieldId(102), name="n", type=DataType.INT64),
        ),
    )


def token() -> bytes:
    return next(_numbers).to_bytes(16, "big")


def rows_of(schema: CollectionSchema, keys: Sequence[Any], n: int = 0) -> bytes:
    """A batch with these keys; `n` fills the column of that name. Keys are left out for auto id."""
    arrow = arrow_schema(schema, with_auto_id=False)
    columns: list[Any] = []
    for field in arrow:
        if field.name == "id":
            columns.append(pa.array(keys, field.type))
        elif field.name == "v":
            flat = pa.array(np.arange(len(keys) * DIM, dtype=np.float32))
            columns.append(pa.FixedSizeListArray.from_arrays(flat, DIM))
        else:
            columns.append(pa.array([n] * len(keys), field.type))
    return encode_batch(pa.RecordBatch.from_arrays(columns, schema=arrow))


def keys_of(schema: CollectionSchema, keys: Sequence[Any]) -> bytes:
    array = pa.array(keys, primary_key_type(schema))
    return encode_batch(pa.RecordBatch.from_arrays([array], names=["id"]))


def write_of(
    view: CollectionView,
    insert: Sequence[Any] = (),
    delete: Sequence[Any] = (),
    *,
    n: int = 0,
    partition: PartitionId | None = None,
    with_token: bytes = b"",
) -> Write:
    """An insert, a delete, or both; deletes alone reach everywhere unless a partition is named."""
    home = view.meta.partitions[0].id if insert else PartitionId(0)
    return Write(
        token=with_token or token(),
        collection=view.id,
        log=view.meta.log_id,
        partition=home if partition is None else partition,
        rows=rows_of(view.schema, insert, n) if insert else b"",
        row_count=len(insert),
        keys=keys_of(view.schema, delete) if delete else b"",
        key_count=len(delete),
    )


async def insert(writer: Writer, view: CollectionView, keys: Sequence[Any], n: int = 0) -> Written:
    answer: Written = await ask(writer, write_of(view, keys, n=n))
    return answer


async def delete(writer: Writer, view: CollectionView, keys: Sequence[Any]) -> Written:
    answer: Written = await ask(writer, write_of(view, delete=keys))
    return answer


async def flush(writer: Writer, collection: CollectionId) -> Flushed:
    answer: Flushed = await ask(writer, Flush(collections=(collection,)))
    return answer


async def sealed_rows(bench: Bench, name: str = "c") -> dict[Any, int]:
    """Key to `n` of the rows that segments and files of deletes hold; each key at most once."""
    view = await bench.view(name)
    found: dict[Any, int] = {}
    deletes = await _deletes(bench, view)
    for segment in view.segments.values():
        data = await bench.store.get(f"{segment.folder}/columns.arrow")
        batch = pa.ipc.open_file(pa.py_buffer(data)).get_batch(0)
        columns = (batch.column(one).to_pylist() for one in ("id", "n", "$ts"))
        for key, n, timestamp in zip(*columns, strict=True):
            if any(
                one == key and at > timestamp and scope in (0, segment.partition_id)
                for one, at, scope in deletes
            ):
                continue
            assert key not in found, f"{key!r} is in two places"
            found[key] = n
    return found


async def _deletes(bench: Bench, view: CollectionView) -> list[tuple[Any, int, int]]:
    found: list[tuple[Any, int, int]] = []
    for file in view.meta.deletes:
        data = await bench.store.get(f"segments/{view.id}/deletes/{file.name}")
        batch = pa.ipc.open_file(pa.py_buffer(data)).get_batch(0)
        keys, times = (batch.column(place).to_pylist() for place in (0, 1))
        assert len(keys) == file.rows
        found += [(k, t, file.partition_id) for k, t in zip(keys, times, strict=True)]
    return found


def growing_rows(writer: Writer) -> int:
    return sum(writer.status().growing_rows.values())
