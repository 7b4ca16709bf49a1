"""Taking leadership: everything acknowledged is found, one leader comes out of a race."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

from mishards.cluster.publishing import LogPublisher
from mishards.core import errors
from mishards.core.ids import EntrySeq, Epoch, LogId, MetadataVersion, NodeId
from mishards.core.runtime import SystemRuntime
from mishards.log.entry import Entry, encode_entry
from mishards.metadata.memory import MemoryMetadataStore
from mishards.rpc.messages import (
    AllocateTimestamp,
    CreateCollection,
    Follow,
    LogPush,
    MetadataPush,
    NewestTimestamp,
    NodeStatus,
    Search,
    Tick,
)
from mishards.storage.local import LocalStore
from mishards.testing.writer_bench import (
    CONTEXT,
    FailingStore,
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
from mishards.writer.config import WriterConfig
from mishards.writer.writer import Writer


def test_a_new_store_gets_its_default_database_and_a_leader() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            await bench.writer(build_min_rows=17)
            snapshot = await bench.snapshot()
            assert list(snapshot.databases) == ["default"]
            log = snapshot.logs[LogId(0)]
            assert (log.epoch, log.leader) == (1, "w1")
            assert log.build_min_rows == 17
            database = snapshot.databases["default"]
            await bench.writer("w2")
            snapshot = await bench.snapshot()
            assert snapshot.databases["default"] == database
            assert snapshot.logs[LogId(0)].epoch == 2

    asyncio.run(scene())


def test_a_restart_finds_everything_acknowledged() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            view = await bench.collection(writer, make_schema())
            await insert(writer, view, [1, 2, 3], n=1)
            await flush(writer, view.id)
            await delete(writer, view, [1])
            await ask(writer, write_of(view, [2, 4], [2, 4], n=2))
            newest = (await ask(writer, NewestTimestamp())).timestamp
            # Nothing is closed: as after kill -9.
            again = await bench.writer("w2")
            assert growing_rows(again) == 2
            assert (await ask(again, NewestTimestamp())).timestamp > newest
            await flush(again, view.id)
            assert await sealed_rows(bench) == {2: 2, 3: 1, 4: 2}

    asyncio.run(scene())


def test_timestamps_rise_over_restarts_whatever_the_clock_says() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            view = await bench.collection(writer, make_schema())
            first = await insert(writer, view, [1])
            bench.runtime.now_ms = lambda: 1  # type: ignore[method-assign]
            again = await bench.writer("w2")
            second = await insert(again, view, [1])
            assert second.timestamp > first.timestamp
            fresh = await ask(again, AllocateTimestamp(count=10))
            after = await ask(again, AllocateTimestamp())
            assert after.timestamp >= fresh.timestamp + 10

    asyncio.run(scene())


def test_ids_are_not_given_twice_though_only_metadata_knows_them() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            first = await bench.collection(writer, make_schema("c"))
            bench.runtime.now_ms = lambda: 1  # type: ignore[method-assign]
            again = await bench.writer("w2")
            second = await bench.collection(again, make_schema("d"))
            assert second.id > first.meta.partitions[0].id

    asyncio.run(scene())


class _RacingStore(FailingStore):
    """Just before the first entry after `when` is created, another leader's appears there."""

    def __init__(self) -> None:
        super().__init__()
        self.rival: Entry | None = None

    async def create(self, key: str, data: bytes) -> None:
        if self.rival is not None:
            rival, self.rival = self.rival, None
            await super().create(key, encode_entry(rival))
        await super().create(key, data)


def _rival(seq: int, epoch: int, leader: str) -> Entry:
    return Entry(
        log_id=LogId(0),
        seq=EntrySeq(seq),
        epoch=Epoch(epoch),
        timestamp=1 << 60,  # type: ignore[arg-type]
        leader=NodeId(leader),
    )


def test_an_old_leader_s_last_entry_is_read_before_leading() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.store = store = _RacingStore()
            await bench.writer()
            store.rival = _rival(2, 1, "")
            again = await bench.writer("w2")
            status = await ask(again, NodeStatus())
            assert status.applied_seq == {0: 3}
            assert status.epoch == {0: 2}
            assert status.applied_ts[0] > 1 << 60

    asyncio.run(scene())


def test_the_loser_of_a_race_does_not_lead() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.store = store = _RacingStore()
            store.rival = _rival(1, 1, "other")
            writer, _ = bench.make()
            with pytest.raises(errors.Fenced, match="epoch 1"):
                await writer.start()
            assert not writer.leads
            with pytest.raises(errors.NotReady, match="not started"):
                await ask(writer, NewestTimestamp())

    asyncio.run(scene())


def test_of_two_that_start_at_once_one_leads() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writers = [bench.make(name)[0] for name in ("w1", "w2", "w3")]
            results = await asyncio.gather(
                *(one.start() for one in writers), return_exceptions=True
            )
            schema = make_schema()
            acknowledged = 0
            for writer in writers:
                try:
                    await ask(writer, CreateCollection(database="", schema=schema))
                    acknowledged += 1
                except errors.SystemFault:
                    assert not writer.leads
            assert acknowledged == 1
            assert all(r is None or isinstance(r, errors.Fenced) for r in results)

    asyncio.run(scene())


def test_a_torn_last_entry_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            view = await bench.collection(writer, make_schema())
            answer = await insert(writer, view, [1])
            key = f"log/0/{answer.seq:020d}"
            torn = (await bench.store.get(key))[:40]
            await bench.store.put(f"log/0/{answer.seq + 1:020d}", torn)
            again = await bench.writer("w2")
            await insert(again, view, [2])
            third = await bench.writer("w3")
            assert growing_rows(third) == 2

    with caplog.at_level(logging.WARNING):
        asyncio.run(scene())
    assert "passed over" in caplog.text


def test_a_damaged_entry_stops_the_start_and_is_named() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            view = await bench.collection(writer, make_schema())
            answer = await insert(writer, view, [1])
            await insert(writer, view, [2])
            key = f"log/0/{answer.seq:020d}"
            data = bytearray(await bench.store.get(key))
            data[-1] ^= 1
            await bench.store.put(key, bytes(data))
            again, _ = bench.make("w2")
            with pytest.raises(errors.CorruptObject, match=key):
                await again.start()
            assert not again.leads

    asyncio.run(scene())


def test_a_start_that_failed_can_be_repeated() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, _ = bench.make()
            bench.store.fail_after = errors.StorageError("no")
            with pytest.raises(errors.StorageError):
                await writer.start()
            bench.store.fail_after = None
            await writer.start()
            assert writer.leads

    asyncio.run(scene())


def test_a_metadata_store_that_went_back_ends_the_reign() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            await bench.collection(writer, make_schema())
            bench.metadata._version = MetadataVersion(1)
            with pytest.raises(errors.Fenced, match="went back"):
                await bench.collection(writer, make_schema("d"))
            assert not writer.leads

    asyncio.run(scene())


def test_a_writer_answers_only_what_is_asked_of_writers() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            with pytest.raises(errors.Unimplemented, match="Search"):
                await ask(writer, Search(at=cast(Any, None), field="", queries=b"", nq=0, k=1))
            with pytest.raises(errors.InvalidParameter, match="0"):
                await ask(writer, AllocateTimestamp(count=0))
            with pytest.raises(errors.Unimplemented):
                writer.stream(NodeStatus(), CONTEXT)

    asyncio.run(scene())


def test_followers_get_entries_metadata_and_the_time(tmp_path: Path) -> None:
    async def scene() -> None:
        runtime = SystemRuntime(threads=2)
        store = LocalStore(tmp_path / "data", runtime)
        config = WriterConfig(tick_s=0.005, scratch=str(tmp_path / "scratch"))
        publisher = LogPublisher(runtime, LogId(0))
        writer = Writer(
            runtime, config, store, MemoryMetadataStore(), publisher, NodeId("w"), LogId(0)
        )
        await writer.start()
        follow = Follow(log=LogId(0), seq=EntrySeq(1), version=MetadataVersion(0))
        got: list[Any] = []

        async def listen(stream: AsyncIterator[Any]) -> None:
            async with aclosing(cast(Any, stream)) as pushes:
                async for push in pushes:
                    got.append(push)

        listening = asyncio.create_task(listen(writer.stream(follow, CONTEXT)))
        await ask(writer, CreateCollection(database="", schema=make_schema()))
        await until(lambda: sum(isinstance(one, MetadataPush) for one in got) >= 1)
        version = max(one.changes.version for one in got if isinstance(one, MetadataPush))
        assert version >= 1
        await until(lambda: sum(isinstance(one, Tick) for one in got) >= 3)
        assert [one.seq for one in got if isinstance(one, LogPush)] == [1]
        ticks = [one.timestamp for one in got if isinstance(one, Tick)]
        assert ticks == sorted(ticks)
        await writer.close()
        with pytest.raises(errors.NotLeader):
            await listening
        await runtime.close()
        assert not list((tmp_path / "scratch").glob("*"))

    asyncio.run(scene())


def test_a_defect_in_group_commit_ends_the_reign(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            view = await bench.collection(writer, make_schema())

            def broken(*_: Any) -> None:
                raise RuntimeError("defect")

            monkeypatch.setattr(bench.recorders[0], "publish_entry", broken)
            with pytest.raises(errors.NotLeader, match="defect"):
                await insert(writer, view, [1])
            assert not writer.leads

    asyncio.run(scene())


class NoPeers:
    """A cluster of writers alone."""

    async def statuses(self) -> tuple[Any, ...]:
        return ()


TRIMS = {
    "log_keep_entries": 1,
    "token_window_s": 0.0,
    "collect_interval_s": 0.005,
    "collect_grace_s": 0.0,
}


async def log_of(bench: Any) -> list[int]:
    return [int(info.key[-20:]) for info in await bench.store.list("log/0/")]


async def until_log(bench: Any, condition: Callable[[list[int]], bool]) -> None:
    while not condition(await log_of(bench)):  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def test_a_trimmed_log_is_led_with_all_that_was_acknowledged() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.peers = NoPeers()
            writer = await bench.writer(**TRIMS)
            view = await bench.collection(writer, make_schema())
            for number in range(10):
                await insert(writer, view, [number])
            await flush(writer, view.id)
            last = await insert(writer, view, [99])
            fences = (await bench.snapshot()).logs[LogId(0)].fences
            left = [*sorted({*fences} - {0}), last.seq]
            await until_log(bench, lambda held: held == left)
            second = await bench.writer("w2")
            assert growing_rows(second) == 1
            await flush(second, view.id)
            assert set(await sealed_rows(bench)) == {*range(10), 99}
            log = (await bench.snapshot()).logs[LogId(0)]
            assert (log.epoch, log.trimmed) == (2, last.seq)
            with pytest.raises(errors.NotLeader):
                await insert(writer, view, [1000])

    asyncio.run(scene())


def test_an_idle_log_is_trimmed() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.peers = NoPeers()
            writer = await bench.writer(**TRIMS, tick_s=0.001, ceiling_ms=1)
            del writer
            await until_log(bench, lambda held: min({*held} - {1}, default=0) >= 20)
            assert len(await log_of(bench)) < 20

    asyncio.run(scene())


def test_an_epoch_never_begins_where_entries_were_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old leader writes, seals and trims while the new one is about to begin."""

    async def scene() -> None:
        async with bench_open() as bench:
            bench.peers = NoPeers()
            old = await bench.writer(**TRIMS)
            view = await bench.collection(old, make_schema())
            begin_epoch = bench.metadata.begin_epoch

            async def late(log_id: LogId, epoch: Epoch) -> None:
                if epoch == 2:
                    for number in range(10):
                        await insert(old, view, [number])
                    await flush(old, view.id)
                    last = await insert(old, view, [99])
                    await until_log(bench, lambda held: min({*held} - {1}) >= last.seq)
                await begin_epoch(log_id, epoch)

            monkeypatch.setattr(bench.metadata, "begin_epoch", late)
            new = await bench.writer("w2")
            assert growing_rows(new) == 1
            held = await log_of(bench)
            assert held[-2:] == [held[-1] - 1, held[-1]]
            await flush(new, view.id)
            assert set(await sealed_rows(bench)) == {*range(10), 99}

    asyncio.run(scene())
