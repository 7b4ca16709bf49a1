"""The metadata journal: what was committed can be replayed, whoever died at which step."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.core.errors import (
    CorruptObject,
    MetadataBehind,
    MetadataConflict,
    MetadataUnavailable,
    MishardsError,
    StorageError,
)
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.metadata.journal import Journal
from mishards.metadata.journal_format import (
    JournalEntry,
    JournalSnapshot,
    TornJournal,
    decode_entry,
    decode_snapshot,
    encode_journal,
)
from mishards.metadata.journaled import JournaledMetadata
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.models import LogMeta, encode
from mishards.metadata.protocol import Changes
from mishards.metadata.replay import replay
from mishards.storage.memory import MemoryStore

T = TypeVar("T")
KEYS = tuple(f"key/{number}" for number in range(6))
LOGS = (LogId(0), LogId(1))


class Dead(BaseException):
    """The process that made this call is gone."""


class OneThread(SystemRuntime):
    """Runs what blocks in place, so that everything follows from the seed."""

    async def blocking(self, work: Callable[..., T], /, *args: Any) -> T:
        return work(*args)


class Moment(NamedTuple):
    """The database right after a commit."""

    records: dict[str, bytes]
    epochs: dict[LogId, Epoch]


class Database(MemoryMetadataStore):
    """Remembers what it held at each version."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: dict[int, Moment] = {0: Moment({}, {})}

    async def commit(self, *args: Any) -> Changes:
        changes = await super().commit(*args)
        self.moments[changes.version] = Moment(await records(self), dict(self._epochs))
        return changes

    def without_last(self, count: int) -> Database:
        """As it was that many commits ago."""
        older = Database()
        older.moments = {
            version: moment
            for version, moment in self.moments.items()
            if version <= self._version - count
        }
        version = MetadataVersion(max(older.moments))
        older._version = version
        older._epochs = dict(older.moments[version].epochs)
        older._records = {
            key: (version, data) for key, data in older.moments[version].records.items()
        }
        return older


async def records(store: MemoryMetadataStore) -> dict[str, bytes]:
    return dict((await store.changes(MetadataVersion(0))).puts)


class Process:
    """Its calls take time, fail, arrive late, or are its last."""

    def __init__(
        self, chance: random.Random, troubles: float, late: list[asyncio.Task[None]]
    ) -> None:
        self.chance = chance
        self.troubles = troubles
        self.late = late
        self.dead = False

    async def later(self, work: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        for _ in range(self.chance.randrange(200)):
            await asyncio.sleep(0)
        with contextlib.suppress(MishardsError):
            await work(*args)

    async def step(self) -> None:
        for _ in range(self.chance.choice((0, 0, 1, 2, 5))):
            await asyncio.sleep(0)
        if self.dead or self.chance.random() < self.troubles / 4:
            self.dead = True
            raise Dead


class Reached:
    """A store as a process reaches it."""

    def __init__(self, process: Process, target: Any, error: type[MishardsError]) -> None:
        self.process = process
        self.target = target
        self.error = error

    def __getattr__(self, name: str) -> Any:
        work: Callable[..., Awaitable[Any]] = getattr(self.target, name)
        chance = self.process.chance

        async def call(*args: Any) -> Any:
            await self.process.step()
            fails = chance.random() < self.process.troubles
            if fails and name == "create" and chance.random() < 0.4:
                await work(args[0], args[1][: chance.randrange(40)])
                raise self.error("torn")
            if fails and name in ("create", "commit", "begin_epoch") and chance.random() < 0.3:
                self.process.late.append(asyncio.create_task(self.process.later(work, args)))
                raise self.error("given up; it arrives late")
            if fails and chance.random() < 0.5:
                raise self.error("failed")
            result = await work(*args)
            await self.process.step()
            if fails:
                raise self.error("the answer was lost")
            return result

        return call

    async def close(self) -> None:
        """The store outlives the process."""


class World:
    """Leaders of two logs that follow one another, and what they were told."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.database = Database()
        self.objects = MemoryStore()
        self.runtime = OneThread(threads=1)
        self.acknowledged: dict[int, tuple[dict[str, bytes], tuple[str, ...]]] = {}
        self.number = 0
        self.late: list[asyncio.Task[None]] = []

    def layer(self, troubles: float) -> JournaledMetadata:
        process = Process(self.chance, troubles, self.late)
        database: Any = Reached(process, self.database, MetadataUnavailable)
        objects: Any = Reached(process, self.objects, StorageError)
        return JournaledMetadata(
            database,
            objects,
            self.runtime,
            least_bytes=self.chance.choice((1, 300, 3000)),
            look_every=self.chance.choice((1, 3)),
        )

    async def run(self, leaders: int) -> None:
        async with asyncio.TaskGroup() as group:
            for log_id in LOGS:
                group.create_task(self.reigns(log_id, leaders))
        await asyncio.gather(*self.late)

    async def reigns(self, log_id: LogId, leaders: int) -> None:
        """One leader after another; the one of before may still believe that it leads."""
        tasks = []
        for _ in range(leaders):
            task = asyncio.create_task(self.lead(log_id))
            tasks.append(task)
            for _ in range(self.chance.randrange(150)):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    async def lead(self, log_id: LogId) -> None:
        metadata = self.layer(self.chance.choice((0.0, 0.03, 0.15)))
        try:
            await self.reign(metadata, log_id)
        except (Dead, MetadataConflict):
            pass
        except MetadataBehind:
            raise
        except MishardsError:
            pass
        finally:
            await metadata.close()

    async def reign(self, metadata: JournaledMetadata, log_id: LogId) -> None:
        epoch = Epoch(await metadata.epoch(log_id) + 1)
        await metadata.begin_epoch(log_id, epoch)
        version = (await metadata.changes(MetadataVersion(0))).version
        edits = [self.leader_edit(log_id, epoch)]
        edits += [self.edit() for _ in range(self.chance.randrange(8))]
        for puts, deletes in edits:
            while True:
                try:
                    changes = await metadata.commit(log_id, epoch, version, puts, deletes)
                except MetadataBehind:
                    raise
                except MishardsError:
                    version = await self.again(metadata, log_id, epoch)
                    if self.chance.random() < 0.3:
                        break
                else:
                    version = changes.version
                    assert version not in self.acknowledged
                    self.acknowledged[version] = (puts, deletes)
                    break

    async def again(
        self, metadata: JournaledMetadata, log_id: LogId, epoch: Epoch
    ) -> MetadataVersion:
        """The newest version, while the epoch reigns."""
        while True:
            try:
                if await metadata.epoch(log_id) != epoch:
                    raise MetadataConflict("the epoch is over")
                return (await metadata.changes(MetadataVersion(0))).version
            except MetadataUnavailable:
                await asyncio.sleep(0)

    def leader_edit(self, log_id: LogId, epoch: Epoch) -> tuple[dict[str, bytes], tuple[str, ...]]:
        return {f"log/{log_id}": encode(LogMeta(id=log_id, epoch=epoch))}, ()

    def edit(self) -> tuple[dict[str, bytes], tuple[str, ...]]:
        self.number += 1
        puts = {
            key: f"{self.number}".encode()
            for key in self.chance.sample(KEYS, self.chance.randrange(3))
        }
        deletes = [key for key in self.chance.sample(KEYS, 2) if key not in puts]
        return puts, tuple(deletes)

    async def check(self) -> None:
        """Journal and database agree, but for one entry that may not have been committed."""
        journal = Journal(self.objects)
        version = await self.database.version()
        held = await records(self.database)
        agreed = await replay(journal, version)
        assert (agreed.version, dict(agreed.records)) == (version, held)
        newest = await replay(journal)
        assert newest.version - version in (0, 1)
        for acknowledged, (puts, deletes) in self.acknowledged.items():
            moment = self.database.moments[acknowledged].records
            assert {key: moment.get(key) for key in puts} == puts
            assert moment.keys().isdisjoint(deletes)

    async def close(self) -> None:
        await self.runtime.close()


async def brought_to_one_version(world: World, database: Database) -> None:
    """A new leader of log 0 begins; journal and database are then the same."""
    metadata = JournaledMetadata(database, world.objects, world.runtime)
    await metadata.open("")
    epoch = Epoch(await metadata.epoch(LOGS[0]) + 1)
    await metadata.begin_epoch(LOGS[0], epoch)
    version = await metadata.version()
    puts, deletes = world.leader_edit(LOGS[0], epoch)
    await metadata.commit(LOGS[0], epoch, version, puts, deletes)
    newest = await replay(Journal(world.objects))
    assert (newest.version, dict(newest.records)) == (version + 1, await records(database))


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32), leaders=st.integers(1, 5))
def test_the_journal_equals_the_database_whoever_died_where(seed: int, leaders: int) -> None:
    async def case() -> None:
        world = World(seed)
        await world.run(leaders)
        await world.check()
        await brought_to_one_version(world, world.database)
        await world.check()
        await world.close()

    asyncio.run(case())


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32), leaders=st.integers(1, 4), lost=st.integers(1, 4))
def test_a_database_that_lost_commits_is_refused_or_made_whole(
    seed: int, leaders: int, lost: int
) -> None:
    async def case() -> None:
        world = World(seed)
        await world.run(leaders)
        version = await world.database.version()
        lost_here = min(lost, version)
        older = world.database.without_last(lost_here)
        try:
            await brought_to_one_version(world, older)
        except MetadataBehind:
            assert await records(older) == older.moments[version - lost_here].records
        else:
            assert lost_here <= 1
            for passed, moment in world.database.moments.items():
                assert older.moments[passed].records == moment.records
        found = await replay(Journal(world.objects), version)
        assert found.records == world.database.moments[version].records
        await world.close()

    asyncio.run(case())


entries = st.builds(
    JournalEntry,
    version=st.integers(0, 2**62).map(MetadataVersion),
    attempt=st.integers(0, 9999),
    log_id=st.integers(0, 2**31).map(LogId),
    epoch=st.integers(0, 2**31).map(Epoch),
    puts=st.dictionaries(st.text(), st.binary()),
    deletes=st.lists(st.text()).map(tuple),
)
snapshots = st.builds(
    JournalSnapshot,
    version=st.integers(0, 2**62).map(MetadataVersion),
    records=st.dictionaries(st.text(), st.binary()),
)


@given(entry=entries, snapshot=snapshots)
def test_what_was_written_is_read(entry: JournalEntry, snapshot: JournalSnapshot) -> None:
    assert decode_entry(encode_journal(entry), "e") == entry
    assert decode_snapshot(encode_journal(snapshot), "s") == snapshot


@settings(max_examples=300)
@given(data=st.binary(max_size=200), framed=st.booleans())
def test_any_bytes_are_refused_by_name(data: bytes, framed: bool) -> None:
    if framed:
        data = encode_journal(snapshot_of({}))[:24] + data
    for decode in (decode_entry, decode_snapshot):
        try:
            decode(data, "metadata/journal/x")
        except CorruptObject as error:
            assert "metadata/journal/x" in error.message


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), harm=st.data())
def test_a_harmed_journal_gives_what_was_committed_or_an_error(
    seed: int, harm: st.DataObject
) -> None:
    """Any bytes in the place of any object: never a state that was not committed."""

    async def case() -> None:
        world = World(seed)
        await world.run(2)
        keys = [info.key for info in await world.objects.list("metadata/")]
        if keys:
            key = harm.draw(st.sampled_from(keys))
            data = await world.objects.get(key)
            damaged = harm.draw(st.binary(max_size=40)) + data[harm.draw(st.integers(0, 99)) :]
            if damaged != data:
                await world.objects.put(key, damaged)
        version = await world.database.version()
        try:
            found = await replay(Journal(world.objects), version)
        except CorruptObject as error:
            assert "journal" in error.message
        else:
            assert found.records == world.database.moments[found.version].records
        await world.close()

    asyncio.run(case())


@given(entry=entries, place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_damage(entry: JournalEntry, place: int, bit: int) -> None:
    data = bytearray(encode_journal(entry))
    data[place % len(data)] ^= 1 << bit
    with pytest.raises(CorruptObject) as caught:
        decode_entry(bytes(data), "e")
    assert not isinstance(caught.value, TornJournal)


@given(entry=entries, cut=st.integers(0, 10**6))
def test_an_entry_cut_short_is_torn(entry: JournalEntry, cut: int) -> None:
    data = encode_journal(entry)
    with pytest.raises(TornJournal):
        decode_entry(data[: cut % len(data)], "e")


def snapshot_of(held: Mapping[str, bytes]) -> JournalSnapshot:
    return JournalSnapshot(version=MetadataVersion(1), records=held)
