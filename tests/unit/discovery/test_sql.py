import asyncio
import logging
import sqlite3
from pathlib import Path

import pytest

from mishards.core.errors import Unavailable
from mishards.discovery.protocol import Remembering
from mishards.discovery.sql import FORGET_S, SqlRegistry
from mishards.testing.expect import raises
from mishards.testing.registry_contract import TTL_S, names, node
from mishards.testing.stepped import SteppedRuntime


def _count(file: Path) -> int:
    connection = sqlite3.connect(file)
    try:
        return int(connection.execute("SELECT count(*) FROM mishards_nodes").fetchone()[0])
    finally:
        connection.close()


def test_rows_of_long_dead_nodes_are_removed(tmp_path: Path) -> None:
    async def work() -> None:
        runtime = SteppedRuntime()
        registry = SqlRegistry(f"sqlite:///{tmp_path}/r.db", runtime, ttl_s=TTL_S)
        await registry.announce(node("dead"))
        await registry.withdraw(node("other").id)
        for _ in range(round(FORGET_S / (TTL_S / 3)) + 2):
            await registry.announce(node("me"))
            await registry.nodes()
            runtime.advance(TTL_S / 3)
        assert _count(tmp_path / "r.db") == 1
        assert await names(registry) == ["me"]
        await registry.close()
        await runtime.close()

    asyncio.run(work())


def test_a_row_that_cannot_be_read_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        runtime = SteppedRuntime()
        registry = SqlRegistry(f"sqlite:///{tmp_path}/r.db", runtime, ttl_s=TTL_S)
        await registry.announce(node("a"))
        connection = sqlite3.connect(tmp_path / "r.db")
        connection.execute(
            "INSERT INTO mishards_nodes VALUES ('odd', '{\"id\": 7}', 1, ?)", (runtime.now_ms(),)
        )
        connection.commit()
        connection.close()
        assert await names(registry) == ["a"]
        assert await names(registry) == ["a"]
        await registry.close()
        await runtime.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(work())
    assert sum("'odd'" in record.getMessage() for record in caplog.records) == 1


def test_a_database_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "r.db"
    file.write_bytes(b"this is no database, but it is long enough to be read as one" * 20)

    async def work() -> None:
        runtime = SteppedRuntime()
        registry = SqlRegistry(f"sqlite:///{file}", runtime, ttl_s=TTL_S)
        error = await raises(Unavailable, registry.nodes())
        assert str(file) in error.message
        await raises(Unavailable, registry.announce(node("a")))
        await registry.close()
        await runtime.close()

    asyncio.run(work())


def test_a_database_locked_for_writing_makes_nobody_look_dead(tmp_path: Path) -> None:
    async def work() -> None:
        runtime = SteppedRuntime()
        registry = SqlRegistry(f"sqlite:///{tmp_path}/r.db", runtime, ttl_s=TTL_S)
        other = SqlRegistry(f"sqlite:///{tmp_path}/r.db", runtime, ttl_s=TTL_S)
        await registry.announce(node("me"))
        await other.announce(node("other"))
        assert await names(registry) == ["me", "other"]
        lock = sqlite3.connect(tmp_path / "r.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        await raises(Unavailable, registry.announce(node("me")))
        for _ in range(20):
            runtime.advance(TTL_S / 3)
            assert await names(registry) == ["me", "other"]
        lock.execute("ROLLBACK")
        lock.close()
        for _ in range(5):
            await registry.announce(node("me"))
            runtime.advance(TTL_S / 3)
            found = await names(registry)
        assert found == ["me"]
        await registry.close()
        await other.close()
        await runtime.close()

    asyncio.run(work())


def test_a_node_that_stopped_renewing_is_remembered_as_silent(tmp_path: Path) -> None:
    async def work() -> None:
        runtime = SteppedRuntime()
        registry = SqlRegistry(f"sqlite:///{tmp_path}/r.db", runtime, ttl_s=TTL_S)
        assert isinstance(registry, Remembering)
        await registry.announce(node("dead"))
        await registry.announce(node("left"))
        await registry.withdraw(node("left").id)
        for _ in range(5):
            await registry.announce(node("me"))
            await registry.nodes()
            runtime.advance(TTL_S / 3)
        assert [one.id for one in await registry.silent()] == ["dead"]
        assert await names(registry) == ["me"]
        await registry.close()
        await runtime.close()

    asyncio.run(work())
