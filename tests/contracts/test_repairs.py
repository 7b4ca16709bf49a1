"""A lost metadata database of each kind is rebuilt from the journal, on real servers where it has
one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.metadata.journal import Journal
from mishards.metadata.journaled import JournaledMetadata
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.registry import open_metadata_store
from mishards.metadata.replay import replay
from mishards.storage.memory import MemoryStore
from mishards.upkeep.repair import Outcome, repair

LOG = LogId(0)
FIRST, SECOND, THIRD = Epoch(1), Epoch(2), Epoch(3)


@pytest.fixture(params=["sqlite", "mariadb", "postgresql", "etcd"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Of two empty databases of one kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db"
    server = request.getfixturevalue(request.param)
    return server.database(f"t{uuid4().hex}"), server.database(f"t{uuid4().hex}")


async def state(store: MetadataStore) -> tuple[int, dict[str, bytes]]:
    changes = await store.changes(MetadataVersion(0))
    return changes.version, dict(changes.puts)


async def write(metadata: JournaledMetadata, epoch: Epoch, commits: int) -> None:
    """Begin an epoch, and commit some 200 records, of which some go again."""
    await metadata.begin_epoch(LOG, epoch)
    version = await metadata.version()
    for number in range(commits):
        puts = {f"key/{number}/{n}": b"%d" % epoch * (n + 1) for n in range(200)}
        deletes = tuple(f"key/{number - 1}/{n}" for n in range(50))
        version = (await metadata.commit(LOG, epoch, version, puts, deletes)).version


def test_a_lost_database_is_rebuilt(urls: tuple[str, str]) -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=2)
        objects = MemoryStore()
        one, two = (open_metadata_store(url, runtime) for url in urls)
        first = JournaledMetadata(one, objects, runtime, least_bytes=20_000, look_every=2)
        second = JournaledMetadata(two, objects, runtime)
        try:
            await first.open("c")
            await write(first, FIRST, 3)
            await write(first, SECOND, 4)
            held = await state(one)
            await two.open("c")
            report = await repair(two, Journal(objects), dry_run=False, force=False)
            assert (report.outcome, report.version) == (Outcome.DATABASE, 7)
            assert await state(two) == held
            assert await two.epoch(LOG) == SECOND
            await write(second, THIRD, 2)
            told = await replay(Journal(objects))
            assert (told.version, told.records) == await state(two)
            assert told.version == 9
        finally:
            await first.close()
            await second.close()
            await runtime.close()

    asyncio.run(main())
