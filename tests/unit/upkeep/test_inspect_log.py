"""What is damage in a log, and what only looks like it."""

import asyncio
from collections.abc import Awaitable, Callable

from mishards.core.ids import EntrySeq, Epoch, LogId, NodeId, Timestamp
from mishards.core.runtime import SystemRuntime
from mishards.log.entry import Entry
from mishards.log.store import LogStore
from mishards.storage.memory import MemoryStore
from mishards.upkeep.inspect_log import LogInspection
from mishards.upkeep.reading import PacedReader

LOG = LogId(3)


class Place:
    """A log of entries, of which those before `replay_from` are sealed."""

    def __init__(self, runtime: SystemRuntime) -> None:
        self.runtime = runtime
        self.store = MemoryStore()
        self.log = LogStore(self.store, LOG)

    async def write(self, *seqs: int, leader: str = "", skips: tuple[int, ...] = ()) -> None:
        for seq in seqs:
            await self.log.append(
                Entry(
                    log_id=LOG,
                    seq=EntrySeq(seq),
                    epoch=Epoch(1),
                    timestamp=Timestamp(seq),
                    leader=NodeId(leader),
                    skips=tuple(EntrySeq(one) for one in skips),
                )
            )

    async def tear(self, seq: int) -> None:
        key = self.log.key(EntrySeq(seq))
        await self.store.put(key, (await self.store.get(key))[:-3])

    async def flip(self, seq: int) -> None:
        key = self.log.key(EntrySeq(seq))
        data = bytearray(await self.store.get(key))
        data[-1] ^= 1
        await self.store.put(key, bytes(data))

    async def inspect(self, replay_from: int, *, deep: bool = False) -> LogInspection:
        reader = PacedReader(self.runtime, self.store)
        found = LogInspection(self.store, reader, LOG, EntrySeq(replay_from))
        await found.inspect(deep=deep)
        return found


def run(case: Callable[[Place], Awaitable[None]]) -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        try:
            await case(Place(runtime))
        finally:
            await runtime.close()

    asyncio.run(main())


def messages(found: LogInspection) -> list[str]:
    return [finding.message for finding in found.findings]


def test_a_sound_log_of_which_the_beginning_was_trimmed() -> None:
    async def case(place: Place) -> None:
        await place.write(1, 4, 5, 6, 7)
        found = await place.inspect(5)
        assert (messages(found), found.entries) == ([], 3)
        found = await place.inspect(5, deep=True)
        assert (messages(found), found.entries) == ([], 5)

    run(case)


def test_an_empty_log() -> None:
    async def case(place: Place) -> None:
        found = await place.inspect(1)
        assert (messages(found), found.notes, found.entries) == ([], [], 0)

    run(case)


def test_a_gap_is_named() -> None:
    async def case(place: Place) -> None:
        await place.write(1, 2, 4)
        assert "missing, and so are all before entry 4" in messages(await place.inspect(1))[0]
        assert place.log.key(EntrySeq(3)) in messages(await place.inspect(1))[0]
        assert len(messages(await place.inspect(3))) == 1
        assert messages(await place.inspect(4)) == []

    run(case)


def test_a_flipped_bit_is_named_and_the_rest_read() -> None:
    async def case(place: Place) -> None:
        await place.write(1, 2, 3)
        await place.flip(2)
        found = await place.inspect(1)
        assert place.log.key(EntrySeq(2)) in messages(found)[0]
        assert found.entries == 2
        assert messages(await place.inspect(3)) == []
        assert len(messages(await place.inspect(3, deep=True))) == 1

    run(case)


def test_a_torn_end_is_no_damage() -> None:
    async def case(place: Place) -> None:
        await place.write(1, 2)
        await place.tear(2)
        found = await place.inspect(1)
        assert messages(found) == []
        assert place.log.key(EntrySeq(2)) in found.notes[0]

    run(case)


def test_a_torn_entry_that_a_leader_skipped_is_no_damage_and_another_is() -> None:
    async def case(place: Place) -> None:
        await place.write(1, 2)
        await place.tear(2)
        await place.write(3, leader="w", skips=(2,))
        assert messages(await place.inspect(1)) == []
        await place.write(4, 5)
        await place.tear(4)
        assert "entry 5 does not skip it" in messages(await place.inspect(1))[0]

    run(case)


def test_a_foreign_object_is_named() -> None:
    async def case(place: Place) -> None:
        await place.store.put("log/3/notes", b"x")
        assert messages(await place.inspect(1)) == ["object 'log/3/notes' is no log entry"]

    run(case)
