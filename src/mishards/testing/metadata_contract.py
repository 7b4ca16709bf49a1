"""What every `MetadataStore` has to do, as a suite for pytest.

Subclass `MetadataContract` under a name that starts with `Test` and give `open`:

    class TestMyMetadata(MetadataContract):
        async def open(self, runtime):
            return MyMetadataStore(...)

Within one test `open` is called once or more often, each time for one more handle to the same, at
first empty, store; for another test the store is another one. A store that a server keeps is held
to `MetadataServerContract` instead, which takes the server away and brings it back.
"""

from __future__ import annotations

import asyncio

from mishards.core.errors import MetadataUnavailable
from mishards.core.ids import Epoch, MetadataVersion
from mishards.metadata.protocol import MetadataStore
from mishards.testing.expect import raises
from mishards.testing.metadata_changes import MetadataChanges
from mishards.testing.metadata_commits import MetadataCommits
from mishards.testing.metadata_trial import FIRST, LOG, changes, commit
from mishards.testing.outage import LONGEST_S, Outage


class MetadataContract(MetadataCommits, MetadataChanges):
    """Inherit, and override `open`."""


class MetadataServerContract(MetadataContract):
    """As `MetadataContract`, and give `server`: what keeps the store. It runs when a test ends."""

    server: Outage

    def test_a_server_that_restarts_is_used_again_by_itself(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, "a")
            for expected, end in ((1, self.server.stop), (2, self.server.kill)):
                await asyncio.to_thread(end)
                await asyncio.to_thread(self.server.start)
                assert await store.version() == expected
                await commit(store, expected, "a")
            assert await changes(store, 0) == ({"a": b"a@3"}, set(), 3)

        self.run(case)

    def test_a_stopped_server_makes_every_call_unavailable(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, "a")
            self.server.stop()
            try:
                await self.refused(store)
            finally:
                self.server.start()
            await self.works_again(store)

        self.run(case)

    def test_a_frozen_server_makes_every_call_unavailable_in_bounded_time(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, "a")
            self.server.freeze()
            try:
                await self.refused(store)
                await self.refused(store)
            finally:
                self.server.thaw()
            await self.works_again(store)

        self.run(case)

    async def refused(self, store: MetadataStore) -> None:
        """Every method raises `MetadataUnavailable`, all called at once."""
        calls = (
            store.open("one"),
            store.version(),
            store.changes(MetadataVersion(0)),
            store.epoch(LOG),
            store.begin_epoch(LOG, Epoch(1)),
            store.commit(LOG, FIRST, MetadataVersion(0), {"never": b""}),
            store.prune(MetadataVersion(0)),
        )
        async with asyncio.timeout(LONGEST_S):
            errors = await asyncio.gather(*(raises(MetadataUnavailable, call) for call in calls))
        assert all(error.retriable for error in errors)

    async def works_again(self, store: MetadataStore) -> None:
        """By itself, with what it had; what was refused was not done."""
        assert await changes(store, 0) == ({"a": b"a@1"}, set(), 1)
        await commit(store, 1, "a")
        await store.begin_epoch(LOG, Epoch(2))
        assert await store.epoch(LOG) == 2
