import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from mishards.cluster.following import LogFollower
from mishards.cluster.membership import Membership
from mishards.cluster.metadata_following import MetadataFollower
from mishards.cluster.publishing import LogPublisher
from mishards.core.errors import MishardsError, NotLeader
from mishards.core.ids import (
    DatabaseId,
    EntrySeq,
    Epoch,
    LogId,
    MetadataVersion,
    NodeId,
    Timestamp,
)
from mishards.core.runtime import SystemRuntime
from mishards.discovery.memory import MemoryRegistry
from mishards.discovery.protocol import NodeInfo
from mishards.log.entry import Entry
from mishards.log.store import LogStore
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.models import DatabaseMeta, LogMeta, encode
from mishards.metadata.protocol import Changes
from mishards.rpc.memory import MemoryTransport
from mishards.rpc.messages import Follow, Message, Reply
from mishards.rpc.protocol import CallContext, Listener
from mishards.storage.memory import MemoryStore

LOG = LogId(0)


class FaultyStore(MemoryStore):
    """Fails while `error` is set; every read gives other tasks a turn."""

    error: MishardsError | None = None
    gets = 0

    async def get(self, key: str) -> bytes:
        self.gets += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return await super().get(key)


class FaultyMetadata(MemoryMetadataStore):
    """Fails while `error` is set."""

    error: MishardsError | None = None
    asked = 0

    async def version(self) -> MetadataVersion:
        self._check()
        return await super().version()

    async def changes(self, since: MetadataVersion) -> Changes:
        self._check()
        return await super().changes(since)

    def _check(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


class Sink:
    """Remembers what was applied, and refuses what comes out of order."""

    def __init__(self, first: int = 1) -> None:
        self.next_seq = first
        self.entries: list[Entry] = []
        self.ticks: list[tuple[int, int]] = []
        self.version = 0
        self.records: dict[str, bytes] = {}
        self.skipped: list[tuple[int, int]] = []
        self.error: MishardsError | None = None

    def apply_entry(self, entry: Entry) -> None:
        assert entry.seq == self.next_seq
        self.next_seq += 1
        self.entries.append(entry)

    def apply_changes(self, changes: Changes) -> None:
        assert changes.since <= self.version < changes.version
        self.version = changes.version
        self.records.update(changes.puts)

    async def begin_again(self, log: LogId, next_seq: EntrySeq) -> None:
        assert log == LOG
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        assert next_seq > self.next_seq
        self.skipped.append((self.next_seq, next_seq))
        self.next_seq = next_seq

    def apply_tick(self, log: LogId, seq: EntrySeq, timestamp: Timestamp) -> None:
        assert log == LOG
        self.ticks.append((seq, timestamp))


class Leader:
    """A writer as far as following goes."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.publisher = LogPublisher(world.runtime, LOG)
        self.listener: Listener | None = None
        self.mute = False

    async def start(self) -> None:
        self.listener = await self.world.transport.listen(f"mem://{self.name}", self)
        await self.world.announce(self.name, leads=(0,))

    async def die(self) -> None:
        assert self.listener is not None
        await self.listener.close()

    async def write(self, *, publish: bool = True) -> Entry:
        entry, raw = await self.world.append()
        if publish:
            self.publisher.publish_entry(entry, raw)
        return entry

    async def commit(self, *, publish: bool = True) -> Changes:
        changes = await self.world.commit()
        if publish:
            self.publisher.publish_changes(changes)
        return changes

    async def handle(self, message: Message, context: CallContext) -> Reply:
        raise NotImplementedError

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        return None

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        assert isinstance(message, Follow)
        if self.mute:
            raise NotLeader(f"{self.name} does not lead")
        return self.publisher.stream(message, self.world.log, self.world.metadata)


class World:
    """Everything a follower and its leaders reach."""

    def __init__(self) -> None:
        self.runtime = SystemRuntime(seed=1, threads=1)
        self.transport = MemoryTransport(self.runtime)
        self.registry = MemoryRegistry(self.runtime, ttl_s=1000)
        self.membership = Membership(self.runtime, self.registry, 1000)
        self.store = FaultyStore()
        self.metadata = FaultyMetadata()
        self.log = LogStore(self.store, LOG)
        self.seq = 0
        self.leaders: list[Leader] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def announce(self, name: str, leads: tuple[int, ...]) -> None:
        node = NodeInfo(id=NodeId(name), roles=("writer",), address=f"mem://{name}", leads=leads)
        await self.registry.announce(node)
        await self.membership.refresh()

    async def lead(self, name: str) -> Leader:
        leader = Leader(self, name)
        self.leaders.append(leader)
        await leader.start()
        return leader

    async def append(self) -> tuple[Entry, bytes]:
        self.seq += 1
        entry = Entry(
            log_id=LOG,
            seq=EntrySeq(self.seq),
            epoch=Epoch(1),
            timestamp=Timestamp(self.seq * 10),
        )
        return entry, await self.log.append(entry)

    async def commit(self) -> Changes:
        held = await self._epoch()
        return await self.metadata.commit(LOG, Epoch(1), held, self._record(held))

    def _record(self, version: int) -> dict[str, bytes]:
        database = DatabaseMeta(id=DatabaseId(version + 1), name=f"d{version + 1}")
        return {database.key: encode(database)}

    async def trim(self, first: int, *, say: bool = True) -> None:
        """Remove the entries before `first`; the metadata says so, or not."""
        if say:
            meta = LogMeta(id=LOG, replay_from=EntrySeq(first), trimmed=EntrySeq(first))
            held = await self._epoch()
            await self.metadata.commit(LOG, Epoch(1), held, {meta.key: encode(meta)})
        await self.log.remove([EntrySeq(seq) for seq in range(1, first)])

    async def _epoch(self) -> MetadataVersion:
        if not await self.metadata.epoch(LOG):
            await self.metadata.begin_epoch(LOG, Epoch(1))
        return await MemoryMetadataStore.version(self.metadata)

    def follower(self, sink: Sink, *, entries: bool = True, silence_s: float = 10) -> LogFollower:
        return LogFollower(
            self.runtime,
            self.transport,
            self.membership,
            self.log if entries else None,
            MetadataFollower(self.metadata, sink, MetadataVersion(sink.version)),
            sink,
            LOG,
            EntrySeq(sink.next_seq),
            poll_s=0.001,
            silence_s=silence_s,
        )

    def run(self, follower: LogFollower) -> asyncio.Task[None]:
        task = asyncio.create_task(follower.run())
        self.tasks.append(task)
        return task

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.membership.close()
        await self.transport.close()
        for leader in self.leaders:
            await leader.die()
        await self.runtime.close()


Scene = Callable[[World], Coroutine[Any, Any, None]]


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def play() -> Callable[[Scene], None]:
    """Runs a scene in a world, within a time limit, and leaves nothing behind."""

    def run(scene: Scene) -> None:
        async def work() -> None:
            world = World()
            try:
                async with asyncio.timeout(20):
                    await scene(world)
            finally:
                await world.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(work())

    return run
