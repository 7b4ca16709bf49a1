"""How a reader keeps in step with the log and with metadata."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from mishards.core.errors import (
    DeadlineExceeded,
    NotReady,
    StalePlan,
    StorageError,
    Unimplemented,
)
from mishards.core.ids import LogId, Timestamp
from mishards.log.entry import encode_entry
from mishards.log.store import LogStore
from mishards.metadata.models import LogMeta, SegmentMeta
from mishards.reader.config import ReaderConfig
from mishards.rpc.messages import Flush
from mishards.rpc.protocol import CallContext
from mishards.storage.local import LocalStore
from mishards.storage.memory import MemoryStore
from mishards.testing.reader_bench import COLLECTION, Bench, keys_of, make_rows

ORIGIN = [[0.0, 0.0, 0.0, 0.0]]
BRIEF = ReaderConfig(retention_s=0.0, housekeeping_s=0.001)


def line(*places: float) -> list[list[float]]:
    """Vectors at these distances from the origin."""
    return [[float(place), 0.0, 0.0, 0.0] for place in places]


def test_entries_may_come_before_the_metadata_that_explains_them(run):
    async def test(bench: Bench) -> None:
        bench.start()
        bench.write(make_rows(bench.schema, [1, 2], line(1, 2)))
        bench.write(keys=[2], partition=0)
        with pytest.raises(StalePlan, match="not in metadata version 1"):
            await bench.search(ORIGIN)
        bench.commit(bench.meta())
        assert keys_of(await bench.search(ORIGIN)) == [[1]]

    run(test, started=False)


def test_entries_that_did_not_fit_into_memory_are_read_again(run):
    async def test(bench: Bench) -> None:
        log = LogStore(bench.store, LogId(0))
        bench.start()
        for key in range(6):
            entry = bench.entry(bench.mutation(make_rows(bench.schema, [key], line(key))))
            await bench.store.create(log.key(entry.seq), encode_entry(entry))
            bench.reader.apply_entry(entry)
        ahead = bench.entry(bench.mutation(make_rows(bench.schema, [9], line(9))))
        await bench.store.create(log.key(ahead.seq), encode_entry(ahead))
        bench.commit(bench.meta())
        await bench.until(lambda: bench.reader.status().growing_rows == {COLLECTION: 6})
        bench.reader.apply_entry(ahead)
        assert keys_of(await bench.search(ORIGIN, 9)) == [[0, 1, 2, 3, 4, 5, 9]]

    run(test, started=False, config=ReaderConfig(pending_bytes=1500))


def test_an_entry_that_comes_twice_counts_once(run):
    async def test(bench: Bench) -> None:
        entry = bench.entry(bench.mutation(make_rows(bench.schema, [1], line(1))))
        bench.reader.apply_entry(entry)
        bench.reader.apply_entry(entry)
        assert bench.reader.status().growing_rows == {COLLECTION: 1}

    run(test)


def test_rows_that_are_sealed_already_are_not_held_again(run):
    async def test(bench: Bench) -> None:
        bench.checkpoint = 110
        bench.start(bench.meta())
        bench.write(make_rows(bench.schema, [1], line(1)))
        bench.write(make_rows(bench.schema, [2], line(2)))
        assert keys_of(await bench.search(ORIGIN)) == [[2]]

    run(test, started=False)


def test_sealed_rows_stay_for_older_plans_until_their_retention_ends(run):
    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [1, 2], line(1, 2)))
        old = bench.at()
        segment = await bench.segment(
            make_rows(bench.schema, [1, 2], line(1, 2)), [bench.now, bench.now]
        )
        bench.checkpoint = bench.now
        bench.write(make_rows(bench.schema, [3], line(3)))
        bench.commit(bench.meta(), segment)
        assert keys_of(await bench.search(ORIGIN)) == [[1, 2, 3]]
        assert keys_of(await bench.search(ORIGIN, at=old)) == [[1, 2]]
        assert bench.reader.status().growing_rows == {COLLECTION: 1}
        assert (await bench.query(count=True)).count == 3

    run(test)


def test_metadata_stays_in_use_while_a_segment_of_it_is_open(run):
    async def test(bench: Bench) -> None:
        one = await bench.segment(make_rows(bench.schema, [1], line(1)), [50])
        bench.commit(one)
        named = bench.version
        assert keys_of(await bench.search(ORIGIN)) == [[1]]
        assert bench.reader.status().oldest_version == named
        two = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 2)), [50, 60])
        del bench.segments[one.id]
        bench.commit(two, deletes=(one.key,))
        bench.commit(bench.meta())
        assert bench.reader.status().version == named + 2
        assert bench.reader.status().oldest_version == named
        await bench.until(lambda: one.id not in bench.reader.status().segments)
        await bench.until(lambda: bench.reader.status().oldest_version == named + 2)

    run(test, config=BRIEF)


def test_metadata_stays_in_use_while_a_read_of_it_is_in_flight(run):
    async def test(bench: Bench) -> None:
        begun = bench.version
        at = msgspec.structs.replace(bench.at(), version=begun + 1)
        search = asyncio.ensure_future(bench.search(ORIGIN, at=at))
        other = msgspec.structs.replace(bench.at(), version=begun + 2)
        later = asyncio.ensure_future(bench.search(ORIGIN, at=other))
        await asyncio.sleep(0)
        bench.commit(bench.meta())
        await search
        assert bench.reader.status().oldest_version == begun
        bench.commit(bench.meta())
        await later
        assert bench.reader.status().oldest_version == bench.version

    run(test)


def test_a_plan_older_than_what_is_kept_is_stale(run):
    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [1, 2], line(1, 2)), [1])
        old = bench.at()
        bench.checkpoint = bench.now
        bench.write(make_rows(bench.schema, [3, 4], line(3, 4)))
        bench.write(keys=[4], partition=0)
        bench.commit(bench.meta())
        held = bench.reader.held(COLLECTION)
        await bench.until(lambda: held.rows.view.rows == 2)
        assert keys_of(await bench.search(ORIGIN)) == [[3]]
        with pytest.raises(StalePlan, match="no longer kept"):
            await bench.search(ORIGIN, at=old)
        bench.write(keys=[3], partition=0)
        assert keys_of(await bench.search(ORIGIN)) == [[]]

    run(test, config=BRIEF)


def test_replaced_segments_are_closed_when_their_retention_ends(run):
    async def test(bench: Bench) -> None:
        one = await bench.segment(make_rows(bench.schema, [1], line(1)), [50])
        bench.commit(one)
        old = bench.at()
        assert keys_of(await bench.search(ORIGIN)) == [[1]]
        two = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 2)), [50, 60])
        del bench.segments[one.id]
        bench.commit(two, deletes=(one.key,))
        await bench.until(lambda: set(bench.reader.status().segments) == {two.id})
        assert not (bench.folder / "scratch" / "reader" / one.folder).exists()
        with pytest.raises(StalePlan, match="replaced or dropped"):
            await bench.search(ORIGIN, at=old)

    run(test, config=BRIEF)


def test_a_released_collection_is_closed_and_opened_again_on_load(run):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [1], line(1)), [50])
        bench.commit(segment)
        await bench.until(lambda: set(bench.reader.status().segments) == {segment.id})
        loaded, bench.partitions = (
            bench.partitions,
            tuple(type(p)(id=p.id, name=p.name) for p in bench.partitions),
        )
        bench.commit(bench.meta())
        await bench.until(lambda: not bench.reader.status().segments)
        bench.partitions = loaded
        bench.commit(bench.meta())
        await bench.until(lambda: set(bench.reader.status().segments) == {segment.id})

    run(test, config=BRIEF)


class GatedStore(MemoryStore):
    """Holds back reads of vectors until `gate` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()
        self.reads = 0

    async def get(self, key: str) -> bytes:
        if key.endswith(".vectors"):
            self.reads += 1
            self.reached.set()
            await self.gate.wait()
        return await super().get(key)


def test_what_is_deleted_while_a_segment_is_being_opened_stays_deleted(run):
    async def test(bench: Bench) -> None:
        keys = [1, 2, 3, 4]
        segment = await bench.segment(make_rows(bench.schema, keys, line(*keys)), [50] * 4)
        bench.write(keys=[1], partition=0)
        bench.commit(segment)
        store = bench.store
        assert isinstance(store, GatedStore)
        searching = [bench.background(bench.search(ORIGIN)) for _ in range(2)]
        await store.reached.wait()
        bench.write(keys=[2], partition=0)
        bench.deletes = (await bench.delete_file([3], [70]),)
        bench.commit(bench.meta())
        store.gate.set()
        for search in searching:
            await search
        assert keys_of(await bench.search(ORIGIN)) == [[4]]
        assert store.reads == 1

    run(test, store=lambda runtime: GatedStore())


def test_only_what_this_reader_serves_is_opened_ahead(run):
    async def test(bench: Bench) -> None:
        segments = [
            await bench.segment(make_rows(bench.schema, [key], line(key)), [50]) for key in (1, 2)
        ]
        bench.commit(*segments)
        await bench.until(lambda: len(bench.reader.status().segments) == 1)
        await bench.settle()
        assert set(bench.reader.status().segments) == {min(s.id for s in segments)}
        assert keys_of(await bench.search(ORIGIN)) == [[1, 2]]

    run(test, serves=lambda view: frozenset([min(view.segments)] if view.segments else []))


def test_status_says_how_far_the_reader_is(run):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [1], line(1)), [50])
        bench.commit(segment)
        bench.write(make_rows(bench.schema, [2, 3], line(2, 3)))
        await bench.search(ORIGIN)
        status = bench.reader.status()
        assert status.node == "r1"
        assert status.roles == ("reader",)
        assert status.version == bench.version
        assert status.applied_seq == {0: bench.seq}
        assert status.applied_ts == {0: bench.now}
        assert status.epoch == {0: 1}
        assert status.segments == {segment.id: "raw"}
        assert status.growing_rows == {COLLECTION: 2}

    run(test)


def test_files_of_a_local_store_are_used_where_they_lie(run, tmp_path):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 2)), [50, 50])
        bench.deletes = (await bench.delete_file([2], [60]),)
        bench.commit(bench.meta(), segment)
        assert keys_of(await bench.search(ORIGIN)) == [[1]]
        assert not (bench.folder / "scratch").exists()

    run(test, store=lambda runtime: LocalStore(tmp_path / "store", runtime))


def test_a_reader_refuses_what_is_not_for_it(run):
    async def test(bench: Bench) -> None:
        context = CallContext(bench.runtime.monotonic_s() + 1)
        with pytest.raises(Unimplemented, match="Flush"):
            await bench.reader.handle(Flush(collections=()), context)
        with pytest.raises(Unimplemented, match="Flush"):
            bench.reader.stream(Flush(collections=()), context)
        with pytest.raises(NotReady, match="log on storage"):
            await bench.search(ORIGIN, from_storage=True)

    run(test)


def test_unheard_a_leader_is_believed_once_storage_was_read_to_its_end(run):
    benches: list[Bench] = []

    async def catch_up(log: LogId) -> None:
        bench = benches[0]
        bench.write(make_rows(bench.schema, [2], line(2)))

    async def test(bench: Bench) -> None:
        benches.append(bench)
        bench.write(make_rows(bench.schema, [1], line(1)))
        assert keys_of(await bench.search(ORIGIN, 9, read_ts=999)) == [[1, 2]]

    run(test, catch_up=catch_up, streamed=lambda log: False)


@pytest.mark.parametrize(("streamed", "claimed"), [(True, False), (False, True)])
def test_only_an_unheard_leader_is_believed_so_and_no_caller(run, streamed, claimed):
    async def catch_up(log: LogId) -> None:
        pass

    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [1], line(1)))
        message = bench.search_message(ORIGIN, read_ts=999, claimed=claimed)
        with pytest.raises(DeadlineExceeded):
            await bench.call(message, timeout_s=0.05)

    run(test, catch_up=catch_up, streamed=lambda log: streamed)


def test_an_unheard_leader_is_waited_for_where_storage_fails_too(run):
    async def catch_up(log: LogId) -> None:
        raise StorageError("the disk is away")

    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [1], line(1)))
        task = bench.background(bench.search(ORIGIN, read_ts=999))
        await bench.settle()
        bench.reader.apply_tick(LogId(0), bench.seq, Timestamp(1000))
        assert keys_of(await task) == [[1]]

    run(test, catch_up=catch_up, streamed=lambda log: False)


def test_closing_ends_reads_that_wait(run):
    async def test(bench: Bench) -> None:
        task = bench.background(bench.search(ORIGIN, read_ts=999))
        await bench.settle()
        await bench.reader.close()
        with pytest.raises(NotReady, match="shutting down"):
            await task

    run(test)


async def missed(bench: Bench) -> tuple[SegmentMeta, SegmentMeta]:
    """A reader with row 3 growing and rows 1, 2 and 6 in open segments; what it has not heard of
    yet: 1 was deleted, 4 inserted, all sealed, and the segment of 6 compacted with 6 deleted."""
    kept = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 2)), [50, 60])
    folded = await bench.segment(make_rows(bench.schema, [6], line(6)), [70])
    bench.checkpoint = 100
    bench.commit(bench.meta(), kept, folded)
    bench.write(make_rows(bench.schema, [3], line(3)))
    assert keys_of(await bench.search(ORIGIN, 9)) == [[1, 2, 3, 6]]
    return kept, folded


async def seal_missed(bench: Bench, folded: SegmentMeta) -> int:
    """Metadata that has sealed it; gives the entry that follows."""
    for key in (1, 6):
        bench.entry(bench.mutation(keys=[key]))
    bench.entry(bench.mutation(make_rows(bench.schema, [4], line(4))))
    bench.deletes = (await bench.delete_file([1], [120]),)
    sealed = await bench.segment(make_rows(bench.schema, [3, 4], line(3, 4)), [110, bench.now])
    bench.checkpoint = bench.now
    del bench.segments[folded.id]
    log = LogMeta(id=LogId(0), replay_from=bench.seq + 1, trimmed=bench.seq + 1)
    bench.commit(bench.meta(), sealed, log, deletes=(folded.key,))
    return bench.seq + 1


def test_after_a_gap_what_metadata_has_sealed_takes_the_place_of_the_log(run):
    async def test(bench: Bench) -> None:
        _, folded = await missed(bench)
        old = bench.at()
        next_seq = await seal_missed(bench, folded)
        await bench.reader.begin_again(LogId(0), next_seq)
        assert bench.reader.status().applied_seq == {0: next_seq - 1}
        for plan in (old, msgspec.structs.replace(old, growing=False)):
            with pytest.raises(StalePlan):
                await bench.search(ORIGIN, 9, at=plan)
        bench.write(make_rows(bench.schema, [5], line(5)))
        assert keys_of(await bench.search(ORIGIN, 9)) == [[2, 3, 4, 5]]
        assert (await bench.query(count=True)).count == 4
        assert bench.reader.status().growing_rows == {COLLECTION: 1}

    run(test)


def test_until_the_gap_is_made_up_for_reads_are_of_before(run):
    async def test(bench: Bench) -> None:
        _, folded = await missed(bench)
        old = bench.at()
        next_seq = await seal_missed(bench, folded)
        name = f"segments/{COLLECTION}/deletes/{bench.deletes[0].name}"
        data = await bench.store.get(name)
        await bench.store.delete(name)
        with pytest.raises(StorageError):
            await bench.reader.begin_again(LogId(0), next_seq)
        assert bench.reader.status().applied_seq == {0: 1}
        with pytest.raises(DeadlineExceeded):
            await bench.call(bench.search_message(ORIGIN), timeout_s=0.05)
        await bench.store.put(name, data)
        assert keys_of(await bench.search(ORIGIN, 9, at=old)) == [[1, 2, 3, 6]]
        await bench.reader.begin_again(LogId(0), next_seq)
        bench.reader.apply_tick(LogId(0), next_seq - 1, bench.now)
        assert keys_of(await bench.search(ORIGIN, 9)) == [[2, 3, 4]]

    run(test, config=ReaderConfig(quarantine_s=0.0))


def test_a_segment_that_is_being_opened_over_a_gap_gets_the_deletes_it_missed(run, monkeypatch):
    async def test(bench: Bench) -> None:
        _, folded = await missed(bench)
        late = await bench.segment(make_rows(bench.schema, [7, 8], line(7, 8)), [90, 95])
        bench.commit(late)
        store_get, held, begun = bench.store.get, asyncio.Event(), asyncio.Event()

        async def slow_get(key: str) -> bytes:
            if key.startswith(late.folder):
                begun.set()
                await held.wait()
            return await store_get(key)

        monkeypatch.setattr(bench.store, "get", slow_get)
        search = bench.background(bench.search(ORIGIN, 9, growing=False))
        await begun.wait()
        bench.deletes = (await bench.delete_file([7], [115]),)
        next_seq = await seal_missed(bench, folded)
        bench.deletes += (await bench.delete_file([7], [115]),)
        bench.commit(bench.meta())
        await bench.reader.begin_again(LogId(0), next_seq)
        bench.reader.apply_tick(LogId(0), next_seq - 1, bench.now)
        held.set()
        await asyncio.gather(search, return_exceptions=True)
        assert keys_of(await bench.search(ORIGIN, 9)) == [[2, 3, 4, 8]]

    run(test)


def test_entries_that_did_not_fit_and_were_trimmed_are_sealed_in_newer_metadata(run):
    async def test(bench: Bench) -> None:
        log = LogStore(bench.store, LogId(0))
        bench.start()
        for key in range(6):
            entry = bench.entry(bench.mutation(make_rows(bench.schema, [key], line(key))))
            if key > 3:
                await bench.store.create(log.key(entry.seq), encode_entry(entry))
            bench.reader.apply_entry(entry)
        bench.commit(bench.meta())
        await bench.settle()
        with pytest.raises(StalePlan):
            await bench.search(ORIGIN)
        sealed = await bench.segment(
            make_rows(bench.schema, [0, 1, 2, 3], line(0, 1, 2, 3)), [110, 120, 130, 140]
        )
        bench.checkpoint = 140
        bench.commit(bench.meta(), sealed, LogMeta(id=LogId(0), replay_from=5, trimmed=5))
        await bench.until(lambda: bench.reader.status().growing_rows == {COLLECTION: 2})
        assert keys_of(await bench.search(ORIGIN, 9)) == [[0, 1, 2, 3, 4, 5]]

    run(test, started=False, config=ReaderConfig(pending_bytes=1500))
