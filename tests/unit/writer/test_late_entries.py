"""Entries that a standby's mount lists before it lets them be read."""

from __future__ import annotations

import asyncio

from mishards.core.errors import CorruptObject, ObjectExists, ObjectNotFound, StorageError
from mishards.core.ids import EntrySeq, Epoch, LogId, NodeId, Timestamp
from mishards.log.entry import Entry
from mishards.log.store import LogStore
from mishards.metadata.memory import MemoryMetadataStore
from mishards.storage.memory import MemoryStore
from mishards.storage.protocol import ObjectInfo
from mishards.testing.expect import raises
from mishards.testing.stepped import SteppedRuntime
from mishards.testing.waiting import until
from mishards.writer.config import WriterConfig
from mishards.writer.standby import LATE_S, Standby
from mishards.writer.takeover import take_leadership

LOG = LogId(0)


class LateStore(MemoryStore):
    """Knows names before their files, or neither for now."""

    def __init__(self) -> None:
        super().__init__()
        self.unread: set[str] = set()
        self.unseen: set[str] = set()

    async def get(self, key: str) -> bytes:
        if key in self.unread | self.unseen:
            raise ObjectNotFound(f"object {key!r} does not exist")
        return await super().get(key)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        found = await super().list(prefix, start_after)
        return [info for info in found if info.key not in self.unseen]


class Scene:
    def __init__(self) -> None:
        self.runtime = SteppedRuntime()
        self.store = LateStore()
        self.log = LogStore(self.store, LOG)
        self.metadata = MemoryMetadataStore()
        self.standby = Standby(self.runtime, WriterConfig(), self.log, LOG, self.metadata)

    async def append(self, seq: int) -> str:
        entry = Entry(log_id=LOG, seq=EntrySeq(seq), epoch=Epoch(1), timestamp=Timestamp(seq * 10))
        await self.log.append(entry)
        return self.log.key(entry.seq)


def test_an_entry_that_is_listed_and_not_there_is_waited_for() -> None:
    async def case() -> None:
        scene = Scene()
        for seq in (1, 2, 3):
            scene.store.unread = {await scene.append(seq)}
        scene.store.unread = {scene.log.key(EntrySeq(2))}
        for _ in range(3):
            error = await raises(StorageError, scene.standby.keep_up())
            assert not isinstance(error, CorruptObject)
            assert scene.log.key(EntrySeq(2)) in error.message
            assert scene.standby.replay.next_seq == 2
            scene.runtime.advance(LATE_S / 4)
        scene.store.unread = set()
        await scene.standby.keep_up()
        assert scene.standby.replay.next_seq == 4
        await scene.runtime.close()

    asyncio.run(case())


def test_an_entry_that_stays_away_is_damage() -> None:
    async def case() -> None:
        scene = Scene()
        for seq in (1, 2):
            await scene.append(seq)
        scene.store.unread = {scene.log.key(EntrySeq(1))}
        await raises(StorageError, scene.standby.keep_up())
        scene.runtime.advance(LATE_S)
        error = await raises(CorruptObject, scene.standby.keep_up())
        assert scene.log.key(EntrySeq(1)) in error.message
        await scene.runtime.close()

    asyncio.run(case())


def test_a_takeover_waits_for_an_entry_that_takes_its_place_unseen() -> None:
    async def case() -> None:
        scene = Scene()
        await scene.append(1)
        scene.store.unseen = {await scene.append(2)}
        taking = asyncio.ensure_future(
            take_leadership(
                scene.runtime,
                WriterConfig(),
                scene.log,
                LOG,
                scene.metadata,
                NodeId("w2"),
                scene.standby,
            )
        )
        for _ in range(3):
            await until(lambda: scene.runtime.sleepers or taking.done())
            assert not taking.done()
            scene.runtime.advance(1.0)
        scene.store.unseen = set()
        await until(lambda: scene.runtime.sleepers or taking.done())
        scene.runtime.advance(1.0)
        reign = await taking
        assert reign.fences == (2, 3)
        await raises(ObjectExists, scene.append(3))
        await scene.runtime.close()

    asyncio.run(case())
