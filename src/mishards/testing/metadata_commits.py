"""Who may commit to a metadata store, and what a commit does."""

from __future__ import annotations

import asyncio

from mishards.core.errors import DataInUse, MetadataConflict
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.testing.expect import raises
from mishards.testing.metadata_trial import FIRST, LOG, MetadataTrial, changes, commit


class MetadataCommits(MetadataTrial):
    """Clusters, versions and epochs; of many that do the same at once, one succeeds."""

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

    def test_of_many_that_open_an_empty_store_at_once_one_names_it(self) -> None:
        async def main() -> None:
            runtime = SystemRuntime()
            stores = [await self.open(runtime) for _ in range(4)]
            try:
                names = ["one", "two", "one", "two"]
                found = await asyncio.gather(
                    *(store.open(name) for store, name in zip(stores, names, strict=True)),
                    return_exceptions=True,
                )
                winner = await stores[0].open("")
                for name, result in zip(names, found, strict=True):
                    fits = result == winner if name == winner else isinstance(result, DataInUse)
                    assert fits, (winner, found)
            finally:
                for store in stores:
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
