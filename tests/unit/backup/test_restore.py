"""Restoring into a data set in memory: ids, timestamps, all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mishards.backup.plan import parse_renames
from mishards.core import errors
from mishards.core.ids import PartitionId
from mishards.core.schema import DataType
from mishards.metadata.snapshot import CollectionView
from mishards.rpc.messages import (
    CreateCollection,
    CreatePartition,
    DropPartition,
    NewestTimestamp,
)
from mishards.segments.manifest import decode_manifest
from mishards.storage.layers.fault import Fault
from mishards.testing.backup_bench import BackupBench
from mishards.testing.writer_bench import (
    Bench,
    ask,
    bench_open,
    delete,
    flush,
    insert,
    make_schema,
    sealed_rows,
    write_of,
)
from mishards.writer.writer import Writer

Scene = Callable[[Bench, Writer, BackupBench, Bench], Awaitable[None]]


def play(scene: Scene, scratch: Path, behind_ms: int = 0) -> None:
    """A writer with a place for its backups, and another data set, whose clock may be behind."""

    async def run() -> None:
        async with bench_open() as bench, bench_open() as other:
            clock = other.runtime.now_ms
            other.runtime.now_ms = lambda: clock() - behind_ms  # type: ignore[method-assign]
            await scene(bench, await bench.writer(), BackupBench(bench, scratch), other)

    asyncio.run(run())


async def _filled(bench: Bench, writer: Writer) -> CollectionView:
    """Rows 1, 3…6 (of 5 the newest) in a segment, with deletes, and growing."""
    view = await bench.collection(writer, make_schema())
    await insert(writer, view, [1, 2, 3])
    await flush(writer, view.id)
    await delete(writer, view, [2])
    await flush(writer, view.id)
    await insert(writer, view, [4, 5, 7])
    await ask(writer, write_of(view, [5], delete=[5], n=9))
    await delete(writer, view, [7])
    await insert(writer, view, [6])
    return view


EXPECTED = {1: 0, 3: 0, 4: 0, 5: 9, 6: 0}


def test_restored_rows_are_those_of_the_backup(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, place: BackupBench, other: Bench) -> None:
        view = await _filled(bench, writer)
        await place.backup("b")
        await place.restore("b", other, await other.writer())
        assert await sealed_rows(other) == EXPECTED
        await place.restore("b", bench, writer, renames=parse_renames(["c=twin"]))
        assert await sealed_rows(bench, "twin") == EXPECTED
        twin = await bench.view("twin")
        assert twin.id != view.id
        assert not set(twin.segments) & set((await bench.view()).segments)

    play(scene, tmp_path)


def test_manifests_name_the_new_ids(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, place: BackupBench, other: Bench) -> None:
        await _filled(bench, writer)
        await place.backup("b")
        await place.restore("b", other, await other.writer())
        view = await other.view()
        for segment in view.segments.values():
            name = f"{segment.folder}/manifest.json"
            manifest = decode_manifest(await other.store.get(name), name)
            found = (manifest.collection_id, manifest.partition_id, manifest.segment_id)
            assert found == (view.id, view.meta.partitions[0].id, segment.id)

    play(scene, tmp_path)


@pytest.mark.parametrize("behind_ms", [0, 3600_000])
def test_what_is_given_later_is_after_all_that_was_restored(tmp_path: Path, behind_ms: int) -> None:
    async def scene(bench: Bench, writer: Writer, place: BackupBench, other: Bench) -> None:
        await _filled(bench, writer)
        report = await place.backup("b")
        target = await other.writer()
        await place.restore("b", other, target)
        newest = (await ask(target, NewestTimestamp())).timestamp
        assert newest >= report.timestamp, "a Strong read would not see all of it"
        view = await other.view()
        assert view.meta.checkpoint >= report.timestamp
        answer = await ask(target, write_of(view, [6], delete=[6], n=4))
        assert answer.timestamp > view.meta.checkpoint
        await flush(target, view.id)
        assert await sealed_rows(other) == {**EXPECTED, 6: 4}
        successor = await other.writer("w2")
        assert (await insert(successor, view, [8])).timestamp > answer.timestamp

    play(scene, tmp_path, behind_ms)


def test_partitions_come_along_and_dropped_ones_do_not(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, place: BackupBench, other: Bench) -> None:
        view = await bench.collection(writer, make_schema(key=DataType.VARCHAR))
        for name in ("p", "q"):
            await ask(writer, CreatePartition(database="", collection="c", partition=name))
        view = await bench.view()
        ids = {one.name: one.id for one in view.meta.partitions}
        for name, partition in ids.items():
            await ask(writer, write_of(view, [f"{name}1"], partition=partition))
        await flush(writer, view.id)
        for name, partition in ids.items():
            await ask(writer, write_of(view, [f"{name}2"], partition=partition))
            await ask(writer, write_of(view, delete=[f"{name}1"], partition=partition))
        await ask(writer, DropPartition(database="", collection="c", partition="q"))
        await place.backup("b")
        await place.restore("b", other, await other.writer())
        restored = await other.view()
        assert {one.name for one in restored.meta.partitions} == {"_default", "p"}
        assert await sealed_rows(other) == {"_default2": 0, "p2": 0}
        placed = {one.id: one.name for one in restored.meta.partitions}
        assert {placed[s.partition_id] for s in restored.segments.values()} == set(placed.values())
        assert {placed[PartitionId(f.partition_id)] for f in restored.meta.deletes} == {
            "_default",
            "p",
        }

    play(scene, tmp_path)


def test_automatic_keys_go_on_after_the_restored_ones(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, place: BackupBench, other: Bench) -> None:
        view = await bench.collection(writer, make_schema(auto_id=True))
        await insert(writer, view, range(5))
        await flush(writer, view.id)
        await insert(writer, view, range(5))
        await place.backup("b")
        target = await other.writer()
        await place.restore("b", other, target)
        assert len(await sealed_rows(other)) == 10
        restored = await other.view()
        await insert(target, restored, range(5))
        await flush(target, restored.id)
        assert len(await sealed_rows(other)) == 15

    play(scene, tmp_path, behind_ms=3600_000)


def test_a_restore_that_fails_shows_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, place: BackupBench, other: Bench) -> None:
        await _filled(bench, writer)
        await place.backup("b")
        target = await other.writer()
        failures = 0
        for number in range(1, 30):
            for _ in range(number):
                place.faults.add(Fault(), operation="get")
            place.faults.add(Fault(error=errors.StorageError), operation="get")
            try:
                await place.restore("b", other, target)
            except errors.StorageError:
                failures += 1
                assert not (await other.snapshot()).collections
            else:
                break
        assert failures > 3
        assert await sealed_rows(other) == EXPECTED

    play(scene, tmp_path)


def test_a_name_taken_meanwhile_is_refused_at_the_commit(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, place: BackupBench, other: Bench) -> None:
        await _filled(bench, writer)
        await place.backup("b")
        target = await other.writer()
        put, taken = other.store.put, False

        async def meddle(key: str, data: bytes) -> None:
            nonlocal taken
            if key.startswith("segments/") and not taken:
                taken = True
                await ask(target, CreateCollection(database="", schema=make_schema()))
            await put(key, data)

        other.store.put = meddle  # type: ignore[method-assign]
        with pytest.raises(errors.CollectionAlreadyExists, match="'c' is taken"):
            await place.restore("b", other, target)
        assert taken
        assert (await other.view()).segments == {}

    play(scene, tmp_path)


def test_rows_of_the_far_future_are_refused(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, place: BackupBench, other: Bench) -> None:
        await _filled(bench, writer)
        await place.backup("b")
        with pytest.raises(errors.InvalidParameter, match="Set the clock"):
            await place.restore("b", other, await other.writer())

    play(scene, tmp_path, behind_ms=25 * 3600_000)


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, place: BackupBench, other: Bench) -> None:
        await _filled(bench, writer)
        await place.backup("b")
        for key in await place.keys("objects/"):
            data = await place.memory.get(key)
            await place.memory.delete(key)
            with pytest.raises(errors.ObjectNotFound, match=key):
                await place.restore("b", other, await other.writer(f"w-{key}"))
            await place.memory.put(key, data)

    play(scene, tmp_path)
