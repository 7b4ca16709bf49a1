"""What a repair makes of database and journal."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mishards.core.errors import CorruptObject, MetadataConflict
from mishards.core.ids import DatabaseId, Epoch, LogId, MetadataVersion, NodeId
from mishards.core.runtime import SystemRuntime
from mishards.metadata.journal import Journal, entry_key, snapshot_key
from mishards.metadata.journal_format import JournalEntry, JournalSnapshot, encode_journal
from mishards.metadata.journaled import JournaledMetadata
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.models import DatabaseMeta, LogMeta, Record, encode
from mishards.storage.memory import MemoryStore
from mishards.upkeep.repair import Outcome, RepairReport, repair

LOG = LogId(0)
ONE, TWO = Epoch(1), Epoch(2)


class Data:
    """A data set of a few commits, as a leader left it."""

    def __init__(self, runtime: SystemRuntime) -> None:
        self.runtime = runtime
        self.objects = MemoryStore()
        self.journal = Journal(self.objects)
        self.database = MemoryMetadataStore()

    async def lead(self, commits: int) -> None:
        layer = JournaledMetadata(self.database, self.objects, self.runtime)
        epoch = Epoch(await layer.epoch(LOG) + 1)
        await layer.begin_epoch(LOG, epoch)
        version = await layer.version()
        log = LogMeta(id=LOG, epoch=epoch, leader=NodeId("w"))
        for number in range(commits):
            database = DatabaseMeta(id=DatabaseId(number + 1), name=f"d{number}")
            edit: tuple[Record, ...] = (database,) if number else (log, database)
            puts = {record.key: encode(record) for record in edit}
            version = (await layer.commit(LOG, epoch, version, puts)).version

    async def repair(self, *, dry_run: bool = False, force: bool = False) -> RepairReport:
        return await repair(self.database, self.journal, dry_run=dry_run, force=force)

    async def records(self) -> dict[str, bytes]:
        return dict((await self.database.changes(MetadataVersion(0))).puts)

    async def damage(self, key: str) -> None:
        data = await self.objects.get(key)
        await self.objects.put(key, data[:-1] + bytes([data[-1] ^ 1]))


Case = Callable[[Data], Awaitable[None]]


def run(case: Case, commits: int = 5) -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        data = Data(runtime)
        await data.lead(commits)
        try:
            await case(data)
        finally:
            await runtime.close()

    asyncio.run(main())


def test_where_both_agree_nothing_is_done() -> None:
    async def case(data: Data) -> None:
        keys = await data.objects.list("")
        report = await data.repair()
        assert report.outcome is Outcome.NOTHING
        assert (report.database_version, report.journal_version, report.version) == (5, 5, 5)
        assert await data.objects.list("") == keys

    run(case)


def test_a_lost_database_is_rebuilt() -> None:
    async def case(data: Data) -> None:
        held = await data.records()
        data.database = MemoryMetadataStore()
        report = await data.repair()
        assert report.outcome is Outcome.DATABASE
        assert report.reason == "the database misses 5 commits of the journal"
        assert (report.database_version, report.version, report.entries) == (0, 5, 5)
        assert report.holdings.databases == 5
        assert [(log.id, log.epoch, log.leader) for log in report.holdings.logs] == [(0, 1, "w")]
        assert await data.records() == held
        assert await data.database.version() == 5
        assert await data.database.epoch(LOG) == ONE
        assert (await data.repair()).outcome is Outcome.NOTHING
        await data.lead(2)
        assert await data.database.version() == 7

    run(case)


def test_a_dry_run_says_the_same_and_changes_nothing() -> None:
    async def case(data: Data) -> None:
        data.database = MemoryMetadataStore()
        keys = await data.objects.list("")
        said = await data.repair(dry_run=True)
        assert (said.outcome, said.version, said.dry_run) == (Outcome.DATABASE, 5, True)
        assert await data.database.version() == 0
        assert await data.objects.list("") == keys

    run(case)


def test_a_commit_that_its_leader_did_not_live_to_see_counts() -> None:
    async def case(data: Data) -> None:
        record = encode(DatabaseMeta(id=DatabaseId(9), name="last"))
        entry = JournalEntry(
            version=MetadataVersion(6), log_id=LOG, epoch=ONE, puts={"database/9": record}
        )
        await data.journal.create(entry)
        report = await data.repair()
        assert (report.outcome, report.version) == (Outcome.DATABASE, 6)
        assert (await data.records())["database/9"] == record

    run(case)


def test_what_was_never_committed_is_removed() -> None:
    async def case(data: Data) -> None:
        await data.lead(1)
        fenced = JournalEntry(version=MetadataVersion(7), log_id=LOG, epoch=ONE, puts={"x": b""})
        await data.journal.create(fenced)
        data.database = MemoryMetadataStore()
        report = await data.repair()
        assert report.version == 6
        assert report.removed == (entry_key(MetadataVersion(7), 0),)
        assert "never committed" in report.notes[0]
        assert await data.database.epoch(LOG) == TWO
        assert (await data.repair()).outcome is Outcome.NOTHING

    run(case)


def test_a_journal_that_lacks_commits_is_made_anew() -> None:
    async def case(data: Data) -> None:
        for info in await data.objects.list("metadata/"):
            await data.objects.delete(info.key)
        report = await data.repair()
        assert report.outcome is Outcome.JOURNAL
        assert (report.database_version, report.journal_version, report.version) == (5, 0, 5)
        assert (await data.repair()).outcome is Outcome.NOTHING

    run(case)


@pytest.mark.parametrize("damaged", [2, 5])
def test_a_damaged_journal_is_made_anew_from_a_database_as_far(damaged: int) -> None:
    async def case(data: Data) -> None:
        await data.damage(entry_key(MetadataVersion(damaged), 0))
        report = await data.repair()
        assert report.outcome is Outcome.JOURNAL
        assert report.journal_version is None
        keys = [info.key for info in await data.objects.list("metadata/")]
        assert keys == [snapshot_key(MetadataVersion(5))]
        assert (await data.repair()).outcome is Outcome.NOTHING
        await data.lead(1)

    run(case)


def test_a_damaged_entry_that_was_not_committed_blocks_no_longer() -> None:
    async def case(data: Data) -> None:
        await data.journal.create(JournalEntry(version=MetadataVersion(6), log_id=LOG, epoch=ONE))
        await data.damage(entry_key(MetadataVersion(6), 0))
        with pytest.raises(CorruptObject):
            await data.lead(1)
        assert (await data.repair()).outcome is Outcome.JOURNAL
        await data.lead(1)
        assert await data.database.version() == 6

    run(case)


def test_where_both_are_damaged_nothing_is_made_up() -> None:
    async def case(data: Data) -> None:
        await data.damage(entry_key(MetadataVersion(2), 0))
        data.database = MemoryMetadataStore()
        with pytest.raises(CorruptObject, match=r"version 0, is not as far .* at 5.*backup"):
            await data.repair()
        assert await data.database.version() == 0

    run(case)


def test_other_records_at_one_version_need_a_decision() -> None:
    async def case(data: Data) -> None:
        held = await data.records()
        other = MemoryMetadataStore()
        await other.begin_epoch(LOG, ONE)
        for version in range(5):
            await other.commit(LOG, ONE, MetadataVersion(version), {f"other/{version}": b"x"})
        data.database = other
        with pytest.raises(
            MetadataConflict, match=r"differ at version 5 in .* and 6 more.*--force"
        ):
            await data.repair()
        report = await data.repair(force=True)
        assert (report.outcome, report.version) == (Outcome.DATABASE, 6)
        assert await data.records() == held
        assert (await data.repair()).outcome is Outcome.NOTHING

    run(case)


def test_a_damaged_snapshot_is_made_anew() -> None:
    async def case(data: Data) -> None:
        version = await data.database.version()
        snapshot = JournalSnapshot(version=version, records=await data.records())
        await data.journal.add_snapshot(version, encode_journal(snapshot))
        await data.damage(snapshot_key(version))
        report = await data.repair()
        assert report.outcome is Outcome.JOURNAL
        assert snapshot_key(version) in report.notes[0]
        assert (await data.repair()).outcome is Outcome.NOTHING

    run(case)


def test_a_journal_is_made_anew_when_asked_for() -> None:
    async def case(data: Data) -> None:
        assert (await data.repair(force=True)).outcome is Outcome.JOURNAL
        keys = [info.key for info in await data.objects.list("metadata/")]
        assert keys == [snapshot_key(MetadataVersion(5))]
        assert (await data.repair()).outcome is Outcome.NOTHING

    run(case)


def test_an_empty_data_set_needs_no_repair() -> None:
    async def case(data: Data) -> None:
        data.database, data.objects = MemoryMetadataStore(), MemoryStore()
        data.journal = Journal(data.objects)
        assert (await data.repair()).outcome is Outcome.NOTHING

    run(case, commits=1)
