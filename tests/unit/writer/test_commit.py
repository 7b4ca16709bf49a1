"""Group commit: durable before acknowledged, once per token, one leader."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from mishards.core import errors
from mishards.core.ids import CollectionId, PartitionId
from mishards.core.schema import DataType
from mishards.metadata.snapshot import CollectionView
from mishards.rpc.messages import AllocateTimestamp, DropCollection, NewestTimestamp, Write
from mishards.testing.writer_bench import (
    Bench,
    ask,
    bench_open,
    flush,
    growing_rows,
    insert,
    make_schema,
    rows_of,
    sealed_rows,
    token,
    until,
    write_of,
)
from mishards.writer.writer import Writer

FAILURES = [errors.StorageError("no"), errors.DiskFull("full")]


async def _with_collection(bench: Bench) -> tuple[Writer, CollectionView]:
    writer = await bench.writer()
    return writer, await bench.collection(writer, make_schema())


def test_acknowledged_after_the_entry_is_durable() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            bench.store.hold = asyncio.Event()
            newest = (await ask(writer, NewestTimestamp())).timestamp
            call = asyncio.create_task(insert(writer, view, [1]))
            await until(lambda: bench.store.creates == 2)
            assert not call.done()
            assert (await ask(writer, NewestTimestamp())).timestamp == newest
            bench.store.hold.set()
            answer = await call
            assert (await ask(writer, NewestTimestamp())).timestamp == answer.timestamp
            assert writer.handle_now(NewestTimestamp()) is None
            assert bench.recorders[0].entries[-1].seq == answer.seq

    asyncio.run(scene())


def test_what_arrives_meanwhile_shares_the_next_entry() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            bench.store.hold = asyncio.Event()
            calls = [asyncio.create_task(insert(writer, view, [n])) for n in range(10)]
            await until(lambda: bench.store.creates == 2)
            calls += [asyncio.create_task(insert(writer, view, [n])) for n in range(10, 20)]
            await asyncio.sleep(0)
            bench.store.hold.set()
            answers = await asyncio.gather(*calls)
            assert len({answer.seq for answer in answers}) == 2
            stamps = [answer.timestamp for answer in answers]
            assert stamps == sorted(set(stamps))

    asyncio.run(scene())


def test_the_longer_a_create_takes_the_more_the_next_entry_holds() -> None:
    """Nothing waits for company, and a slow store is not asked more often than it answers: one
    request for all that came during the one before."""
    came_during = [1, 30, 7, 2]

    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            before = bench.store.creates
            bench.store.hold = asyncio.Event()
            calls = [asyncio.create_task(insert(writer, view, [0]))]
            for number, count in enumerate(came_during, start=1):
                await until(lambda number=number: bench.store.creates == before + number)
                calls += [asyncio.create_task(insert(writer, view, [n])) for n in range(count)]
                await asyncio.sleep(0)
                under_way, bench.store.hold = bench.store.hold, asyncio.Event()
                under_way.set()
            await until(lambda: bench.store.creates == before + 1 + len(came_during))
            bench.store.hold.set()
            held = Counter(answer.seq for answer in await asyncio.gather(*calls))
            assert [held[seq] for seq in sorted(held)] == [1, *came_during]
            assert bench.store.creates == before + 1 + len(came_during)

    asyncio.run(scene())


def test_an_entry_keeps_to_its_size() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer(entry_max_bytes=3000)
            view = await bench.collection(writer, make_schema())
            calls = [asyncio.create_task(insert(writer, view, [n])) for n in range(12)]
            answers = await asyncio.gather(*calls)
            assert len({answer.seq for answer in answers}) > 2

    asyncio.run(scene())


def test_a_full_queue_refuses() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer(queue_max_bytes=2000)
            view = await bench.collection(writer, make_schema())
            bench.store.hold = asyncio.Event()
            first = asyncio.create_task(insert(writer, view, [1]))
            await asyncio.sleep(0)
            with pytest.raises(errors.TooManyRequests, match="2000"):
                await insert(writer, view, list(range(100)))
            bench.store.hold.set()
            await first
            await insert(writer, view, list(range(100)))

    asyncio.run(scene())


def test_a_token_is_applied_once() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            message = write_of(view, [1], with_token=token())
            together = await asyncio.gather(ask(writer, message), ask(writer, message))
            assert together[0] == together[1] == await ask(writer, message)
            assert growing_rows(writer) == 1

    asyncio.run(scene())


def test_a_token_is_known_after_a_restart_and_a_flush() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            message = write_of(view, [1], with_token=token())
            first = await ask(writer, message)
            await flush(writer, view.id)
            await writer.close()
            again = await bench.writer("w2")
            assert await ask(again, message) == first
            assert growing_rows(again) == 0

    asyncio.run(scene())


def test_a_full_disk_is_refused_and_the_log_goes_on() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            bench.store.fail_before = errors.DiskFull("full")
            with pytest.raises(errors.DiskFull):
                await insert(writer, view, [1])
            assert writer.leads
            assert growing_rows(writer) == 0
            bench.store.fail_before = None
            await insert(writer, view, [2])
            again = await bench.writer("w2")
            await flush(again, view.id)
            assert await sealed_rows(bench) == {2: 0}

    asyncio.run(scene())


def test_a_failed_sync_is_refused_and_ends_the_reign() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            bench.store.fail_before = errors.StorageError("no")
            with pytest.raises(errors.StorageError):
                await insert(writer, view, [1])
            assert not writer.leads
            bench.store.fail_before = None
            again = await bench.writer("w2")
            await insert(again, view, [2])
            await flush(again, view.id)
            assert await sealed_rows(bench) == {2: 0}

    asyncio.run(scene())


@pytest.mark.parametrize("error", FAILURES, ids=["storage", "full"])
def test_an_append_that_failed_after_it_was_done_is_not_acknowledged_by_its_reign(
    error: Exception,
) -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            bench.store.fail_after = error
            message = write_of(view, [1], with_token=token())
            with pytest.raises(errors.StorageError):
                await ask(writer, message)
            assert not writer.leads
            bench.store.fail_after = None
            again = await bench.writer("w2")
            await ask(again, message)
            assert growing_rows(again) == 1

    asyncio.run(scene())


def test_an_entry_that_turns_up_late_is_applied_once() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            message = write_of(view, [1], with_token=token())
            bench.store.fail_before = errors.DiskFull("full")
            with pytest.raises(errors.DiskFull):
                await ask(writer, message)
            bench.store.fail_before = None
            await bench.store.land_late()
            with pytest.raises(errors.StorageError, match="is there though"):
                await insert(writer, view, [2])
            again = await bench.writer("w2")
            answers = await asyncio.gather(ask(again, message), insert(again, view, [2]))
            assert answers[0].seq < answers[1].seq
            await flush(again, view.id)
            assert await sealed_rows(bench) == {1: 0, 2: 0}

    asyncio.run(scene())


def test_an_outcome_that_cannot_be_looked_up_ends_the_reign() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            bench.store.fail_after = errors.DiskFull("full")
            bench.store.unreadable = True
            message = write_of(view, [1], with_token=token())
            with pytest.raises(errors.StorageError):
                await ask(writer, message)
            assert not writer.leads
            bench.store.fail_after, bench.store.unreadable = None, False
            again = await bench.writer("w2")
            await ask(again, message)
            assert growing_rows(again) == 1

    asyncio.run(scene())


def test_no_time_is_promised_while_an_outcome_is_unknown() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer(tick_s=0.001, flush_check_s=0.001)
            recorder = bench.recorders[0]
            view = await bench.collection(writer, make_schema())
            bench.store.fail_before = errors.DiskFull("full")
            with pytest.raises(errors.DiskFull):
                await insert(writer, view, [1])
            ticks = len(recorder.ticks)
            creates = bench.store.creates
            await until(lambda: bench.store.creates > creates + 2)
            assert len(recorder.ticks) == ticks
            bench.store.fail_before = None
            await until(lambda: len(recorder.ticks) > ticks)
            seq, timestamp = recorder.ticks[-1]
            answer = await insert(writer, view, [1])
            assert answer.seq > seq
            assert answer.timestamp > timestamp

    asyncio.run(scene())


def test_a_writer_that_finds_another_s_entry_steps_down() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            old, view = await _with_collection(bench)
            await insert(old, view, [1])
            new = await bench.writer("w2")
            with pytest.raises(errors.NotLeader):
                await insert(old, view, [2])
            await asyncio.wait_for(old.wait_fenced(), 5)
            assert not old.leads
            with pytest.raises(errors.NotLeader, match="stepped down"):
                await ask(old, AllocateTimestamp())
            assert old.handle_now(NewestTimestamp()) is None
            await insert(new, view, [3])
            assert growing_rows(new) == 2

    asyncio.run(scene())


def test_a_writer_that_cannot_commit_metadata_steps_down() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            old, view = await _with_collection(bench)
            new = await bench.writer("w2")
            with pytest.raises(errors.NotLeader):
                await ask(old, DropCollection(database="", name="c"))
            assert not old.leads
            assert (await bench.view()).id == view.id
            assert new.leads

    asyncio.run(scene())


def test_auto_ids_are_unique_over_restarts() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            schema = make_schema(auto_id=True)
            view = await bench.collection(writer, schema)
            seen: set[int] = set()
            for _ in range(3):
                for _ in range(3):
                    message = Write(
                        token=token(),
                        collection=view.id,
                        partition=view.meta.partitions[0].id,
                        rows=rows_of(schema, [0] * 5),
                        row_count=5,
                    )
                    answer = await ask(writer, message)
                    ids = set(range(answer.auto_id_start, answer.auto_id_start + 5))
                    assert answer.timestamp not in ids
                    assert not ids & seen
                    seen |= ids
                await writer.close()
                # The clock that stands still is the worst for what rises with it.
                bench.runtime.now_ms = lambda: 1  # type: ignore[method-assign]
                writer = await bench.writer()
            await flush(writer, view.id)
            assert set(await sealed_rows(bench)) == seen

    asyncio.run(scene())


def test_what_cannot_be_applied_never_enters_the_log() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            good = write_of(view, [1])
            home, rows = good.partition, good.rows
            other = rows_of(make_schema(key=DataType.VARCHAR), ["a"])
            cases: list[tuple[Write, type[Exception]]] = [
                (write_of(view, [1], with_token=b"x"), errors.InvalidParameter),
                (Write(token=token(), collection=view.id), errors.InvalidParameter),
                (_write(CollectionId(9), home, rows, 1), errors.CollectionNotFound),
                (_write(view.id, PartitionId(9), rows, 1), errors.PartitionNotFound),
                (_write(view.id, PartitionId(0), rows, 1), errors.PartitionNotFound),
                (_write(view.id, home, rows, 2), errors.InvalidRow),
                (_write(view.id, home, b"nonsense", 1), errors.InvalidRow),
                (_write(view.id, home, other, 1), errors.InvalidRow),
            ]
            creates = bench.store.creates
            for message, error in cases:
                with pytest.raises(error) as caught:
                    await ask(writer, message)
                assert type(caught.value) is error
            assert bench.store.creates == creates

    asyncio.run(scene())


def _write(collection: CollectionId, partition: PartitionId, rows: bytes, count: int) -> Write:
    return Write(
        token=token(), collection=collection, partition=partition, rows=rows, row_count=count
    )


def test_a_collection_dropped_while_a_write_waits() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            bench.store.hold = asyncio.Event()
            first = asyncio.create_task(insert(writer, view, [1]))
            await until(lambda: bench.store.creates == 2)
            waiting = asyncio.create_task(insert(writer, view, [2]))
            await asyncio.sleep(0)
            await ask(writer, DropCollection(database="", name="c"))
            bench.store.hold.set()
            await first
            with pytest.raises(errors.CollectionNotFound):
                await waiting
            assert growing_rows(writer) == 0

    asyncio.run(scene())


def test_nobody_waits_for_a_cancelled_write() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            bench.store.hold = asyncio.Event()
            first = asyncio.create_task(insert(writer, view, [1]))
            await until(lambda: bench.store.creates == 2)
            gone = asyncio.create_task(insert(writer, view, [2]))
            await asyncio.sleep(0)
            gone.cancel()
            bench.store.hold.set()
            await first
            await insert(writer, view, [3])
            assert growing_rows(writer) == 2

    asyncio.run(scene())


def test_close_finishes_calls_in_flight() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _with_collection(bench)
            bench.store.hold = asyncio.Event()
            call = asyncio.create_task(insert(writer, view, [1]))
            await until(lambda: bench.store.creates == 2)
            closing = asyncio.create_task(writer.close())
            await asyncio.sleep(0)
            with pytest.raises(errors.NotReady, match="closing"):
                await insert(writer, view, [2])
            bench.store.hold.set()
            assert (await call).seq > 0
            await closing
            with pytest.raises(errors.NotLeader):
                await insert(writer, view, [3])

    asyncio.run(scene())
