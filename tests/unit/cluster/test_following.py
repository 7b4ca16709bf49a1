import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from mishards.core.errors import (
    CorruptObject,
    MetadataUnavailable,
    ObjectNotFound,
    StorageError,
)
from mishards.core.ids import EntrySeq, MetadataVersion, Timestamp
from mishards.metadata.protocol import Changes
from mishards.rpc.messages import LogPush
from mishards.testing.expect import raises
from mishards.testing.waiting import until

Play = Callable[[Any], None]


def test_without_a_leader_storage_and_metadata_are_polled(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        follower = world.follower(sink)
        world.run(follower)
        for count in (3, 5):
            for _ in range(count):
                await world.append()
            await world.commit()
            await until(lambda: sink.next_seq > world.seq)
            await until(lambda: sink.version == len(sink.records))
        assert follower.next_seq == 9
        assert follower.leader is None
        assert sink.version == 2

    play(scene)


def test_with_a_leader_its_stream_brings_everything(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        await world.append()
        await world.commit()
        leader = await world.lead("w")
        leader.publisher.publish_tick(EntrySeq(1), Timestamp(11))
        follower = world.follower(sink)
        world.run(follower)
        await until(lambda: sink.ticks == [(1, 11)])
        assert sink.version == 1
        gets, asked = world.store.gets, world.metadata.asked
        for _ in range(20):
            await leader.write()
        await leader.commit()
        leader.publisher.publish_tick(EntrySeq(21), Timestamp(999))
        await until(lambda: (21, 999) in sink.ticks)
        assert sink.next_seq == 22
        assert sink.version == 2
        assert follower.leader.id == "w"
        assert (world.store.gets, world.metadata.asked) == (gets, asked)

    play(scene)


def test_a_follower_without_a_log_gets_positions_and_metadata(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        leader = await world.lead("w")
        await leader.write()
        world.run(world.follower(sink, entries=False))
        await until(lambda: sink.ticks)
        await leader.write()
        await leader.commit()
        await until(lambda: sink.version == 1)
        assert sink.ticks == [(1, 10), (2, 20)]
        assert sink.entries == []
        assert world.store.gets == 0

    play(scene)


def test_leaders_come_and_go_without_gap_or_double(play: Play, sink: Any) -> None:
    """The sink refuses a gap and a double; some entries are published, some only stored."""

    async def scene(world: Any) -> None:
        follower = world.follower(sink)
        world.run(follower)
        chance = world.runtime.random
        for reign in range(8):
            leader = await world.lead(f"w{reign}")
            leader.publisher.publish_tick(EntrySeq(world.seq), Timestamp(world.seq * 10))
            await until(lambda name=leader.name: follower.leader and follower.leader.id == name)
            for _ in range(25):
                await leader.write(publish=chance.random() < 0.9)
                if chance.random() < 0.3:
                    await leader.commit(publish=chance.random() < 0.7)
                for _turn in range(chance.randrange(4)):
                    await asyncio.sleep(0)
            leader.publisher.publish_tick(EntrySeq(world.seq), Timestamp(world.seq * 10 + 1))
            await leader.die()
            await world.registry.withdraw(f"w{reign}")
            await world.membership.refresh()
        version = await world.metadata.version()
        await until(lambda: sink.next_seq > world.seq and sink.version == version)
        assert len(sink.entries) == 200
        assert len(sink.records) == version

    play(scene)


def test_a_gap_in_the_stream_is_filled_from_storage(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        leader = await world.lead("w")
        await leader.write()
        follower = world.follower(sink)
        world.run(follower)
        await until(lambda: follower.leader is not None)
        await leader.write(publish=False)
        await leader.write(publish=False)
        await leader.write()
        await until(lambda: sink.next_seq == 5)
        assert follower.leader is not None

    play(scene)


def test_a_gap_that_storage_does_not_have_breaks_the_stream(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        leader = await world.lead("w")
        await leader.write()
        follower = world.follower(sink)
        world.run(follower)
        await until(lambda: sink.ticks)
        leader.publisher.publish_tick(EntrySeq(7), Timestamp(99))
        await until(lambda: follower.leader is None)
        assert (7, 99) not in sink.ticks

    play(scene)


def test_a_damaged_push_is_read_from_storage(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        leader = await world.lead("w")
        await leader.write()
        follower = world.follower(sink)
        world.run(follower)
        await until(lambda: follower.leader is not None)
        entry, raw = await world.append()
        leader.publisher.publish_entry(entry, raw[:-1] + b"\xff\xff")
        await until(lambda: sink.next_seq == 3)
        assert follower.failed is None

    play(scene)


def test_a_damaged_entry_on_storage_ends_the_follower(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        await world.append()
        await world.store.put(world.log.key(1), b"MSLG and then nothing that makes sense" * 3)
        follower = world.follower(sink)
        error = await raises(CorruptObject, follower.run())
        assert world.log.key(1) in error.message
        assert follower.failed is error
        await raises(CorruptObject, follower.catch_up())

    play(scene)


def test_outages_are_outlived_and_said_once(
    play: Play, sink: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(world: Any) -> None:
        world.store.error = StorageError("storage stalls")
        world.metadata.error = MetadataUnavailable("database is down")
        await world.append()
        task = world.run(world.follower(sink))
        await until(lambda: world.metadata.asked > 5)
        assert not task.done()
        world.store.error = world.metadata.error = None
        await world.commit()
        await until(lambda: sink.next_seq == 2 and sink.version == 1)

    with caplog.at_level(logging.INFO, logger="mishards.cluster"):
        play(scene)
    said = [record.getMessage() for record in caplog.records]
    assert sum("storage stalls" in line for line in said) == 1
    assert sum("database is down" in line for line in said) == 1
    assert sum("can be read again" in line for line in said) == 2


def test_a_leader_that_cannot_be_followed_is_tried_again(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        leader = await world.lead("w")
        leader.mute = True
        follower = world.follower(sink)
        world.run(follower)
        await leader.write()
        await until(lambda: sink.next_seq == 2)
        assert follower.leader is None
        leader.mute = False
        await until(lambda: follower.leader is not None)

    play(scene)


def test_a_silent_stream_counts_as_broken(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        leader = await world.lead("w")
        await leader.write()
        follower = world.follower(sink, silence_s=0.02)
        world.run(follower)
        await until(lambda: follower.leader is not None)
        await leader.write(publish=False)
        await until(lambda: sink.next_seq == 3)

    play(scene)


def test_the_time_of_a_leader_that_is_behind_storage_is_not_believed(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        leader = await world.lead("w")
        await leader.write()
        follower = world.follower(sink)
        world.run(follower)
        await until(lambda: follower.leader is not None)
        await leader.write(publish=False)
        await follower.catch_up()
        leader.publisher.publish_tick(EntrySeq(1), Timestamp(999))
        leader.publisher.publish_tick(EntrySeq(2), Timestamp(1000))
        await until(lambda: (2, 1000) in sink.ticks)
        assert (1, 999) not in sink.ticks

    play(scene)


def test_a_gap_of_metadata_versions_is_read_from_the_store(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        leader = await world.lead("w")
        await leader.write()
        follower = world.follower(sink)
        world.run(follower)
        await until(lambda: follower.leader is not None)
        await leader.commit(publish=False)
        await leader.commit()
        await until(lambda: sink.version == 2)
        assert set(sink.records) == {"database/1", "database/2"}
        leader.publisher.publish_changes(Changes(MetadataVersion(0), MetadataVersion(1)))
        await leader.commit()
        await until(lambda: sink.version == 3)

    play(scene)


def test_catching_up_reads_what_was_durable_when_it_was_asked_for(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        follower = world.follower(sink)
        for _ in range(10):
            await world.append()
        first = asyncio.create_task(follower.catch_up())
        await until(lambda: sink.next_seq > 5)
        await world.append()
        later = [asyncio.create_task(follower.catch_up()) for _ in range(5)]
        await asyncio.gather(*later)
        assert first.done()
        assert sink.next_seq == 12
        assert world.store.gets == 11

    play(scene)


def test_catching_up_says_when_storage_cannot_be_read(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        await world.append()
        world.store.error = StorageError("storage stalls")
        follower = world.follower(sink)
        await raises(StorageError, follower.catch_up())
        assert follower.failed is None
        world.store.error = None
        await follower.catch_up()
        assert follower.next_seq == 2

    play(scene)


def test_an_entry_pushed_without_its_bytes_is_read_from_storage(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        leader = await world.lead("w")
        await leader.write()
        follower = world.follower(sink)
        world.run(follower)
        await until(lambda: follower.leader is not None)
        entry, _ = await world.append()
        leader.publisher._put(LogPush(seq=entry.seq, timestamp=entry.timestamp), 0)
        await until(lambda: sink.next_seq == 3)

    play(scene)


def test_a_position_that_was_trimmed_is_left_for_what_metadata_says(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        follower = world.follower(sink)
        await world.append()
        await follower.catch_up()
        for _ in range(8):
            await world.append()
        await world.trim(6)
        await follower.catch_up()
        assert sink.skipped == [(2, 6)]
        assert [entry.seq for entry in sink.entries] == [1, 6, 7, 8, 9]
        assert follower.next_seq == 10
        assert sink.version == 1

    play(scene)


def test_a_trimmed_position_is_left_though_the_metadata_was_there_before(
    play: Play, sink: Any
) -> None:
    async def scene(world: Any) -> None:
        for _ in range(8):
            await world.append()
        await world.trim(5)
        sink.apply_changes(await world.metadata.changes(MetadataVersion(0)))
        follower = world.follower(sink)
        world.run(follower)
        await until(lambda: sink.next_seq == 9)
        assert sink.skipped == [(1, 5)]

    play(scene)


def test_a_stream_does_not_lead_around_what_was_trimmed(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        for _ in range(8):
            await world.append()
        await world.trim(5)
        leader = await world.lead("w")
        world.run(world.follower(sink))
        await until(lambda: sink.next_seq == 9)
        await leader.write()
        await until(lambda: sink.next_seq == 10)
        assert sink.skipped == [(1, 5)]

    play(scene)


def test_a_hole_that_metadata_does_not_explain_stops_the_reading_alone(
    play: Play, sink: Any
) -> None:
    async def scene(world: Any) -> None:
        for _ in range(8):
            await world.append()
        await world.trim(5, say=False)
        follower = world.follower(sink)
        with pytest.raises(ObjectNotFound):
            await follower.catch_up()
        assert (sink.entries, follower.failed) == ([], None)
        await world.trim(5)
        await follower.catch_up()
        assert sink.next_seq == 9

    play(scene)


def test_beginning_again_is_repeated_until_it_succeeds(play: Play, sink: Any) -> None:
    async def scene(world: Any) -> None:
        for _ in range(8):
            await world.append()
        await world.trim(5)
        follower = world.follower(sink)
        world.metadata.error = MetadataUnavailable("down")
        with pytest.raises(MetadataUnavailable):
            await follower.catch_up()
        world.metadata.error = None
        sink.error = StorageError("a file cannot be read")
        with pytest.raises(StorageError):
            await follower.catch_up()
        assert follower.next_seq == 1
        sink.error = None
        await follower.catch_up()
        assert sink.skipped == [(1, 5)]
        assert sink.next_seq == 9

    play(scene)
