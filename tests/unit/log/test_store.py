from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from mishards.core.errors import CorruptObject, ObjectExists, ObjectNotFound, StorageError
from mishards.core.ids import EntrySeq, Epoch, LogId, NodeId, Timestamp
from mishards.core.runtime import SystemRuntime
from mishards.log.entry import Entry, TornEntry, encode_entry
from mishards.log.store import LogStore
from mishards.storage.layers.count import CountingStore
from mishards.storage.layers.fault import Fault, FaultScript, FaultyStore
from mishards.storage.memory import MemoryStore
from mishards.testing.expect import raises

LOG = LogId(4)


def entry(seq: int, epoch: int = 1, *, begins: bool = False, skips: tuple[int, ...] = ()) -> Entry:
    return Entry(
        log_id=LOG,
        seq=EntrySeq(seq),
        epoch=Epoch(epoch),
        timestamp=Timestamp(seq * 10),
        leader=NodeId("writer" if begins else ""),
        skips=tuple(EntrySeq(number) for number in skips),
    )


class Log:
    """A log in memory, with its objects at hand."""

    def __init__(self) -> None:
        self.objects = MemoryStore()
        self.counted = CountingStore(self.objects)
        self.log = LogStore(self.counted, LOG)

    async def append(self, *entries: Entry) -> None:
        for each in entries:
            await self.log.append(each)

    async def damage(self, seq: int, change: Callable[[bytes], bytes]) -> None:
        key = self.log.key(EntrySeq(seq))
        await self.objects.put(key, change(await self.objects.get(key)))

    async def tear(self, seq: int, keep: int = 30) -> None:
        await self.objects.put(self.log.key(EntrySeq(seq)), encode_entry(entry(seq))[:keep])

    async def read(self, seq: int = 1) -> list[int]:
        return [found.seq async for found, _ in self.log.read_from(EntrySeq(seq))]


def run(case: Callable[[Log], Awaitable[None]]) -> None:
    async def main() -> None:
        await case(Log())

    asyncio.run(main())


def test_entries_are_read_in_order_with_their_bytes() -> None:
    async def case(log: Log) -> None:
        written = [entry(seq) for seq in range(1, 13)]
        raws = [await log.log.append(each) for each in written]
        assert raws == [encode_entry(each) for each in written]
        found = [pair async for pair in log.log.read_from(EntrySeq(1))]
        assert found == list(zip(written, raws, strict=True))
        assert await log.read(11) == [11, 12]
        assert await log.read(13) == []

    run(case)


def test_a_taken_number_is_refused() -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1))
        error = await raises(ObjectExists, log.log.append(entry(1, 2)))
        assert "log/4/00000000000000000001" in error.message

    run(case)


def test_a_poll_without_news_is_one_listing() -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1), entry(2))
        log.counted.reset()
        assert await log.read(3) == []
        assert log.counted.calls == {"list": 1}
        assert await log.read(2) == [2]
        assert log.counted.calls == {"list": 2, "get_all": 1}

    run(case)


def test_a_long_log_is_read_in_a_few_calls() -> None:
    async def case(log: Log) -> None:
        await log.append(*(entry(seq) for seq in range(1, 301)))
        log.counted.reset()
        assert await log.read() == list(range(1, 301))
        assert log.counted.calls == {"list": 1, "get_all": 3}

    run(case)


def test_large_entries_are_read_a_few_at_a_time() -> None:
    async def case(log: Log) -> None:
        for seq in range(1, 6):
            await log.append(entry(seq))
            await log.damage(seq, lambda raw: raw + bytes(3 << 20))
        log.counted.reset()
        with pytest.raises(CorruptObject, match="00000000000000000001"):
            await log.read()
        assert log.counted.bytes_read < 4 << 20

    run(case)


def test_what_precedes_an_unreadable_entry_is_given_first() -> None:
    async def case(log: Log) -> None:
        await log.append(*(entry(seq) for seq in range(1, 6)))
        broken = Fault(error=StorageError)
        script = FaultScript().add(broken, operation="get", key=log.log.key(EntrySeq(4)), times=2)
        store = LogStore(FaultyStore(log.objects, script, SystemRuntime(seed=1)), LOG)
        found = []

        async def read() -> None:
            async for one, _ in store.read_from(EntrySeq(len(found) + 1)):
                found.append(one.seq)

        await raises(StorageError, read())
        assert found == [1, 2, 3]
        await read()
        assert found == [1, 2, 3, 4, 5]

    run(case)


def test_one_entry_is_read_or_absent() -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1))
        assert await log.log.read(EntrySeq(1)) == (entry(1), encode_entry(entry(1)))
        assert await log.log.read(EntrySeq(2)) is None

    run(case)


def test_the_last_number_is_found() -> None:
    async def case(log: Log) -> None:
        assert await log.log.last_seq(EntrySeq(1)) == 0
        await log.append(*(entry(seq) for seq in range(1, 12)))
        await log.objects.put("log/5/00000000000000000099", b"")
        await log.objects.put("log/40/00000000000000000099", b"")
        assert await log.log.last_seq(EntrySeq(1)) == 11
        assert await log.log.last_seq(EntrySeq(11)) == 11
        assert await log.log.last_seq(EntrySeq(12)) == 11

    run(case)


def test_a_trimmed_log_is_read_from_its_beginning_only() -> None:
    async def case(log: Log) -> None:
        await log.append(entry(5), entry(6))
        assert await log.read(5) == [5, 6]
        error = await raises(ObjectNotFound, log.read(3))
        assert "log/4/00000000000000000003" in error.message

    run(case)


def test_a_missing_entry_is_found_and_named() -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1), entry(2), entry(4))
        error = await raises(ObjectNotFound, log.read())
        assert "log/4/00000000000000000003" in error.message

    run(case)


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_damage_is_found_and_named_wherever_it_is(seq: int) -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1), entry(2), entry(3))
        await log.damage(seq, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
        error = await raises(CorruptObject, log.read())
        assert f"log/4/0000000000000000000{seq}" in error.message

    run(case)


def test_an_entry_in_the_wrong_place_is_corruption() -> None:
    async def case(log: Log) -> None:
        await log.objects.put(log.log.key(EntrySeq(2)), encode_entry(entry(1)))
        error = await raises(CorruptObject, log.log.read(EntrySeq(2)))
        assert "holds entry 1 of log 4" in error.message

    run(case)


def test_a_strange_object_in_the_folder_is_named() -> None:
    async def case(log: Log) -> None:
        await log.objects.put("log/4/notes.txt", b"")
        error = await raises(CorruptObject, log.read())
        assert "notes.txt" in error.message

    run(case)


def test_a_torn_last_entry_is_passed_over_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1), entry(2))
        await log.tear(3)
        with caplog.at_level(logging.WARNING):
            assert await log.read() == [1, 2]
            assert await log.read(3) == []
        assert len(caplog.records) == 1
        assert "log/4/00000000000000000003" in caplog.text

    run(case)


def test_the_next_leader_goes_on_behind_a_torn_entry() -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1, begins=True), entry(2))
        assert await log.log.next_free(EntrySeq(2)) == (3, ())
        await log.tear(3)
        assert await log.log.next_free(EntrySeq(2)) == (4, (3,))
        await log.append(entry(4, 2, begins=True, skips=(3,)), entry(5, 2))
        assert await log.read() == [1, 2, 4, 5]
        assert await log.read(3) == [4, 5]

    run(case)


def test_several_torn_entries_are_skipped_together() -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1))
        await log.tear(2)
        await log.tear(3, keep=0)
        assert await log.log.next_free(EntrySeq(1)) == (4, (2, 3))
        await log.append(entry(4, 3, begins=True, skips=(2, 3)))
        assert await log.read() == [1, 4]

    run(case)


@pytest.mark.parametrize(
    "behind",
    [
        entry(3),
        entry(3, 2, begins=True),
        entry(3, 2, skips=(2,)),
        entry(3, 2, begins=True, skips=(1,)),
    ],
    ids=["same epoch", "not named", "begins no epoch", "another named"],
)
def test_a_torn_entry_that_the_next_does_not_skip_is_corruption(behind: Entry) -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1))
        await log.tear(2)
        await log.append(behind)
        error = await raises(CorruptObject, log.read())
        assert "log/4/00000000000000000002" in error.message

    run(case)


def test_a_leader_that_was_overtaken_is_told() -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1), entry(2, 2, begins=True))
        await raises(ObjectExists, log.log.next_free(EntrySeq(1)))
        await log.tear(3)
        await log.append(entry(4, 3, begins=True, skips=(3,)))
        await raises(ObjectExists, log.log.next_free(EntrySeq(2)))

    run(case)


def test_a_damaged_last_entry_stops_the_next_leader() -> None:
    async def case(log: Log) -> None:
        await log.append(entry(1), entry(2))
        await log.damage(2, lambda data: data[:-1] + bytes([data[-1] ^ 128]))
        error = await raises(CorruptObject, log.log.next_free(EntrySeq(1)))
        assert not isinstance(error, TornEntry)

    run(case)
