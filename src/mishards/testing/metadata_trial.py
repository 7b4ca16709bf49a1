"""A trial of a metadata store: what the suites that hold stores to their contract share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.metadata.protocol import Changes, MetadataStore

Case = Callable[[MetadataStore], Awaitable[None]]

LOG = LogId(0)
FIRST = Epoch(1)


async def commit(
    store: MetadataStore, expected: int, *keys: str, deletes: tuple[str, ...] = ()
) -> Changes:
    """Commit records whose bytes name key and version, under the first epoch of log 0."""
    puts = {key: f"{key}@{expected + 1}".encode() for key in keys}
    return await store.commit(LOG, FIRST, MetadataVersion(expected), puts, deletes)


async def changes(store: MetadataStore, since: int) -> tuple[dict[str, bytes], set[str], int]:
    """Records put and keys deleted since a version, and the version they lead to."""
    found = await store.changes(MetadataVersion(since))
    assert found.since == since
    assert len(dict(found.puts)) == len(found.puts)
    return dict(found.puts), set(found.deletes), found.version


class MetadataTrial:
    """Inherit, and override `open`."""

    async def open(self, runtime: Runtime) -> MetadataStore:
        """One more handle to this test's store, before its `open`."""
        raise NotImplementedError

    def run(self, case: Case) -> None:
        """Open a store, begin the first epoch, run the case on it, close it."""

        async def main(stores: list[MetadataStore]) -> None:
            await stores[0].begin_epoch(LOG, FIRST)
            await case(stores[0])

        self.run_handles(1, main)

    def run_handles(
        self, handles: int, case: Callable[[list[MetadataStore]], Awaitable[None]]
    ) -> None:
        """Run the case on several handles to one store, opened for cluster `one`."""

        async def main() -> None:
            runtime = SystemRuntime()
            stores = [await self.open(runtime) for _ in range(handles)]
            try:
                for store in stores:
                    assert await store.open("one") == "one"
                await case(stores)
            finally:
                for store in stores:
                    await store.close()
                await runtime.close()

        asyncio.run(main())
