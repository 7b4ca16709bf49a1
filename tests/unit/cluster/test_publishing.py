import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from mishards.cluster.publishing import LogPublisher
from mishards.core.errors import MetadataUnavailable, NotLeader, Unavailable
from mishards.core.ids import EntrySeq, LogId, MetadataVersion, Timestamp
from mishards.rpc.messages import Follow, LogPush, MetadataPush, Reply, Tick
from mishards.testing.expect import raises
from mishards.testing.waiting import until

Play = Callable[[Any], None]


def _follow(seq: int = 1, version: int = 0, *, entries: bool = True) -> Follow:
    return Follow(
        log=LogId(0), seq=EntrySeq(seq), version=MetadataVersion(version), entries=entries
    )


def _stream(world: Any, publisher: LogPublisher, follow: Follow) -> Any:
    return aclosing(publisher.stream(follow, world.log, world.metadata))  # type: ignore[type-var]


async def _take(stream: AsyncIterator[Reply], count: int) -> list[Reply]:
    return [await anext(stream) for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_followers_get_each_entry_once_whenever_they_come(play: Play, seed: int) -> None:
    async def scene(world: Any) -> None:
        world.runtime.random.seed(seed)
        chance = world.runtime.random
        publisher = LogPublisher(world.runtime, LogId(0))
        last = 60

        async def turns() -> None:
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)

        async def write() -> None:
            while world.seq < last:
                entry, raw = await world.append()
                await turns()
                publisher.publish_entry(entry, raw)
                await turns()

        async def read(first: int) -> list[int]:
            seen: list[int] = []
            async with _stream(world, publisher, _follow(first)) as stream:
                while not seen or seen[-1] < last:
                    push = await anext(stream)
                    if isinstance(push, LogPush):
                        assert len(push.entry) > 0
                        seen.append(push.seq)
            return seen

        async def reader() -> None:
            await until(lambda: world.seq >= chance.randrange(last))
            first = chance.randrange(1, world.seq + 2)
            assert await read(first) == [*range(first, last + 1)]

        await asyncio.gather(write(), *(reader() for _ in range(10)))
        assert publisher.followers == 0

    play(scene)


def test_a_new_follower_hears_the_newest_time(play: Play) -> None:
    async def scene(world: Any) -> None:
        publisher = LogPublisher(world.runtime, LogId(0))
        entry, raw = await world.append()
        publisher.publish_entry(entry, raw)
        publisher.publish_tick(EntrySeq(1), Timestamp(99))
        async with _stream(world, publisher, _follow()) as stream:
            push, tick = await _take(stream, 2)
        assert push == LogPush(seq=EntrySeq(1), timestamp=Timestamp(10), entry=raw)
        assert tick == Tick(seq=EntrySeq(1), timestamp=Timestamp(99))

    play(scene)


def test_ticks_that_wait_become_the_newest_one(play: Play) -> None:
    async def scene(world: Any) -> None:
        publisher = LogPublisher(world.runtime, LogId(0), queue_items=2)
        publisher.publish_tick(EntrySeq(0), Timestamp(1))
        async with _stream(world, publisher, _follow()) as stream:
            await anext(stream)
            for timestamp in range(2, 1000):
                publisher.publish_tick(EntrySeq(0), Timestamp(timestamp))
            assert await anext(stream) == Tick(seq=EntrySeq(0), timestamp=Timestamp(999))

    play(scene)


@pytest.mark.parametrize("limits", [{"queue_items": 5}, {"queue_bytes": 600}])
def test_a_slow_follower_is_cut_off_and_a_fast_one_is_not(
    play: Play, limits: dict[str, int]
) -> None:
    async def scene(world: Any) -> None:
        publisher = LogPublisher(world.runtime, LogId(0), **limits)  # type: ignore[arg-type]
        publisher.publish_tick(EntrySeq(0), Timestamp(1))
        async with (
            _stream(world, publisher, _follow()) as slow,
            _stream(world, publisher, _follow()) as fast,
        ):
            await _take(slow, 1)
            await _take(fast, 1)
            for number in range(20):
                entry, raw = await world.append()
                publisher.publish_entry(entry, raw)
                assert (await anext(fast)).seq == number + 1
            error = await raises(Unavailable, anext(slow))
            assert "behind" in error.message
        assert publisher.followers == 0
        async with _stream(world, publisher, _follow()) as again:
            pushes = await _take(again, 20)
        assert [push.seq for push in pushes if isinstance(push, LogPush)] == [*range(1, 21)]

    play(scene)


def test_metadata_comes_first_when_the_follower_is_behind(play: Play) -> None:
    async def scene(world: Any) -> None:
        publisher = LogPublisher(world.runtime, LogId(0))
        for _ in range(3):
            publisher.publish_changes(await world.commit())
        async with _stream(world, publisher, _follow(version=1, entries=False)) as stream:
            push = await anext(stream)
            assert isinstance(push, MetadataPush)
            assert (push.changes.since, push.changes.version) == (1, 3)
            publisher.publish_changes(await world.commit())
            push = await anext(stream)
            assert isinstance(push, MetadataPush)
            assert (push.changes.since, push.changes.version) == (3, 4)

    play(scene)


def test_who_is_up_to_date_is_served_while_the_metadata_store_is_down(play: Play) -> None:
    async def scene(world: Any) -> None:
        publisher = LogPublisher(world.runtime, LogId(0))
        publisher.publish_changes(await world.commit())
        publisher.publish_tick(EntrySeq(0), Timestamp(1))
        world.metadata.error = MetadataUnavailable("down")
        async with _stream(world, publisher, _follow(version=1)) as stream:
            assert isinstance(await anext(stream), Tick)
        async with _stream(world, publisher, _follow(version=0)) as stream:
            await raises(MetadataUnavailable, anext(stream))
        assert publisher.followers == 0

    play(scene)


def test_without_entries_positions_are_sent(play: Play) -> None:
    async def scene(world: Any) -> None:
        publisher = LogPublisher(world.runtime, LogId(0))
        entry, raw = await world.append()
        publisher.publish_entry(entry, raw)
        async with _stream(world, publisher, _follow(entries=False)) as stream:
            assert await anext(stream) == Tick(seq=EntrySeq(1), timestamp=Timestamp(10))
            entry, raw = await world.append()
            publisher.publish_entry(entry, raw)
            assert await anext(stream) == Tick(seq=EntrySeq(2), timestamp=Timestamp(20))

    play(scene)


def test_closing_ends_all_streams(play: Play) -> None:
    async def scene(world: Any) -> None:
        publisher = LogPublisher(world.runtime, LogId(0))
        publisher.publish_tick(EntrySeq(0), Timestamp(1))
        async with _stream(world, publisher, _follow()) as stream:
            await anext(stream)
            waiting = asyncio.create_task(_take(stream, 1))
            publisher.close()
            await raises(NotLeader, waiting)
        async with _stream(world, publisher, _follow()) as late:
            await anext(late)
            await raises(NotLeader, anext(late))

    play(scene)
