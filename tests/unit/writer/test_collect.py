"""The collector on stores in memory, in virtual time; metadata and objects are made by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest

from mishards.cluster.peers import PeerStatus
from mishards.core.errors import Fenced, MetadataUnavailable, StorageError, Unavailable
from mishards.core.ids import (
    CollectionId,
    DatabaseId,
    Epoch,
    LogId,
    MetadataVersion,
    NodeId,
    PartitionId,
    SegmentId,
    Timestamp,
)
from mishards.discovery.protocol import NodeInfo
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.models import CollectionMeta, Record, SegmentMeta
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import StatusReply
from mishards.storage.layers.fault import Fault, FaultScript, FaultyStore
from mishards.storage.memory import MemoryStore
from mishards.storage.pins import pinned
from mishards.testing.clock import VirtualRuntime, run_virtual
from mishards.testing.writer_bench import Recorder, make_schema
from mishards.writer.catalog import Catalog
from mishards.writer.collect import GarbageCollector
from mishards.writer.config import WriterConfig
from mishards.writer.construction import Construction
from mishards.writer.edit import Edit

LOG = LogId(0)
GRACE_S = 10.0
C = CollectionId(1)


class LateMetadata(MemoryMetadataStore):
    """Its commits may get lost on the way and arrive later."""

    def __init__(self) -> None:
        super().__init__()
        self.loses = False
        self.late: list[tuple[Any, ...]] = []

    async def commit(self, *args: Any) -> Changes:
        if self.loses:
            self.late.append(args)
            raise MetadataUnavailable("lost on the way")
        return await super().commit(*args)


class Bench:
    """A collector, and all that it looks at."""

    def __init__(self) -> None:
        self.runtime = VirtualRuntime("collect")
        self.memory = MemoryStore()
        self.faults = FaultScript()
        self.metadata = LateMetadata()
        self.construction = Construction()
        self.fenced: list[Exception] = []
        self.readers: dict[str, int | None] = {"r1": 10**6}
        """Oldest version that each reader still reads; None: it does not answer."""
        self.reachable = True

    async def start(self) -> None:
        await self.metadata.begin_epoch(LOG, Epoch(1))
        self.catalog = Catalog(
            self.metadata,
            cast(Any, Recorder()),
            LOG,
            Epoch(1),
            MetadataSnapshot.empty(),
            lambda snapshot: None,
            self.fenced.append,
        )
        self.collector = GarbageCollector(
            self.runtime,
            WriterConfig(collect_interval_s=GRACE_S, collect_grace_s=GRACE_S),
            FaultyStore(self.memory, self.faults, self.runtime),
            self.catalog,
            self.construction,
            cast(Any, self),
            LOG,
        )
        await self.put(
            CollectionMeta(id=C, database_id=DatabaseId(1), schema=make_schema(), partitions=())
        )

    async def statuses(self) -> tuple[PeerStatus, ...]:
        if not self.reachable:
            raise Unavailable("no registry")
        return tuple(self._status(name, oldest) for name, oldest in self.readers.items())

    def _status(self, name: str, oldest: int | None) -> PeerStatus:
        node = NodeInfo(id=NodeId(name), roles=("reader",), address=f"mem://{name}")
        if oldest is None:
            return PeerStatus(node, None)
        version = MetadataVersion(oldest)
        return PeerStatus(
            node, StatusReply(node=name, roles=("reader",), version=version, oldest_version=version)
        )

    async def put(self, *records: Record, deletes: tuple[str, ...] = ()) -> None:
        await self.catalog.commit(lambda snapshot: Edit(records, deletes))

    async def upload(self, segment: int) -> SegmentMeta:
        for name in ("columns.arrow", "101.vectors", "manifest.json"):
            await self.memory.put(f"segments/{C}/{segment}/{name}", b"12345")
        return SegmentMeta(
            id=SegmentId(segment),
            collection_id=C,
            partition_id=PartitionId(1),
            rows=1,
            min_ts=Timestamp(1),
            max_ts=Timestamp(1),
            size_bytes=15,
        )

    async def look(self) -> int:
        """A collection, the grace after whatever came before."""
        await asyncio.sleep(GRACE_S)
        return await self.collector.collect()

    async def segments(self) -> set[int]:
        keys = [info.key for info in await self.memory.list("segments/")]
        return {int(key.split("/")[2]) for key in keys}


def run(case: Callable[[Bench], Awaitable[None]]) -> None:
    async def scene() -> None:
        bench = Bench()
        await bench.start()
        await case(bench)

    run_virtual(scene())


def test_orphans_are_gone_after_two_collections_and_the_rest_stays() -> None:
    async def case(bench: Bench) -> None:
        await bench.put(await bench.upload(10))
        await bench.upload(11)
        await bench.memory.put("segments/1/10/101.7.8.index", b"half")
        await bench.memory.put("segments/1/deletes/5.arrow", b"x")
        await bench.memory.put("log/0/00000000000000000001", b"x")
        await bench.memory.put("segments/77/1/columns.arrow", b"of a collection that is gone")
        assert await bench.look() == 0
        assert await bench.look() == 6
        left = [info.key for info in await bench.memory.list("")]
        assert left == [
            "log/0/00000000000000000001",
            "segments/1/10/101.vectors",
            "segments/1/10/columns.arrow",
            "segments/1/10/manifest.json",
        ]

    run(case)


def test_what_was_dropped_stays_until_every_reader_has_moved_on() -> None:
    async def case(bench: Bench) -> None:
        segment = await bench.upload(10)
        await bench.put(segment)
        bench.readers = {"slow": bench.catalog.snapshot.version, "fast": 10**6}
        await bench.put(deletes=(segment.key,))
        for _ in range(5):
            assert await bench.look() == 0
        bench.readers["slow"] = bench.catalog.snapshot.version
        assert await bench.look() == 3

    run(case)


def test_a_node_that_does_not_answer_holds_back_while_it_is_in_the_registry() -> None:
    async def case(bench: Bench) -> None:
        await bench.upload(11)
        bench.readers["stuck"] = None
        for _ in range(5):
            assert await bench.look() == 0
        del bench.readers["stuck"]
        assert await bench.look() == 3

    run(case)


def test_without_a_registry_nothing_is_removed() -> None:
    async def case(bench: Bench) -> None:
        await bench.upload(11)
        await bench.look()
        bench.reachable = False
        with pytest.raises(Unavailable):
            await bench.look()
        assert await bench.segments() == {11}
        bench.reachable = True
        assert await bench.look() == 3

    run(case)


def test_what_is_under_construction_is_left_alone_however_long_it_takes() -> None:
    async def case(bench: Bench) -> None:
        with bench.construction.holding(["segments/1/11/", "segments/1/10/101.1.2.index"]):
            segment = await bench.upload(11)
            await bench.memory.put("segments/1/10/101.1.2.index", b"x")
            await bench.upload(110)
            for _ in range(3):
                await bench.look()
            assert await bench.segments() == {11, 10}
            await bench.put(segment)
        await bench.look()
        assert await bench.look() == 1
        assert await bench.segments() == {11}

    run(case)


def test_pins_hold_back_all_removal() -> None:
    async def case(bench: Bench) -> None:
        await bench.upload(11)
        await bench.look()
        async with pinned(bench.memory, bench.runtime, "backup"):
            for _ in range(20):
                assert await bench.look() == 0
        assert await bench.look() == 3

    run(case)


def test_a_leader_that_was_fenced_removes_nothing() -> None:
    async def case(bench: Bench) -> None:
        await bench.look()
        await bench.metadata.begin_epoch(LOG, Epoch(2))
        await bench.upload(11)  # by the leader of epoch 2, which is about to name it
        await bench.look()
        with pytest.raises(Fenced):
            await bench.look()
        assert bench.fenced
        assert await bench.segments() == {11}

    run(case)


def test_a_commit_that_arrives_late_cannot_name_what_is_removed() -> None:
    async def case(bench: Bench) -> None:
        segment = await bench.upload(11)
        bench.metadata.loses = True
        with pytest.raises(MetadataUnavailable):
            await bench.put(segment)
        bench.metadata.loses = False
        assert await bench.look() == 0
        assert await bench.look() == 3
        (late,) = bench.metadata.late
        with pytest.raises(Exception, match="version"):
            await MemoryMetadataStore.commit(bench.metadata, *late)

    run(case)


def test_a_commit_that_arrives_between_two_looks_is_found() -> None:
    async def case(bench: Bench) -> None:
        segment = await bench.upload(11)
        bench.metadata.loses = True
        with pytest.raises(MetadataUnavailable):
            await bench.put(segment)
        bench.metadata.loses = False
        await bench.look()
        (late,) = bench.metadata.late
        await MemoryMetadataStore.commit(bench.metadata, *late)
        assert await bench.look() == 0
        assert await bench.segments() == {11}
        assert bench.catalog.snapshot.collections[C].segments[segment.id] == segment

    run(case)


def test_what_could_not_be_removed_goes_next_time() -> None:
    async def case(bench: Bench) -> None:
        await bench.upload(11)
        await bench.look()
        bench.faults.add(Fault(error=StorageError), operation="delete", key="*columns.arrow")
        with pytest.raises(StorageError):
            await bench.look()
        assert await bench.look() == 1
        assert await bench.segments() == set()

    run(case)


def test_the_background_work_collects_and_outlives_failures() -> None:
    async def case(bench: Bench) -> None:
        await bench.upload(11)
        bench.faults.add(Fault(error=StorageError), operation="list", times=2)
        task = asyncio.create_task(bench.collector.run())
        try:
            async with asyncio.timeout(20 * GRACE_S):
                while await bench.segments():  # noqa: ASYNC110
                    await asyncio.sleep(GRACE_S)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(case)


def test_records_survive_the_commit_that_proves_the_reign() -> None:
    async def case(bench: Bench) -> None:
        await bench.upload(11)
        await bench.look()
        before = bench.catalog.snapshot
        await bench.look()
        after = bench.catalog.snapshot
        assert after.version == before.version + 1
        assert after.collections == before.collections
        assert msgspec.structs.asdict(after.logs[LOG])["id"] == LOG

    run(case)
