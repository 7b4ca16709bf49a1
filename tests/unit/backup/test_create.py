"""Making backups: the moment they show, what they share, what becomes of interrupted ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mishards.core import errors
from mishards.core.ids import EntrySeq, LogId
from mishards.log.store import LogStore
from mishards.metadata.snapshot import CollectionView
from mishards.rpc.messages import (
    CreateCollection,
    CreatePartition,
    DropCollection,
    NewestTimestamp,
    TruncateCollection,
)
from mishards.storage.layers.fault import Fault
from mishards.storage.pins import PREFIX
from mishards.testing.backup_bench import BackupBench
from mishards.testing.writer_bench import (
    Bench,
    ask,
    bench_open,
    delete,
    flush,
    insert,
    make_schema,
    write_of,
)
from mishards.writer.writer import Writer

Scene = Callable[[Bench, Writer, CollectionView, BackupBench], Awaitable[None]]


def play(scene: Scene, scratch: Path) -> None:
    """A writer with a collection `c`, and a place for its backups."""

    async def run() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            view = await bench.collection(writer, make_schema())
            await scene(bench, writer, view, BackupBench(bench, scratch))

    asyncio.run(run())


def test_the_cut_is_the_last_durable_entry(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        await insert(writer, view, [1, 2])
        await flush(writer, view.id)
        last = await insert(writer, view, [3])
        report = await place.backup("b")
        assert report.timestamp == last.timestamp
        assert report.timestamp == (await ask(writer, NewestTimestamp())).timestamp
        assert await place.rows("b") == {"c": (2, 1)}
        assert await bench.store.list(PREFIX) == []

    play(scene, tmp_path)


def test_what_is_written_and_sealed_during_the_copy_is_left_out(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        await insert(writer, view, [1, 2])
        await flush(writer, view.id)
        last = await insert(writer, view, [3])
        pins: list[int] = []

        async def meddle(operation: str, key: str) -> None:
            if key.endswith(".vectors"):
                pins.append(len(await bench.store.list(PREFIX)))
                await ask(writer, write_of(view, [10], delete=[1]))
                await flush(writer, view.id)

        report = await place.backup("b", meddle=meddle)
        assert pins == [1]
        assert report.timestamp == last.timestamp
        assert await place.rows("b") == {"c": (2, 1)}

    play(scene, tmp_path)


CHANGES: list[tuple[Any, dict[str, tuple[int, int]]]] = [
    (CreatePartition(database="", collection="c", partition="p"), {"c": (0, 3), "e": (0, 1)}),
    (TruncateCollection(database="", name="c"), {"c": (0, 1), "e": (0, 1)}),
    (
        CreateCollection(database="", schema=make_schema("d")),
        {"c": (0, 3), "e": (0, 1), "d": (0, 0)},
    ),
    (DropCollection(database="", name="e"), {"c": (0, 3)}),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=lambda one: type(one).__name__)
def test_a_change_between_snapshot_and_cut_makes_it_look_again(
    tmp_path: Path, change: Any, expected: dict[str, tuple[int, int]]
) -> None:
    """Else rows from before a truncation and from after it would be in one backup."""

    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        other = await bench.collection(writer, make_schema("e"))
        await insert(writer, view, [1, 2])
        await insert(writer, other, [1])
        changed: list[str] = []

        async def meddle(operation: str, key: str) -> None:
            if operation == "list" and not changed:
                changed.append(key)
                await ask(writer, change)
                await insert(writer, view, [3])

        await place.backup("b", meddle=meddle)
        assert changed == ["log/0/"]
        assert await place.rows("b") == expected

    play(scene, tmp_path)


def test_collections_that_change_without_a_pause_are_not_backed_up(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        bench.runtime.sleep = _at_once  # type: ignore[method-assign]

        async def meddle(operation: str, key: str) -> None:
            if operation == "list":
                await ask(writer, TruncateCollection(database="", name="c"))

        with pytest.raises(errors.MetadataConflict, match="each of 50 attempts"):
            await place.backup("b", meddle=meddle)
        assert await place.keys() == []

    play(scene, tmp_path)


async def _at_once(seconds: float) -> None:
    await asyncio.sleep(0)


def test_a_torn_entry_at_the_end_counts_as_never_written(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        first = await insert(writer, view, [1])
        last = await insert(writer, view, [2])
        key = LogStore(bench.store, LogId(0)).key(last.seq)
        await bench.store.put(key, (await bench.store.get(key))[:-1])
        report = await place.backup("b")
        assert report.timestamp == first.timestamp
        assert await place.rows("b") == {"c": (0, 1)}

    play(scene, tmp_path)


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        damaged = await insert(writer, view, [1])
        await insert(writer, view, [2])
        key = LogStore(bench.store, LogId(0)).key(damaged.seq)
        data = bytearray(await bench.store.get(key))
        data[-1] ^= 1
        await bench.store.put(key, bytes(data))
        with pytest.raises(errors.CorruptObject, match=key):
            await place.backup("b")
        assert await place.target.names() == []

    play(scene, tmp_path)


def test_an_empty_data_set_can_be_backed_up(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        await ask(writer, DropCollection(database="", name="c"))
        report = await place.backup("b")
        assert (report.collections, report.size_bytes) == ((), 0)

    play(scene, tmp_path)


def test_a_log_trimmed_to_its_end_is_cut_at_the_newest_sealed_row(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        writer = await bench.writer("w2", replay_tail_bytes=0)
        last = await insert(writer, view, [1])
        await flush(writer, view.id)
        for seq in range(1, last.seq + 1):
            await bench.store.delete(LogStore(bench.store, LogId(0)).key(EntrySeq(seq)))
        report = await place.backup("b")
        assert report.timestamp == last.timestamp
        assert await place.rows("b") == {"c": (1, 0)}

    play(scene, tmp_path)


@pytest.mark.parametrize("operation", ["put", "create", "list"])
def test_an_interrupted_backup_is_none_and_goes_on(tmp_path: Path, operation: str) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        await insert(writer, view, range(100))
        await flush(writer, view.id)
        await insert(writer, view, [1000])
        whole = await place.backup("first")
        await place.target.delete("first")
        fault = Fault(error=errors.StorageError)
        # Whichever call it is that fails.
        for number in range(20):
            for _ in range(number):
                place.faults.add(Fault(), operation=operation)
            place.faults.add(fault, operation=operation)
            try:
                report = await place.backup("b")
            except errors.StorageError:
                assert await place.target.names() in ([], ["b"])
                if await place.target.names():
                    await place.target.delete("b")
            else:
                break
        else:
            pytest.fail("it never succeeded")
        assert number > 0
        assert report.size_bytes == whole.size_bytes
        assert await place.rows("b") == {"c": (100, 1)}
        assert await place.keys("unfinished/") == []
        assert len(await place.keys("tails/")) == 1

    play(scene, tmp_path)


def test_a_backup_that_is_started_again_copies_what_is_missing(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        for start in (0, 100):
            await insert(writer, view, range(start, start + 100))
            await flush(writer, view.id)
        place.faults.add(Fault(error=errors.StorageError), operation="create")
        with pytest.raises(errors.StorageError):
            await place.backup("b")
        assert [one.name for one in await place.target.unfinished()] == ["b"]
        missing = (await place.keys("objects/"))[0]
        size = len(await place.memory.get(missing))
        await place.memory.delete(missing)
        report = await place.backup("b")
        assert (report.objects_copied, report.bytes_copied) == (1, size)

    play(scene, tmp_path)


def test_an_unfinished_backup_keeps_what_it_relies_on_until_it_is_deleted(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        await insert(writer, view, range(100))
        await flush(writer, view.id)
        await place.backup("a")
        place.faults.add(Fault(error=errors.StorageError), operation="create")
        with pytest.raises(errors.StorageError):
            await place.backup("b")
        objects = await place.keys("objects/")
        await place.target.delete("a")
        assert await place.keys("objects/") == objects
        removed = await place.target.delete("b")
        assert removed.objects == len(objects)
        assert await place.keys() == []

    play(scene, tmp_path)


def test_a_deletion_during_a_backup_takes_nothing_from_it(tmp_path: Path) -> None:
    """It looked before the backup said what it relies on, and removes when that was seen."""

    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        await insert(writer, view, range(100))
        await flush(writer, view.id)
        await place.backup("a")
        objects = await place.keys("objects/")
        await insert(writer, view, [1000])

        async def meddle(operation: str, key: str) -> None:
            # After the files were looked at, before the manifest is made.
            if operation == "get" and key.startswith("log/") and await place.keys("unfinished/"):
                for one in objects:
                    await place.memory.delete(one)

        await place.backup("b", meddle=meddle)
        assert await place.keys("objects/") == objects
        assert await place.rows("b") == {"c": (100, 1)}

    play(scene, tmp_path)


def test_nothing_is_deleted_while_a_manifest_cannot_be_read(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        await insert(writer, view, [1])
        await place.backup("a")
        await place.backup("b")
        await place.memory.put("backups/b.json", b"{}")
        before = await place.keys()
        with pytest.raises(errors.CorruptObject, match=r"backups/b\.json"):
            await place.target.delete("a")
        assert await place.keys() == before

    play(scene, tmp_path)


def test_a_lost_pin_leaves_no_backup(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        await insert(writer, view, [1])
        await flush(writer, view.id)
        clock = bench.runtime.monotonic_s
        late = 0.0

        async def meddle(operation: str, key: str) -> None:
            nonlocal late
            if key.endswith(".vectors"):
                late = 3600.0

        bench.runtime.monotonic_s = lambda: clock() + late  # type: ignore[method-assign]
        with pytest.raises(errors.PinLost):
            await place.backup("b", meddle=meddle)
        assert await place.target.names() == []

    play(scene, tmp_path)


def test_deletes_of_growing_rows_are_kept(tmp_path: Path) -> None:
    async def scene(bench: Bench, writer: Writer, view: CollectionView, place: BackupBench) -> None:
        await insert(writer, view, [1, 2, 3])
        await flush(writer, view.id)
        await delete(writer, view, [2])
        await place.backup("b")
        backup = await place.target.read("b")
        assert [part.keys for part in backup.collections[0].tail] == [1]

    play(scene, tmp_path)
