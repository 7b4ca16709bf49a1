"""Commits while the metadata store is away: told of soon, by one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mishards.core.errors import MetadataUnavailable
from mishards.core.ids import DatabaseId, Epoch, LogId, MetadataVersion
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.models import DatabaseMeta
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.testing.expect import raises
from mishards.writer.catalog import Catalog
from mishards.writer.edit import Edit

LOG, EPOCH = LogId(0), Epoch(1)


class FrozenMetadata(MemoryMetadataStore):
    """Says nothing while it is frozen, until its caller's patience is at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False
        self.asked = 0
        self._patience = asyncio.Event()

    async def commit(self, *args: Any) -> Changes:
        await self._stand_still()
        return await super().commit(*args)

    async def changes(self, since: MetadataVersion) -> Changes:
        await self._stand_still()
        return await super().changes(since)

    def time_out(self) -> None:
        """End the patience of all who wait."""
        self._patience.set()
        self._patience = asyncio.Event()

    async def _stand_still(self) -> None:
        if self.frozen:
            self.asked += 1
            await self._patience.wait()
            raise MetadataUnavailable("no answer in time")


def put(number: int) -> Callable[[MetadataSnapshot], Edit]:
    record = DatabaseMeta(id=DatabaseId(number), name=f"d{number}")
    return lambda _: Edit(puts=(record,))


def run(case: Callable[[FrozenMetadata, Catalog], Awaitable[None]]) -> None:
    async def main() -> None:
        metadata = FrozenMetadata()
        await metadata.begin_epoch(LOG, EPOCH)
        publisher = cast(Any, SimpleNamespace(publish_changes=lambda _: None))
        empty = MetadataSnapshot.empty()
        catalog = Catalog(metadata, publisher, LOG, EPOCH, empty, lambda _: None, pytest.fail)
        await catalog.commit(put(1))
        async with asyncio.timeout(20):
            await case(metadata, catalog)

    asyncio.run(main())


async def settled() -> None:
    """Let all tasks come as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_whoever_waits_for_a_call_that_finds_the_store_away_is_told_so_with_it() -> None:
    async def case(metadata: FrozenMetadata, catalog: Catalog) -> None:
        metadata.frozen = True
        calls = [asyncio.ensure_future(catalog.commit(put(n))) for n in range(2, 6)]
        await settled()
        metadata.time_out()
        for call in calls:
            await raises(MetadataUnavailable, call)
        assert metadata.asked == 1

    run(case)


def test_while_one_call_tries_again_the_others_are_refused_at_once() -> None:
    async def case(metadata: FrozenMetadata, catalog: Catalog) -> None:
        metadata.frozen = True
        for _ in range(2):
            first = asyncio.ensure_future(catalog.commit(put(2)))
            await settled()
            if metadata.asked > 1:
                error = await raises(MetadataUnavailable, catalog.commit(put(3)))
                assert error.message == "no answer in time"
                await raises(MetadataUnavailable, catalog.reach(MetadataVersion(9)))
            metadata.time_out()
            await raises(MetadataUnavailable, first)
        assert metadata.asked == 2
        metadata.frozen = False
        for number in (4, 5):
            await catalog.commit(put(number))
        assert set(catalog.snapshot.databases) == {"d1", "d4", "d5"}

    run(case)
