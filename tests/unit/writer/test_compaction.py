"""Compaction: the same rows in fewer segments, whatever is written or dropped meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from mishards.core.errors import CollectionNotFound, StorageError
from mishards.core.ids import Timestamp
from mishards.core.schema import DataType
from mishards.core.timestamps import compose
from mishards.metadata.models import SegmentMeta
from mishards.metadata.snapshot import CollectionView
from mishards.rpc.messages import (
    AlterCollection,
    Compact,
    CompactionStatus,
    CreateIndex,
    CreatePartition,
    DropCollection,
    GetCompaction,
    TruncateCollection,
)
from mishards.testing.writer_bench import (
    Bench,
    ask,
    bench_open,
    delete,
    flush,
    insert,
    make_schema,
    sealed_rows,
    until,
    write_of,
)
from mishards.writer.build_job import InlineBuilder
from mishards.writer.merging import MergeJob
from mishards.writer.writer import Writer

QUIET: dict[str, Any] = {"compaction_share": 0.0}
BUSY: dict[str, Any] = {"compaction_share": 1.0, "compaction_check_s": 0.001}


class HeldBuilder(InlineBuilder):
    """Merges, and then waits until it is let go; or fails."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.runtime)
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.jobs: list[MergeJob] = []
        self.failures = 0

    async def merge(self, job: MergeJob) -> tuple[SegmentMeta, ...]:
        self.jobs.append(job)
        if self.failures:
            self.failures -= 1
            raise StorageError("no merge today")
        merged = await super().merge(job)
        await self.let_go.wait()
        return merged


async def _opened(
    bench: Bench, key: DataType = DataType.INT64, **settings: Any
) -> tuple[Writer, CollectionView, HeldBuilder]:
    builder = HeldBuilder(bench)
    bench.builder = builder  # type: ignore[assignment]
    writer = await bench.writer(**settings)
    return writer, await bench.collection(writer, make_schema(key=key)), builder


async def _until(bench: Bench, condition: Callable[[CollectionView], bool]) -> None:
    while not condition(await bench.view()):  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def _compacted(writer: Writer, view: CollectionView, **asked: Any) -> CompactionStatus:
    """Compact, and wait until that has come to its end."""
    started = await ask(writer, Compact(collection=view.id, **asked))
    while (status := await ask(writer, GetCompaction(id=started.id))).executing:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert isinstance(status, CompactionStatus)
    return status


@pytest.mark.parametrize("key", [DataType.INT64, DataType.VARCHAR])
@pytest.mark.parametrize("settings", [QUIET, BUSY], ids=["asked for", "by itself"])
def test_any_history_ends_as_a_dictionary_does(key: DataType, settings: dict[str, Any]) -> None:
    async def scene() -> None:
        chance = random.Random(11)
        async with bench_open() as bench:
            writer, view, _ = await _opened(bench, key, segment_max_rows=40, **settings)
            model: dict[Any, int] = {}
            for step in range(1, 120):
                some = chance.sample(range(60), chance.randint(1, 8))
                keys: list[Any] = [f"k{k}" for k in some] if key is DataType.VARCHAR else some
                if chance.random() < 0.6:
                    await ask(writer, write_of(view, keys, keys, n=step))
                    model.update(dict.fromkeys(keys, step))
                else:
                    await delete(writer, view, keys)
                    for one in keys:
                        model.pop(one, None)
                if step % 5 == 0:
                    await flush(writer, view.id)
                    if settings is QUIET:
                        assert await sealed_rows(bench) == model
                if step % 15 == 0:
                    await _compacted(writer, view)
                    assert await sealed_rows(bench) == model
            await flush(writer, view.id)
            await _compacted(writer, view)
            assert await sealed_rows(bench) == model
            after = await bench.view()
            assert sum(one.rows for one in after.segments.values()) == len(model)
            assert not after.meta.deletes
            assert len(after.segments) <= 2 * len(model) // 40 + 1

    asyncio.run(scene())


def test_small_segments_are_merged_by_itself() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, _ = await _opened(bench, **BUSY)
            for number in range(4):
                await insert(writer, view, [number])
                await flush(writer, view.id)
            await _until(bench, lambda view: len(view.segments) == 1)
            assert set(await sealed_rows(bench)) == {0, 1, 2, 3}

    asyncio.run(scene())


def test_rows_keep_their_timestamps_and_equal_keys_stay() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, _ = await _opened(bench, **QUIET)
            first = await insert(writer, view, [1])
            await flush(writer, view.id)
            second = await insert(writer, view, [1])
            await flush(writer, view.id)
            await _compacted(writer, view)
            [segment] = (await bench.view()).segments.values()
            assert (segment.rows, segment.min_ts) == (2, first.timestamp)
            assert segment.max_ts == second.timestamp

    asyncio.run(scene())


def test_deletes_that_come_during_a_merge_hold() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, builder = await _opened(bench, **QUIET)
            for keys in ([1, 2, 3], [4, 5, 6]):
                await insert(writer, view, keys)
                await flush(writer, view.id)
            await delete(writer, view, [1])
            await flush(writer, view.id)
            builder.let_go.clear()
            task = asyncio.create_task(_compacted(writer, view))
            await until(lambda: bool(builder.jobs))
            await delete(writer, view, [2])
            await ask(writer, write_of(view, [5], [5], n=9))
            await flush(writer, view.id)
            builder.let_go.set()
            status = await task
            assert (status.completed_plans, status.failed_plans) == (1, 0)
            after = await bench.view()
            assert set(status.plans[0].targets) < set(after.segments)
            assert not set(status.plans[0].sources) & set(after.segments)
            assert await sealed_rows(bench) == {3: 0, 4: 0, 5: 9, 6: 0}
            [file] = after.meta.deletes
            assert file.rows == 2, "the folded delete is still kept"

    asyncio.run(scene())


def test_what_is_being_read_is_not_collected_meanwhile() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, builder = await _opened(bench, **QUIET)
            for key in (1, 2):
                await insert(writer, view, [key])
                await flush(writer, view.id)
            await delete(writer, view, [1])
            await flush(writer, view.id)
            before = await bench.view()
            builder.let_go.clear()
            task = asyncio.create_task(_compacted(writer, view))
            await until(lambda: bool(builder.jobs))
            leading = writer._leading
            assert leading is not None
            [file] = before.meta.deletes
            folders = [segment.folder for segment in before.segments.values()]
            keys = [f"{folder}/manifest.json" for folder in folders]
            keys.append(f"segments/{view.id}/deletes/{file.name}")
            assert all(leading.construction.covers(key) for key in keys)
            builder.let_go.set()
            await task
            assert not any(leading.construction.covers(key) for key in keys)

    asyncio.run(scene())


@pytest.mark.parametrize("how", ["dropped", "truncated"])
def test_a_collection_that_goes_during_a_merge_stays_gone(how: str) -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, builder = await _opened(bench, **QUIET)
            for key in (1, 2):
                await insert(writer, view, [key])
                await flush(writer, view.id)
            builder.let_go.clear()
            task = asyncio.create_task(_compacted(writer, view))
            await until(lambda: bool(builder.jobs))
            gone = DropCollection if how == "dropped" else TruncateCollection
            await ask(writer, gone(database="", name="c"))
            builder.let_go.set()
            status = await task
            assert (status.completed_plans, status.failed_plans) == (0, 1)
            snapshot = await bench.snapshot()
            assert not any(one.segments for one in snapshot.collections.values())

    asyncio.run(scene())


def test_expired_rows_are_left_out() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, _ = await _opened(bench, **QUIET)
            await insert(writer, view, [1])
            await flush(writer, view.id)
            await ask(
                writer,
                AlterCollection(
                    database="", name="c", properties=(("collection.ttl.seconds", "100"),)
                ),
            )
            leading = writer._leading
            assert leading is not None
            leading.allocator.pass_by(Timestamp(leading.newest + compose(101_000)))
            await insert(writer, view, [2])
            await flush(writer, view.id)
            await _compacted(writer, view)
            assert set(await sealed_rows(bench)) == {2}

    asyncio.run(scene())


def test_partitions_stay_apart() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, _ = await _opened(bench, **QUIET)
            await ask(writer, CreatePartition(database="", collection="c", partition="p"))
            view = await bench.view()
            for partition in view.meta.partitions:
                for key in (1, 2):
                    await ask(writer, write_of(view, [key], partition=partition.id))
                    await flush(writer, view.id)
            status = await _compacted(writer, view)
            assert status.completed_plans == 2
            after = await bench.view()
            found = sorted(one.partition_id for one in after.segments.values())
            assert found == sorted(one.id for one in view.meta.partitions)

    asyncio.run(scene())


def test_a_segment_whose_rows_are_all_deleted_goes_without_a_successor() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, _ = await _opened(bench, **BUSY)
            await insert(writer, view, [1, 2])
            await flush(writer, view.id)
            await delete(writer, view, [1, 2])
            await flush(writer, view.id)
            await _until(bench, lambda view: not view.segments)
            assert not (await bench.view()).meta.deletes

    asyncio.run(scene())


def test_deletes_that_hit_nothing_are_let_go_without_writing() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, builder = await _opened(bench, delete_files_max=4, **BUSY)
            await insert(writer, view, list(range(0, 100, 2)))
            await flush(writer, view.id)
            for key in (1, 3, 5, 7):
                await delete(writer, view, [key])
                await flush(writer, view.id)
            await _until(bench, lambda view: len(view.meta.deletes) <= 1)
            assert not builder.jobs

    asyncio.run(scene())


def test_indexes_are_built_before_the_swap() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, _ = await _opened(bench, build_min_rows=3, **QUIET)
            index = {"index_type": "IVF_FLAT", "metric_type": "L2", "nlist": "1"}
            await ask(
                writer, CreateIndex(database="", collection="c", field="v", name="", params=index)
            )
            for keys in ([1, 2], [3, 4]):
                await insert(writer, view, keys)
                await flush(writer, view.id)
            seen: list[CollectionView] = []
            leading = writer._leading
            assert leading is not None
            apply = leading.catalog._take

            def take(changes: Any) -> None:
                apply(changes)
                seen.append(leading.catalog.snapshot.collections[view.id])

            leading.catalog._take = take  # type: ignore[method-assign]
            await _compacted(writer, view)
            swapped = next(one for one in seen if len(one.segments) == 1)
            [segment] = swapped.segments.values()
            assert [built.field for built in segment.indexes] == ["v"]
            assert await bench.store.get(f"{segment.folder}/{segment.indexes[0].name}")

    asyncio.run(scene())


def test_a_failed_merge_is_tried_again_and_loses_nothing() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, builder = await _opened(bench, build_retry_s=0.001, **BUSY)
            builder.failures = 2
            for number in range(4):
                await insert(writer, view, [number])
                await flush(writer, view.id)
            await _until(bench, lambda view: len(view.segments) == 1)
            assert len(builder.jobs) == 3
            assert set(await sealed_rows(bench)) == {0, 1, 2, 3}

    asyncio.run(scene())


def test_a_damaged_input_is_named_and_stays() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, _ = await _opened(bench, **QUIET)
            for key in (1, 2):
                await insert(writer, view, [key])
                await flush(writer, view.id)
            before = await bench.view()
            segment = next(iter(before.segments.values()))
            key_of = f"{segment.folder}/101.vectors"
            data = bytearray(await bench.store.get(key_of))
            data[0] ^= 1
            await bench.store.put(key_of, bytes(data))
            status = await _compacted(writer, view)
            assert status.failed_plans == 1
            assert (await bench.view()).segments.keys() == before.segments.keys()

    asyncio.run(scene())


def test_what_is_known_of_requests() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, _ = await _opened(bench, **QUIET)
            unknown = await ask(writer, GetCompaction(id=12345))
            assert unknown == CompactionStatus(executing=False)
            status = await _compacted(writer, view)
            assert (status.executing, status.plans) == (False, ())
            with pytest.raises(CollectionNotFound):
                await ask(writer, Compact(collection=view.id + 1))

    asyncio.run(scene())


def test_only_a_share_of_the_time_is_spent() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, builder = await _opened(
                bench, compaction_share=0.25, compaction_check_s=0.001, segment_max_rows=8
            )
            clock = Clock()
            builder_merge = builder.merge

            async def slow(job: MergeJob) -> tuple[SegmentMeta, ...]:
                clock.now_s += 1.0
                clock.worked_s += 1.0
                return await builder_merge(job)

            builder.merge = slow  # type: ignore[method-assign]
            leading = writer._leading
            assert leading is not None
            leading.compactor._runtime = clock.over(bench)
            for number in range(16):
                await insert(writer, view, [number])
                await flush(writer, view.id)
            await until(lambda: clock.worked_s >= 3)
            # The pause after the last merge may still be to come.
            assert clock.worked_s - 1 <= 0.25 * clock.now_s

    asyncio.run(scene())


class Clock:
    """A runtime whose time moves by pauses, and by hand."""

    def __init__(self) -> None:
        self.now_s = self.worked_s = 0.0

    def over(self, bench: Bench) -> Any:
        clock, runtime = self, bench.runtime

        class Moved:
            def monotonic_s(self) -> float:
                return clock.now_s

            async def timeout(self, work: Any, seconds: float) -> Any:
                clock.now_s += seconds
                work.close()
                await asyncio.sleep(0)
                raise TimeoutError

            def __getattr__(self, name: str) -> Any:
                return getattr(runtime, name)

        return Moved()
