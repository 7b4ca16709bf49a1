"""Flush: each acknowledged row in exactly one place, deletes and upserts kept, over restarts."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from mishards.core import errors
from mishards.core.ids import CollectionId, EntrySeq
from mishards.core.schema import DataType
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.snapshot import CollectionView
from mishards.rpc.messages import (
    CreatePartition,
    DropCollection,
    DropPartition,
    TruncateCollection,
)
from mishards.testing.writer_bench import (
    Bench,
    ask,
    bench_open,
    delete,
    flush,
    growing_rows,
    insert,
    make_schema,
    sealed_rows,
    until,
    write_of,
)
from mishards.writer.writer import Writer


async def _with_collection(
    bench: Bench, key: DataType = DataType.INT64, **settings: Any
) -> tuple[Writer, CollectionView]:
    writer = await bench.writer(**settings)
    return writer, await bench.collection(writer, make_schema(key=key))


@pytest.mark.parametrize("key", [DataType.INT64, DataType.VARCHAR])
@pytest.mark.parametrize("restart", [False, True], ids=["one life", "restarts"])
def test_any_history_ends_as_a_dictionary_does(key: DataType, restart: bool) -> None:
    async def scene() -> None:
        chance = random.Random(7)
        async with bench_open() as bench:
            writer, view = await _with_collection(bench, key, delete_files_max=3)
            model: dict[Any, int] = {}
            for step in range(1, 80):
                some = chance.sample(range(40), chance.randint(1, 6))
                keys: list[Any] = [f"k{k}" for k in some] if key is DataType.VARCHAR else some
                if chance.random() < 0.6:
                    await ask(writer, write_of(view, keys, keys, n=step))
                    model.update(dict.fromkeys(keys, step))
                else:
                    await delete(writer, view, keys)
                    for one in keys:
                        model.pop(one, None)
                if step % 9 == 0:
                    await flush(writer, view.id)
                    assert await sealed_rows(bench) == model
                    assert len((await bench.view()).meta.deletes) <= 3
                if restart and step % 7 == 0:
                    await writer.close()
                    writer = await bench.writer(f"w{step}", delete_files_max=3)
            await flush(writer, view.id)
            assert await sealed_rows(bench) == model

    asyncio.run(scene())


def test_a_flush_answers_with_its_segments_and_empties_growing() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            answer = await insert(writer, view, [1, 2])
            flushed = await flush(writer, view.id)
            after = await bench.view()
            assert flushed.segments == {view.id: tuple(after.segments)}
            assert flushed.version == (await bench.snapshot()).version
            assert after.meta.checkpoint == answer.timestamp
            assert growing_rows(writer) == 0
            again = await flush(writer, view.id)
            assert again.segments == {view.id: ()}
            assert again.version == flushed.version

    asyncio.run(scene())


def test_a_delete_in_the_same_flush_leaves_no_trace() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            await insert(writer, view, [1])
            await delete(writer, view, [1])
            await flush(writer, view.id)
            after = await bench.view()
            assert not after.segments
            assert not after.meta.deletes
            assert after.meta.checkpoint > view.meta.checkpoint

    asyncio.run(scene())


def test_deletes_that_concern_no_older_segment_are_not_kept() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            await insert(writer, view, [10, 20])
            await flush(writer, view.id)
            await delete(writer, view, [5, 15, 25])
            await flush(writer, view.id)
            assert [file.rows for file in (await bench.view()).meta.deletes] == [1]

    asyncio.run(scene())


def test_deletes_confined_to_a_partition_spare_the_others() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            await ask(writer, CreatePartition(database="", collection="c", partition="p"))
            view = await bench.view()
            home, other = (one.id for one in view.meta.partitions)
            await ask(writer, write_of(view, [1, 2], n=1, partition=home))
            await ask(writer, write_of(view, [2, 3], n=2, partition=other))
            await ask(writer, write_of(view, delete=[2], partition=other))
            await flush(writer, view.id)
            assert await sealed_rows(bench) == {1: 1, 2: 1, 3: 2}
            await ask(writer, write_of(view, delete=[1, 2, 3], partition=other))
            await flush(writer, view.id)
            assert await sealed_rows(bench) == {1: 1, 2: 1}
            await ask(writer, DropPartition(database="", collection="c", partition="p"))
            assert (await bench.view()).meta.deletes == ()

    asyncio.run(scene())


@pytest.mark.parametrize("sealed", [False, True])
def test_an_upsert_replaces_its_keys_in_every_partition(sealed: bool) -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            await ask(writer, CreatePartition(database="", collection="c", partition="p"))
            view = await bench.view()
            other = view.meta.partitions[1].id
            await insert(writer, view, [1, 2], n=1)
            if sealed:
                await flush(writer, view.id)
            await ask(writer, write_of(view, [2, 3], [2, 3], n=2, partition=other))
            await flush(writer, view.id)
            assert await sealed_rows(bench) == {1: 1, 2: 2, 3: 2}

    asyncio.run(scene())


def test_many_scopes_of_deletes_are_merged_each() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench, delete_files_max=2)
            for name in ("p", "q"):
                await ask(writer, CreatePartition(database="", collection="c", partition=name))
            view = await bench.view()
            homes = [one.id for one in view.meta.partitions]
            model = {}
            for place, home in enumerate(homes):
                keys = range(place * 100, place * 100 + 20)
                await ask(writer, write_of(view, keys, partition=home))
                model |= dict.fromkeys(keys, 0)
            await flush(writer, view.id)
            for round_ in range(10):
                for place, home in enumerate(homes):
                    key = place * 100 + round_
                    await ask(writer, write_of(view, delete=[key], partition=home))
                    del model[key]
                await flush(writer, view.id)
                assert await sealed_rows(bench) == model
            files = (await bench.view()).meta.deletes
            assert {one.partition_id for one in files} == set(homes)
            assert len(files) <= 6

    asyncio.run(scene())


def test_rows_of_a_dropped_partition_are_not_sealed() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            await ask(writer, CreatePartition(database="", collection="c", partition="p"))
            view = await bench.view()
            other = view.meta.partitions[1].id
            await ask(writer, write_of(view, [1], partition=other))
            await insert(writer, view, [2])
            await ask(writer, DropPartition(database="", collection="c", partition="p"))
            await flush(writer, view.id)
            assert await sealed_rows(bench) == {2: 0}
            with pytest.raises(errors.PartitionNotFound):
                await ask(writer, write_of(view, [3], partition=other))

    asyncio.run(scene())


def test_segments_keep_to_their_size() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench, segment_max_rows=10)
            await insert(writer, view, list(range(25)))
            await flush(writer, view.id)
            segments = (await bench.view()).segments.values()
            assert sorted(one.rows for one in segments) == [8, 8, 9]
            assert len(await sealed_rows(bench)) == 25

    asyncio.run(scene())


@pytest.mark.parametrize(
    "limit",
    [
        {"flush_rows": 3},
        {"flush_bytes": 100},
        {"flush_mutations": 1},
        {"flush_age_s": 0.0, "flush_check_s": 0.001},
    ],
)
def test_a_collection_is_flushed_unasked(limit: dict[str, Any]) -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench, **limit)
            await insert(writer, view, [1, 2, 3])
            await asyncio.wait_for(until(lambda: growing_rows(writer) == 0), 10)
            assert len(await sealed_rows(bench)) == 3

    asyncio.run(scene())


def test_a_truncate_drops_what_was_and_keeps_what_comes() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            await insert(writer, view, [1])
            await flush(writer, view.id)
            await insert(writer, view, [2])
            await ask(writer, TruncateCollection(database="", name="c"))
            assert growing_rows(writer) == 0
            await insert(writer, view, [3])
            await writer.close()
            writer = await bench.writer("w2")
            assert growing_rows(writer) == 1
            await flush(writer, view.id)
            assert await sealed_rows(bench) == {3: 0}

    asyncio.run(scene())


class PausingMetadata(MemoryMetadataStore):
    """Waits before it commits where told to; fails where told to."""

    def __init__(self) -> None:
        super().__init__()
        self.before: asyncio.Event | None = None
        self.fail: str = ""
        self.commits = 0

    async def commit(self, *args: Any, **settings: Any) -> Any:
        self.commits += 1
        if self.before is not None:
            await self.before.wait()
        if self.fail == "before":
            raise errors.MetadataUnavailable("no")
        changes = await super().commit(*args, **settings)
        if self.fail == "after":
            raise errors.MetadataUnavailable("no")
        return changes


def test_rows_written_during_a_truncate_stay() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.metadata = metadata = PausingMetadata()
            writer, view = await _with_collection(bench)
            await insert(writer, view, [1])
            metadata.before = asyncio.Event()
            commits = metadata.commits
            call = asyncio.create_task(ask(writer, TruncateCollection(database="", name="c")))
            await until(lambda: metadata.commits > commits)
            await insert(writer, view, [2])
            metadata.before.set()
            await call
            await flush(writer, view.id)
            assert await sealed_rows(bench) == {2: 0}

    asyncio.run(scene())


def test_a_truncate_during_a_flush_wins() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.metadata = metadata = PausingMetadata()
            writer, view = await _with_collection(bench)
            await insert(writer, view, [1])
            metadata.before = asyncio.Event()
            commits = metadata.commits
            truncate = asyncio.create_task(ask(writer, TruncateCollection(database="", name="c")))
            await until(lambda: metadata.commits > commits)
            sealing = asyncio.create_task(flush(writer, view.id))
            await until(lambda: any("columns" in key for key in bench.store._objects))
            metadata.before.set()
            await truncate
            assert (await sealing).segments == {view.id: ()}
            assert await sealed_rows(bench) == {}

    asyncio.run(scene())


@pytest.mark.parametrize("fail", ["before", "after"])
def test_a_flush_whose_commit_fails_can_be_repeated(fail: str) -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.metadata = metadata = PausingMetadata()
            writer, view = await _with_collection(bench)
            await insert(writer, view, [1, 2])
            metadata.fail = fail
            with pytest.raises(errors.MetadataUnavailable):
                await flush(writer, view.id)
            metadata.fail = ""
            await insert(writer, view, [3])
            await flush(writer, view.id)
            assert set(await sealed_rows(bench)) == {1, 2, 3}
            assert growing_rows(writer) == 0
            assert writer.leads

    asyncio.run(scene())


@pytest.mark.parametrize("fail", ["before", "after"])
def test_a_ddl_whose_outcome_is_unknown_is_looked_up(fail: str) -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.metadata = metadata = PausingMetadata()
            writer, _ = await _with_collection(bench)
            metadata.fail = fail
            create = CreatePartition(database="", collection="c", partition="p")
            with pytest.raises(errors.MetadataUnavailable):
                await ask(writer, create)
            metadata.fail = ""
            done = await ask(writer, create)
            assert done.version == (await bench.snapshot()).version
            assert len((await bench.view()).meta.partitions) == 2
            published = [one.version for one in bench.recorders[0].changes]
            assert published == sorted(set(published))
            assert published[-1] == done.version

    asyncio.run(scene())


def test_a_start_reads_no_more_of_the_log_than_it_needs() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench, replay_tail_bytes=0)
            other = await bench.collection(writer, make_schema("d"))
            for number in range(5):
                await insert(writer, view, [number])
            kept = await insert(writer, other, [1])
            last = await insert(writer, view, [9])
            await flush(writer, view.id)
            assert (await bench.snapshot()).logs[0].replay_from == kept.seq
            await flush(writer, other.id)
            # The last entry is always read: its ceiling binds the next leader.
            assert (await bench.snapshot()).logs[0].replay_from == last.seq
            for seq in range(1, last.seq):
                await bench.store.delete(f"log/0/{EntrySeq(seq):020d}")
            await writer.close()
            writer = await bench.writer("w2")
            assert (await insert(writer, view, [10])).seq == last.seq + 2

    asyncio.run(scene())


def test_flushing_what_is_not_there() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            with pytest.raises(errors.CollectionNotFound):
                await flush(writer, CollectionId(1))
            await insert(writer, view, [1])
            await ask(writer, DropCollection(database="", name="c"))
            assert growing_rows(writer) == 0
            with pytest.raises(errors.CollectionNotFound):
                await flush(writer, view.id)

    asyncio.run(scene())
