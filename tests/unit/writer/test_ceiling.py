"""Times and ids are given away only where the log says so, whatever a later clock says."""

from __future__ import annotations

import asyncio

import pytest

from mishards.core import errors
from mishards.core.ids import EntrySeq, Epoch, LogId, NodeId, Timestamp
from mishards.core.timestamps import TimestampAllocator, compose, physical_ms
from mishards.log.entry import Entry, encode_entry
from mishards.log.store import LogStore
from mishards.rpc.messages import AllocateTimestamp
from mishards.testing.writer_bench import ask, bench_open, insert, make_schema, until


def test_a_leader_with_a_clock_set_back_begins_behind_every_tick_of_the_last() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            first = await bench.writer(tick_s=0.001)
            view = await bench.collection(first, make_schema())
            await until(lambda: len(bench.recorders[0].ticks) > 3)
            fresh = (await ask(first, AllocateTimestamp(count=1000))).timestamp
            _, ticked = bench.recorders[0].ticks[-1]
            bench.runtime.now_ms = lambda: 1  # type: ignore[method-assign]
            second = await bench.writer("w2")
            answer = await insert(second, view, [1])
            assert answer.timestamp > max(ticked, fresh + 999)

    asyncio.run(scene())


def test_an_idle_log_gets_an_entry_when_its_ceiling_is_reached_and_no_more() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            now = 1_000_000
            bench.runtime.now_ms = lambda: now  # type: ignore[method-assign]
            await bench.writer(tick_s=0.001, ceiling_ms=1000)
            recorder, log = bench.recorders[0], LogStore(bench.store, 0)
            await until(lambda: len(recorder.ticks) > 5)
            assert await log.last_seq(1) == 1
            now += 1500
            ticks = len(recorder.ticks)
            await until(lambda: len(recorder.ticks) > ticks + 5)
            assert await log.last_seq(1) == 2
            found = await log.read(2)
            assert found is not None
            assert physical_ms(found[0].ceiling) == now + 1000

    asyncio.run(scene())


def test_nothing_is_given_away_that_the_log_cannot_cover() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            now = 1_000_000
            bench.runtime.now_ms = lambda: now  # type: ignore[method-assign]
            writer = await bench.writer(tick_s=0.001)
            recorder = bench.recorders[0]
            bench.store.fail_before = errors.DiskFull("full")
            ticks = len(recorder.ticks)
            now = ahead = now + 3_600_000
            with pytest.raises(errors.DiskFull):
                await ask(writer, AllocateTimestamp())
            assert all(physical_ms(ts) < ahead for _, ts in recorder.ticks[ticks:])
            bench.store.fail_before = None
            assert physical_ms((await ask(writer, AllocateTimestamp())).timestamp) >= ahead

    asyncio.run(scene())


def test_a_leader_that_was_replaced_finds_out_before_it_tells_the_time_again() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer(tick_s=0.001, lease_s=0.05)
            await until(lambda: len(bench.recorders[0].ticks) > 3)
            stood_still_s = 0.0
            awake_s = bench.runtime.monotonic_s
            bench.runtime.monotonic_s = lambda: awake_s() + stood_still_s  # type: ignore[method-assign]
            rival = Entry(
                log_id=LogId(0),
                seq=EntrySeq(2),
                epoch=Epoch(9),
                timestamp=Timestamp(1 << 62),
                leader=NodeId("rival"),
            )
            await bench.store.put("log/0/00000000000000000002", encode_entry(rival))
            ticks = len(bench.recorders[0].ticks)
            stood_still_s = 60.0
            await writer.wait_fenced()
            assert len(bench.recorders[0].ticks) == ticks

    asyncio.run(scene())


def test_takeovers_one_after_another_do_not_carry_the_time_off() -> None:
    now = 5_000_000
    floor = Timestamp(0)
    for _ in range(100):
        allocator = TimestampAllocator(lambda: now, floor)
        allocator.allocate()
        floor = allocator.ceiling(30_000)
    assert physical_ms(floor) <= now + 30_000 + 100 * 250
    assert floor > compose(now + 30_000) - 1
