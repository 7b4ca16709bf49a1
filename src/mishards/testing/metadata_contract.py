"""What every `MetadataStore` has to do, as a suite for pytest.

Subclass `MetadataContract` under a name that starts with `Test` and give `open`:

    class TestMyMetadata(MetadataContract):
        async def open(self, runtime):
            return MyMetadataStore(...)

Within one test `open` is called once or more often, each time for one more handle to the same, at
first empty, store; for another test the store is another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mishards.core.errors import DataInUse, MetadataConflict
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.testing.expect import raises

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


class MetadataContract:
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

    def test_the_first_to_open_names_the_cluster(self) -> None:
        async def main() -> None:
            runtime = SystemRuntime()
            store = await self.open(runtime)
            try:
                assert await store.open("") == ""
                assert await store.open("one") == "one"
                assert await store.open("") == "one"
                assert await store.open("one") == "one"
                error = await raises(DataInUse, store.open("two"))
                assert "'one'" in error.message
                assert "'two'" in error.message
            finally:
                await store.close()
                await runtime.close()

        asyncio.run(main())

    def test_a_new_store_is_empty(self) -> None:
        async def case(stores: list[MetadataStore]) -> None:
            assert await stores[0].version() == 0
            assert await changes(stores[0], 0) == ({}, set(), 0)
            assert await stores[0].epoch(LOG) == 0

        self.run_handles(1, case)

    def test_a_commit_raises_the_version_by_one(self) -> None:
        async def case(store: MetadataStore) -> None:
            for expected in range(3):
                done = await commit(store, expected, f"log/{expected}")
                assert (done.since, done.version) == (expected, expected + 1)
                assert done.puts == (
                    (f"log/{expected}", f"log/{expected}@{expected + 1}".encode()),
                )
                assert await store.version() == expected + 1

        self.run(case)

    def test_an_empty_commit_counts(self) -> None:
        async def case(store: MetadataStore) -> None:
            assert (await commit(store, 0)).version == 1
            assert await changes(store, 0) == ({}, set(), 1)

        self.run(case)

    def test_changes_hold_what_is_newer_and_nothing_else(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, "a", "b", "c")
            await commit(store, 1, "b", deletes=("a",))
            await commit(store, 2, "d")
            assert await changes(store, 0) == ({"b": b"b@2", "c": b"c@1", "d": b"d@3"}, set(), 3)
            assert await changes(store, 1) == ({"b": b"b@2", "d": b"d@3"}, {"a"}, 3)
            assert await changes(store, 2) == ({"d": b"d@3"}, set(), 3)
            assert await changes(store, 3) == ({}, set(), 3)
            assert await changes(store, 9) == ({}, set(), 3)

        self.run(case)

    def test_a_deleted_key_can_come_back(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, "a")
            done = await commit(store, 1, deletes=("a",))
            assert done.deletes == ("a",)
            assert await changes(store, 0) == ({}, set(), 2)
            await commit(store, 2, "a")
            assert await changes(store, 1) == ({"a": b"a@3"}, set(), 3)

        self.run(case)

    def test_deleting_a_missing_key_succeeds(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, deletes=("never",))
            puts, _, version = await changes(store, 0)
            assert (puts, version) == ({}, 1)

        self.run(case)

    def test_a_key_put_and_deleted_at_once_is_put(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, "a", deletes=("a",))
            assert await changes(store, 0) == ({"a": b"a@1"}, set(), 1)

        self.run(case)

    def test_another_version_is_refused(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, "a")
            for expected in (0, 2):
                error = await raises(MetadataConflict, commit(store, expected, "b", deletes=("a",)))
                assert str(expected) in error.message
            assert await changes(store, 0) == ({"a": b"a@1"}, set(), 1)

        self.run(case)

    def test_another_epoch_is_refused(self) -> None:
        async def case(store: MetadataStore) -> None:
            await store.begin_epoch(LOG, Epoch(3))
            for epoch in (1, 2, 4):
                await raises(
                    MetadataConflict,
                    store.commit(LOG, Epoch(epoch), MetadataVersion(0), {"a": b""}),
                )
            await raises(
                MetadataConflict, store.commit(LogId(7), Epoch(3), MetadataVersion(0), {"a": b""})
            )
            assert await store.version() == 0
            await store.commit(LOG, Epoch(3), MetadataVersion(0), {"a": b""})

        self.run(case)

    def test_epochs_rise_for_each_log(self) -> None:
        async def case(store: MetadataStore) -> None:
            await store.begin_epoch(LOG, Epoch(5))
            for epoch in (0, 4, 5):
                await raises(MetadataConflict, store.begin_epoch(LOG, Epoch(epoch)))
            await store.begin_epoch(LogId(1), Epoch(2))
            assert await store.epoch(LOG) == 5
            assert await store.epoch(LogId(1)) == 2
            assert await store.epoch(LogId(2)) == 0

        self.run(case)

    def test_one_of_many_concurrent_commits_wins(self) -> None:
        async def case(stores: list[MetadataStore]) -> None:
            await stores[0].begin_epoch(LOG, FIRST)
            for expected in range(5):
                outcomes = await asyncio.gather(
                    *(
                        commit(store, expected, f"{expected} by {index}")
                        for index, store in enumerate(stores)
                    ),
                    return_exceptions=True,
                )
                winners = [
                    index for index, found in enumerate(outcomes) if isinstance(found, Changes)
                ]
                assert len(winners) == 1, outcomes
                losers = [found for found in outcomes if not isinstance(found, Changes)]
                assert all(isinstance(found, MetadataConflict) for found in losers), outcomes
                puts, _, version = await changes(stores[0], expected)
                assert set(puts) == {f"{expected} by {winners[0]}"}
                assert version == expected + 1

        self.run_handles(3, case)

    def test_one_of_many_concurrent_epochs_wins(self) -> None:
        async def case(stores: list[MetadataStore]) -> None:
            outcomes = await asyncio.gather(
                *(store.begin_epoch(LOG, FIRST) for store in stores), return_exceptions=True
            )
            assert sorted(str(type(found).__name__) for found in outcomes) == [
                "MetadataConflict",
                "MetadataConflict",
                "NoneType",
            ]

        self.run_handles(3, case)

    def test_another_handle_sees_what_was_committed(self) -> None:
        async def case(stores: list[MetadataStore]) -> None:
            first, second = stores
            await first.begin_epoch(LOG, FIRST)
            await commit(first, 0, "a")
            assert await second.epoch(LOG) == FIRST
            assert await changes(second, 0) == ({"a": b"a@1"}, set(), 1)
            await commit(second, 1, deletes=("a",))
            assert await changes(first, 1) == ({}, {"a"}, 2)

        self.run_handles(2, case)

    def test_many_and_large_records(self) -> None:
        async def case(store: MetadataStore) -> None:
            puts = {f"segment/1/{number}": bytes([number % 256]) * 50 for number in range(3000)}
            puts["collection/1"] = bytes(300_000)
            await store.commit(LOG, FIRST, MetadataVersion(0), puts)
            await store.commit(LOG, FIRST, MetadataVersion(1), {}, tuple(puts))
            found, deleted, _ = await changes(store, 1)
            assert (found, deleted) == ({}, set(puts))

        self.run(case)
