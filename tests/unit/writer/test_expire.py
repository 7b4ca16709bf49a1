"""Which segments and files of deletes leave the metadata when rows expire."""

from __future__ import annotations

import asyncio
from typing import Any

from mishards.core.ids import CollectionId, DatabaseId, PartitionId, SegmentId, Timestamp
from mishards.core.timestamps import compose, physical_ms
from mishards.core.ttl import TTL_PROPERTY
from mishards.metadata.models import CollectionMeta, DeleteFile, SegmentMeta
from mishards.metadata.snapshot import CollectionView
from mishards.rpc.messages import AlterCollection
from mishards.testing.writer_bench import ask, bench_open, flush, insert, make_schema, until
from mishards.writer.expire import expiry_edit

C = CollectionId(1)


def segment(number: int, first: int, last: int, partition: int = 1) -> SegmentMeta:
    return SegmentMeta(
        id=SegmentId(number),
        collection_id=C,
        partition_id=PartitionId(partition),
        rows=1,
        min_ts=Timestamp(first),
        max_ts=Timestamp(last),
        size_bytes=1,
    )


def deletes(name: str, last: int, partition: int = 0) -> DeleteFile:
    return DeleteFile(
        name=name,
        rows=1,
        min_ts=Timestamp(1),
        max_ts=Timestamp(last),
        size_bytes=1,
        checksum=0,
        partition_id=PartitionId(partition),
    )


def view_of(*segments: SegmentMeta, files: tuple[DeleteFile, ...] = ()) -> CollectionView:
    meta = CollectionMeta(
        id=C, database_id=DatabaseId(1), schema=make_schema(), partitions=(), deletes=files
    )
    return CollectionView(meta, {one.id: one for one in segments})


def test_segments_go_when_their_last_row_has_expired() -> None:
    old, mixed, new = segment(1, 10, 20), segment(2, 10, 21), segment(3, 30, 40)
    edit = expiry_edit(view_of(old, mixed, new), Timestamp(20))
    assert (edit.puts, edit.deletes) == ((), (old.key,))
    assert expiry_edit(view_of(old, mixed, new), Timestamp(19)).is_empty
    assert expiry_edit(view_of(old, mixed, new), Timestamp(0)).is_empty


def test_files_of_deletes_go_with_the_rows_they_concern() -> None:
    old, new = segment(1, 10, 20), segment(2, 30, 40)
    before, after = deletes("before", 25), deletes("after", 31)
    elsewhere = deletes("elsewhere", 35, partition=2)
    edit = expiry_edit(view_of(old, new, files=(before, after, elsewhere)), Timestamp(20))
    (meta,) = edit.puts
    assert meta == view_of(files=(after,)).meta
    assert expiry_edit(view_of(new, files=(before,)), Timestamp(20)).is_empty


def test_a_leader_lets_go_of_what_has_expired() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            now_ms = bench.runtime.now_ms()
            bench.runtime.now_ms = lambda: now_ms  # type: ignore[method-assign]
            writer = await bench.writer(collect_interval_s=0.005)
            views: dict[str, Any] = {}
            for name in ("mortal", "eternal"):
                views[name] = await bench.collection(writer, make_schema(name))
                await insert(writer, views[name], [1])
                await flush(writer, views[name].id)
            alter = AlterCollection(database="", name="mortal", properties=((TTL_PROPERTY, "60"),))
            await ask(writer, alter)
            now_ms += 30_000
            await insert(writer, views["mortal"], [2])
            await flush(writer, views["mortal"].id)
            assert len((await bench.view("mortal")).segments) == 2
            now_ms += 40_000
            await insert(writer, views["eternal"], [2])
            await until(lambda: any(one.deletes for one in bench.recorders[0].changes))
            (left,) = (await bench.view("mortal")).segments.values()
            assert physical_ms(left.min_ts) == now_ms - 40_000
            assert len((await bench.view("eternal")).segments) == 1
            assert compose(now_ms) > left.max_ts

    asyncio.run(scene())
