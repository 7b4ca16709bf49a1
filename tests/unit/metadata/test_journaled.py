"""Commits that are journaled: left behind, given up, helped, lost."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mishards.core.errors import (
    CorruptObject,
    MetadataBehind,
    MetadataConflict,
    MetadataUnavailable,
    StorageError,
)
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.metadata.journal import Journal, entry_key, snapshot_key
from mishards.metadata.journal_format import JournalEntry, encode_journal
from mishards.metadata.journaled import JournaledMetadata
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.models import LogMeta, encode
from mishards.metadata.protocol import Changes
from mishards.metadata.replay import replay
from mishards.storage.layers.fault import Fault, FaultScript, FaultyStore
from mishards.storage.memory import MemoryStore

LOG, OTHER = LogId(0), LogId(1)
ONE, TWO = Epoch(1), Epoch(2)


class SlowDatabase(MemoryMetadataStore):
    """Lets something happen just before a commit, once."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.away = False

    async def version(self) -> MetadataVersion:
        if self.away:
            raise MetadataUnavailable("away")
        return await super().version()

    async def commit(self, *args: object) -> Changes:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().commit(*args)  # type: ignore[arg-type]


class Place:
    """A database, storage, and a layer over both."""

    def __init__(self, runtime: SystemRuntime) -> None:
        self.runtime = runtime
        self.database = SlowDatabase()
        self.objects = MemoryStore()
        self.journal = Journal(self.objects)
        self.script = FaultScript()
        self.metadata = self.layer()

    def layer(self, **options: int) -> JournaledMetadata:
        store = FaultyStore(self.objects, self.script, self.runtime)
        return JournaledMetadata(self.database, store, self.runtime, **options)

    async def commit(
        self, expected: int, *keys: str, log: LogId = LOG, epoch: Epoch = ONE
    ) -> Changes:
        puts = {key: f"{key}@{expected + 1}".encode() for key in keys}
        return await self.metadata.commit(log, epoch, MetadataVersion(expected), puts)

    async def leave_behind(
        self, version: int, key: str, log: LogId = LOG, epoch: Epoch = ONE, attempt: int = 0
    ) -> None:
        """As a leader that died after the entry does."""
        await self.journal.create(
            JournalEntry(
                version=MetadataVersion(version),
                attempt=attempt,
                log_id=log,
                epoch=epoch,
                puts={key: b"left"},
            )
        )

    async def records(self) -> dict[str, bytes]:
        return dict((await self.database.changes(MetadataVersion(0))).puts)

    async def agrees(self) -> bool:
        found = await replay(self.journal)
        held = await self.database.version(), await self.records()
        return (found.version, found.records) == held

    async def lose(self, version: int) -> None:
        """Put an older database in its place: empty, at that version and the first epoch."""
        self.database = SlowDatabase()
        if version:
            await self.database.begin_epoch(LOG, ONE)
        for number in range(version):
            await self.database.commit(LOG, ONE, MetadataVersion(number), {f"k{number}": b"x"})


Case = Callable[[Place], Awaitable[None]]


def run(case: Case) -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        place = Place(runtime)
        await place.metadata.begin_epoch(LOG, ONE)
        try:
            await case(place)
        finally:
            await runtime.close()

    asyncio.run(main())


def test_what_a_dead_leader_left_behind_is_committed_first() -> None:
    async def case(place: Place) -> None:
        await place.commit(0, "a")
        await place.leave_behind(2, "b")
        with pytest.raises(MetadataConflict, match="version 2, not 1"):
            await place.commit(1, "c")
        await place.commit(2, "c")
        assert (await place.records())["b"] == b"left"
        assert await place.agrees()

    run(case)


def test_what_was_left_behind_is_committed_before_an_epoch_begins() -> None:
    async def case(place: Place) -> None:
        await place.leave_behind(1, "a")
        await place.metadata.begin_epoch(LOG, TWO)
        assert await place.records() == {"a": b"left"}
        assert await place.agrees()

    run(case)


def test_an_entry_whose_epoch_is_over_is_given_up() -> None:
    async def case(place: Place) -> None:
        await place.database.begin_epoch(LOG, TWO)
        await place.leave_behind(1, "a")
        await place.commit(0, "b", epoch=TWO)
        found = await replay(place.journal)
        assert found.records == {"b": b"b@1"}
        assert found.notes == (f"journal entry {entry_key(1, 0)!r} was given up, never committed",)
        assert await place.agrees()

    run(case)


@pytest.mark.parametrize("size", [0, 3, 23, 24, 30])
def test_an_entry_cut_short_stands_in_nobodys_way(size: int) -> None:
    async def case(place: Place) -> None:
        place.script.add(Fault(keep_bytes=size), operation="create")
        with pytest.raises(StorageError):
            await place.commit(0, "a")
        assert await place.records() == {}
        assert (await replay(place.journal)).version == 0
        await place.commit(0, "b")
        assert await place.records() == {"b": b"b@1"}
        assert await place.agrees()

    run(case)


def test_a_damaged_entry_in_the_way_is_named() -> None:
    async def case(place: Place) -> None:
        await place.leave_behind(1, "a")
        data = bytearray(await place.objects.get(entry_key(1, 0)))
        data[-1] ^= 1
        await place.objects.put(entry_key(1, 0), bytes(data))
        with pytest.raises(CorruptObject, match=entry_key(1, 0)):
            await place.commit(0, "b")

    run(case)


def test_a_slow_leader_that_was_helped_is_told_of_success() -> None:
    async def case(place: Place) -> None:
        async def another_log_commits() -> None:
            await place.metadata.begin_epoch(OTHER, ONE)
            await place.commit(1, "b", log=OTHER)

        place.database.meanwhile = another_log_commits
        changes = await place.commit(0, "a")
        assert (changes.since, changes.version) == (0, 1)
        assert await place.records() == {"a": b"a@1", "b": b"b@2"}
        assert await place.agrees()

    run(case)


def test_a_slow_leader_whose_entry_was_given_up_is_refused() -> None:
    async def case(place: Place) -> None:
        async def fenced() -> None:
            await place.database.begin_epoch(LOG, TWO)
            await place.commit(0, "b", epoch=TWO)

        place.database.meanwhile = fenced
        with pytest.raises(MetadataConflict, match="epoch 1 of log 0 is over"):
            await place.commit(0, "a")
        assert await place.records() == {"b": b"b@1"}
        assert await place.agrees()

    run(case)


def test_a_leader_that_slept_until_its_version_was_trimmed_is_told_nothing_for_sure() -> None:
    async def case(place: Place) -> None:
        async def much_later() -> None:
            busy = place.layer(least_bytes=1, look_every=1)
            await place.database.begin_epoch(OTHER, ONE)
            for version in range(1, 9):
                await busy.commit(OTHER, ONE, MetadataVersion(version), {"b": b"x"})
                if busy._snapshots is not None:
                    await busy._snapshots

        async def helped_and_later() -> None:
            with pytest.raises(MetadataConflict):
                await place.layer().commit(LOG, ONE, MetadataVersion(0), {"c": b"x"})
            await much_later()

        place.database.meanwhile = helped_and_later
        with pytest.raises(MetadataUnavailable, match="cannot be told at version 9"):
            await place.commit(0, "a")
        assert (await place.records())["a"] == b"a@1"

    run(case)


def test_nothing_is_left_behind_while_the_database_is_away() -> None:
    async def case(place: Place) -> None:
        place.database.away = True
        with pytest.raises(MetadataUnavailable):
            await place.commit(0, "a")
        place.database.away = False
        assert (await place.journal.contents()).entries == ()

    run(case)


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_database_that_misses_commits_is_refused(left: int) -> None:
    async def case(place: Place) -> None:
        for version in range(4):
            await place.commit(version, f"k{version}")
        await place.lose(left)
        told = f"at version {left}; shared storage knows of version 4.*mishards repair"
        with pytest.raises(MetadataBehind, match=told):
            await place.layer().open("")
        with pytest.raises(MetadataBehind, match=told):
            await place.layer().begin_epoch(LOG, TWO)
        assert await place.database.version() == left
        assert await place.database.epoch(LOG) == (ONE if left else 0)

    run(case)


def test_a_last_commit_that_was_lost_comes_back() -> None:
    async def case(place: Place) -> None:
        for version in range(4):
            await place.commit(version, f"k{version}")
        await place.lose(3)
        metadata = place.layer()
        await metadata.open("")
        await metadata.begin_epoch(LOG, TWO)
        assert (await place.records())["k3"] == b"k3@4"

    run(case)


def test_a_first_commit_that_was_lost_is_not_taken_for_one_to_come() -> None:
    async def case(place: Place) -> None:
        await place.commit(0, "a")
        await place.lose(0)
        with pytest.raises(MetadataBehind, match=r"epoch 0 of log 0; shared storage .* epoch 1"):
            await place.layer().begin_epoch(LOG, ONE)

    run(case)


def test_a_running_node_notices_that_the_database_went_back() -> None:
    async def case(place: Place) -> None:
        for version in range(3):
            await place.commit(version, f"k{version}")
        older = SlowDatabase()
        await older.begin_epoch(LOG, ONE)
        place.metadata._inner = older
        for call in (
            place.metadata.version(),
            place.metadata.changes(MetadataVersion(3)),
            place.commit(3, "x"),
            place.commit(0, "x"),
        ):
            with pytest.raises(MetadataBehind, match="from version 3 to 0"):
                await call

    run(case)


@pytest.mark.parametrize("step", ["commit", "epoch"])
def test_a_running_node_brings_back_a_last_commit_that_was_lost(step: str) -> None:
    async def case(place: Place) -> None:
        for version in range(3):
            await place.commit(version, f"k{version}")
        await place.lose(2)
        place.metadata._inner = place.database
        with pytest.raises(MetadataBehind, match="from version 3 to 2"):
            await place.metadata.version()
        if step == "commit":
            await place.commit(3, "k3")
        else:
            await place.metadata.begin_epoch(LOG, TWO)
        assert (await place.records())["k2"] == b"k2@3"
        assert await place.metadata.version() == (4 if step == "commit" else 3)

    run(case)


def test_data_from_before_the_journal_get_a_snapshot_first() -> None:
    async def case(place: Place) -> None:
        await place.lose(3)
        metadata = place.layer()
        await metadata.open("")
        await metadata.begin_epoch(LOG, TWO)
        found = await replay(place.journal)
        assert (found.version, found.base) == (3, 3)
        await metadata.commit(LOG, TWO, MetadataVersion(3), {"k": b"x"})
        assert await place.agrees()

    run(case)


def test_the_journal_stays_short_and_one_damaged_snapshot_costs_nothing() -> None:
    async def case(place: Place) -> None:
        place.metadata = place.layer(least_bytes=500, look_every=1)
        for version in range(60):
            await place.commit(version, f"k{version % 3}")
            if place.metadata._snapshots is not None:
                await place.metadata._snapshots
        found = await place.journal.contents()
        assert len(found.snapshots) == 2
        assert 0 < len(found.entries) < 30
        newest = found.snapshots[-1].version
        data = await place.objects.get(snapshot_key(newest))
        await place.objects.put(snapshot_key(newest), data[:-1] + b"\0")
        replayed = await replay(place.journal)
        assert replayed.base == found.snapshots[0].version
        assert snapshot_key(newest) in replayed.notes[0]
        assert await place.agrees()

    run(case)


def test_a_snapshot_that_cannot_be_made_fails_no_commit() -> None:
    async def case(place: Place) -> None:
        place.metadata = place.layer(least_bytes=1, look_every=1)
        place.script.add(
            Fault(error=StorageError), operation="create", key="metadata/snapshots/*", times=100
        )
        for version in range(5):
            await place.commit(version, "k")
            if place.metadata._snapshots is not None:
                await place.metadata._snapshots
        assert (await place.journal.contents()).snapshots == ()
        assert await place.agrees()

    run(case)


def test_an_entry_of_a_reign_that_had_ended_counts_for_nothing() -> None:
    async def case(place: Place) -> None:
        await place.metadata.begin_epoch(LOG, TWO)
        record = encode(LogMeta(id=LOG, epoch=TWO))
        await place.metadata.commit(LOG, TWO, MetadataVersion(0), {"log/0": record})
        await place.leave_behind(2, "a", epoch=ONE)
        found = await replay(place.journal)
        assert found.version == 1
        assert "epoch 2 had ended; never committed" in found.notes[0]
        await place.metadata._snapshot()
        found = await replay(place.journal)
        assert (found.version, found.base) == (1, 1)

    run(case)


def test_a_missing_or_damaged_entry_before_the_last_is_named() -> None:
    async def case(place: Place) -> None:
        for version in range(3):
            await place.commit(version, "k")
        key = entry_key(2, 0)
        data = await place.objects.get(key)
        await place.objects.put(key, data[:-4])
        with pytest.raises(CorruptObject, match=rf"{key}.*yet version 2 was committed"):
            await replay(place.journal)
        await place.objects.put(key, data[:-1] + b"\0")
        with pytest.raises(CorruptObject, match=key):
            await replay(place.journal)
        await place.objects.delete(key)
        with pytest.raises(CorruptObject, match=r"no entry of version 2, though .* version 3"):
            await replay(place.journal)

    run(case)


def test_an_entry_under_the_name_of_another_is_found() -> None:
    async def case(place: Place) -> None:
        await place.commit(0, "k")
        entry = JournalEntry(version=MetadataVersion(7), log_id=LOG, epoch=ONE)
        await place.objects.put(entry_key(1, 0), encode_journal(entry))
        with pytest.raises(CorruptObject, match=r"holds attempt 0 at version 7"):
            await replay(place.journal)

    run(case)


def test_a_foreign_object_among_the_entries_is_named() -> None:
    async def case(place: Place) -> None:
        await place.objects.put("metadata/journal/notes", b"x")
        with pytest.raises(CorruptObject, match="metadata/journal/notes"):
            await place.journal.contents()

    run(case)
