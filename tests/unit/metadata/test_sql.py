"""What only a SQLite file can do wrong; the rest is in the contract suite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from mishards.core.errors import (
    CorruptObject,
    DataInUse,
    DiskFull,
    MetadataUnavailable,
)
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.metadata.sql import SqlMetadataStore
from mishards.metadata.sql_errors import metadata_error
from mishards.testing.expect import raises

LOG, FIRST = LogId(0), Epoch(1)
Case = Callable[[SqlMetadataStore], Awaitable[None]]


def run(file: Path, case: Case) -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=2)
        store = SqlMetadataStore(f"sqlite:///{file}", runtime, lock_wait_s=0.05)
        try:
            await case(store)
        finally:
            await store.close()
            await runtime.close()

    asyncio.run(main())


async def begin(store: SqlMetadataStore) -> None:
    await store.open("one")
    await store.begin_epoch(LOG, FIRST)
    await store.commit(LOG, FIRST, MetadataVersion(0), {"a": b"1"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metadata.db"


def test_what_was_committed_is_there_after_a_restart(file: Path) -> None:
    async def second(store: SqlMetadataStore) -> None:
        assert await store.open("") == "one"
        assert await store.epoch(LOG) == FIRST
        assert (await store.changes(MetadataVersion(0))).puts == (("a", b"1"),)

    run(file, begin)
    run(file, second)


def test_a_locked_file_is_unavailable_for_writes_only(file: Path) -> None:
    async def case(store: SqlMetadataStore) -> None:
        await begin(store)
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for call in (
                store.commit(LOG, FIRST, MetadataVersion(1), {"b": b""}),
                store.begin_epoch(LOG, Epoch(2)),
            ):
                error = await raises(MetadataUnavailable, call)
                assert "metadata.db is locked by another process" in error.message
                assert error.retriable
            assert await store.version() == 1
            assert (await store.changes(MetadataVersion(0))).puts == (("a", b"1"),)
            other.execute("ROLLBACK")
        await store.commit(LOG, FIRST, MetadataVersion(1), {"b": b""})

    run(file, case)


def test_a_removed_file_is_unavailable_until_it_is_back(file: Path) -> None:
    away = file.with_name("away.db")

    def remove() -> None:
        with closing(sqlite3.connect(file)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.rename(away)

    def bring_back() -> None:
        assert not file.exists(), "an empty database was made in its place"
        away.rename(file)

    async def case(store: SqlMetadataStore) -> None:
        await begin(store)
        remove()
        error = await raises(MetadataUnavailable, store.version())
        assert "metadata.db" in error.message
        commit = store.commit(LOG, FIRST, MetadataVersion(1), {"b": b""})
        await raises(MetadataUnavailable, commit)
        bring_back()
        assert await store.version() == 1

    run(file, case)


def test_a_replaced_file_is_opened_anew(file: Path) -> None:
    backup = file.with_name("backup.db")

    def replace_by_older_backup() -> None:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
            target.execute("UPDATE mishards_state SET version = 1")
            target.commit()
        for leftover in file.parent.glob("metadata.db-*"):
            leftover.unlink()
        backup.rename(file)

    async def case(store: SqlMetadataStore) -> None:
        await begin(store)
        await store.commit(LOG, FIRST, MetadataVersion(1), {"b": b"2"})
        assert await store.version() == 2
        replace_by_older_backup()
        assert await store.version() == 1

    run(file, case)


def test_a_file_of_something_else_is_corrupt(file: Path) -> None:
    file.write_bytes(b"not a database, but long enough to be looked at" * 100)

    async def case(store: SqlMetadataStore) -> None:
        error = await raises(CorruptObject, store.open("one"))
        assert "metadata.db is damaged" in error.message

    run(file, case)


def test_a_damaged_file_is_corrupt(file: Path) -> None:
    async def fill(store: SqlMetadataStore) -> None:
        await begin(store)
        puts = {f"segment/1/{number}": bytes(400) for number in range(200)}
        await store.commit(LOG, FIRST, MetadataVersion(1), puts)

    async def case(store: SqlMetadataStore) -> None:
        error = await raises(CorruptObject, read_all(store))
        assert "metadata.db is damaged" in error.message

    async def read_all(store: SqlMetadataStore) -> None:
        await store.open("one")
        await store.changes(MetadataVersion(0))

    run(file, fill)
    data = file.read_bytes()
    file.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    run(file, case)


def test_a_store_that_was_not_opened_is_unavailable(file: Path) -> None:
    async def case(store: SqlMetadataStore) -> None:
        error = await raises(MetadataUnavailable, store.version())
        assert "no such table" in error.message

    run(file, case)


def test_the_schema_version_of_a_newer_release_is_refused(file: Path) -> None:
    async def case(store: SqlMetadataStore) -> None:
        error = await raises(DataInUse, store.open("one"))
        assert "schema version 99 of a newer release" in error.message

    run(file, begin)
    with closing(sqlite3.connect(file)) as other:
        other.execute("UPDATE mishards_state SET schema_version = 99")
        other.commit()
    run(file, case)


def test_a_failed_commit_leaves_no_part(file: Path) -> None:
    async def case(store: SqlMetadataStore) -> None:
        await begin(store)
        with closing(sqlite3.connect(file)) as other:
            other.execute(
                "CREATE TRIGGER refuse BEFORE UPDATE ON mishards_state "
                "BEGIN SELECT RAISE(FAIL, 'refused here'); END"
            )
            error = await raises(
                MetadataUnavailable,
                store.commit(LOG, FIRST, MetadataVersion(1), {"b": b""}, ("a",)),
            )
            assert "refused here" in error.message
            other.execute("DROP TRIGGER refuse")
        changes = await store.changes(MetadataVersion(0))
        assert (changes.version, changes.puts) == (1, (("a", b"1"),))

    run(file, case)


def test_a_full_disk_is_said_so() -> None:
    cause = sqlite3.OperationalError("database or disk is full")
    cause.sqlite_errorcode = sqlite3.SQLITE_FULL  # type: ignore[misc]
    error = metadata_error("m.db", sa.exc.OperationalError("INSERT", {}, cause))
    assert isinstance(error, DiskFull)
    assert "m.db" in error.message
