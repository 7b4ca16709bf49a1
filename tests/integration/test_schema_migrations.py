"""Databases whose tables an older release made are brought up to date when they are opened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mishards.core.errors import DataInUse, MetadataUnavailable
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.metadata import migrations
from mishards.metadata.registry import open_metadata_store
from mishards.metadata.sql_schema import SCHEMA_VERSION
from mishards.storage.sql_engine import open_engine
from mishards.testing.expect import raises

LOG, FIRST = LogId(0), Epoch(1)

BODY_TYPES = {"sqlite": "BLOB", "mysql": "LONGBLOB", "postgresql": "BYTEA"}
VERSION_1 = (
    "CREATE TABLE mishards_state (id INTEGER NOT NULL, cluster_id VARCHAR(255) NOT NULL, "
    "version BIGINT NOT NULL, schema_version INTEGER NOT NULL, PRIMARY KEY (id))",
    "CREATE TABLE mishards_records (record_key VARCHAR(255) NOT NULL, version BIGINT NOT NULL, "
    "body {body}, PRIMARY KEY (record_key))",
    "CREATE INDEX ix_mishards_records_version ON mishards_records (version)",
    "CREATE TABLE mishards_epochs (log_id BIGINT NOT NULL, epoch BIGINT NOT NULL, "
    "PRIMARY KEY (log_id))",
    "INSERT INTO mishards_state VALUES (1, 'one', 3, 1)",
    "INSERT INTO mishards_epochs VALUES (0, 1)",
)
ROWS = [("a", 1, b"a@1"), ("gone", 2, None), ("segment/1/2", 3, b"s@3")]


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/metadata.db"
    found: str = request.getfixturevalue(request.param).database(f"t{uuid4().hex}")
    return found


@pytest.fixture
def database(url: str) -> Iterator[Engine]:
    """With the tables of version 1, three commits in them."""
    engine = open_engine(url)
    with engine.begin() as connection:
        for statement in VERSION_1:
            connection.exec_driver_sql(statement.format(body=BODY_TYPES[engine.dialect.name]))
        insert = sa.text("INSERT INTO mishards_records VALUES (:key, :version, :body)")
        for key, version, body in ROWS:
            connection.execute(insert, {"key": key, "version": version, "body": body})
    yield engine
    engine.dispose()


def schema_version(database: Engine) -> int:
    with database.connect() as connection:
        found = connection.exec_driver_sql("SELECT schema_version FROM mishards_state")
        return int(found.scalar_one())


def opened(url: str, processes: int = 1) -> None:
    """Open it in so many handles at once, and look at it through the first."""

    async def main() -> None:
        runtime = SystemRuntime()
        stores = [open_metadata_store(url, runtime) for _ in range(processes)]
        try:
            assert set(await asyncio.gather(*(store.open("one") for store in stores))) == {"one"}
            store = stores[0]
            found = await store.changes(MetadataVersion(0))
            assert dict(found.puts) == {"a": b"a@1", "segment/1/2": b"s@3"}
            assert (await store.changes(MetadataVersion(1))).deletes == ("gone",)
            assert await store.epoch(LOG) == FIRST
            await store.prune(MetadataVersion(2))
            await store.commit(LOG, FIRST, MetadataVersion(3), {"A": b"A@4"})
            found = await store.changes(MetadataVersion(1))
            assert found.since == 0
            assert dict(found.puts) == {"a": b"a@1", "A": b"A@4", "segment/1/2": b"s@3"}
        finally:
            for store in stores:
                await store.close()
            await runtime.close()

    asyncio.run(main())


def test_a_database_of_version_1_is_brought_up_to_date(url: str, database: Engine) -> None:
    opened(url)
    assert schema_version(database) == SCHEMA_VERSION


def test_many_that_open_an_old_database_at_once_migrate_it_once(url: str, database: Engine) -> None:
    opened(url, processes=4)
    assert schema_version(database) == SCHEMA_VERSION


def test_a_migration_that_fails_is_done_at_the_next_start(
    url: str, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_at_its_end(connection: sa.Connection) -> None:
        migrations.from_1_to_2.migrate(connection)
        raise sa.exc.OperationalError("ALTER", {}, OSError("the connection broke"))

    async def main() -> None:
        runtime = SystemRuntime()
        store = open_metadata_store(url, runtime)
        error = await raises(MetadataUnavailable, store.open("one"))
        assert "the connection broke" in error.message
        await store.close()
        await runtime.close()

    with monkeypatch.context() as patch:
        patch.setattr("mishards.metadata.sql_schema.STEPS", {1: fails_at_its_end})
        asyncio.run(main())
    assert schema_version(database) == 1
    opened(url)
    assert schema_version(database) == SCHEMA_VERSION


def test_a_database_of_a_newer_release_is_refused_unchanged(url: str, database: Engine) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE mishards_state SET schema_version = 99")

    async def main() -> None:
        runtime = SystemRuntime()
        store = open_metadata_store(url, runtime)
        error = await raises(DataInUse, store.open("one"))
        assert "schema version 99 of a newer release" in error.message
        await store.close()
        await runtime.close()

    asyncio.run(main())
    assert schema_version(database) == 99
    columns = sa.inspect(database).get_columns("mishards_state")
    assert "pruned" not in {column["name"] for column in columns}


def test_there_is_a_step_for_every_version() -> None:
    assert sorted(migrations.STEPS) == list(range(1, SCHEMA_VERSION))
