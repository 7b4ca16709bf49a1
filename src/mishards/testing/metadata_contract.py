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
from collections.abc import Awaitable, Callable

from mishards.core.errors import DataInUse, MetadataConflict, MetadataUnavailable
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.testing.expect import raises
from mishards.testing.outage import LONGEST_S, Outage

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

    def test_a_whole_state_can_be_restored(self) -> None:
        async def case(stores: list[MetadataStore]) -> None:
            first, second = stores
            state = Changes(MetadataVersion(0), MetadataVersion(7), (("b", b"2"), ("c", b"3")))
            await first.begin_epoch(LOG, Epoch(5))
            await first.restore(state, {LOG: Epoch(4), LogId(1): Epoch(3)})
            assert await changes(second, 0) == ({"b": b"2", "c": b"3"}, set(), 7)
            assert await changes(second, 6) == ({"b": b"2", "c": b"3"}, set(), 7)
            assert await second.version() == 7
            assert (await second.epoch(LOG), await second.epoch(LogId(1))) == (5, 3)
            await second.commit(LogId(1), Epoch(3), MetadataVersion(7), {"d": b"4"}, ("b",))
            assert await changes(first, 7) == ({"d": b"4"}, {"b"}, 8)

        self.run_handles(2, case)

    def test_what_a_restored_state_lacks_counts_as_deleted(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, "a", "b")
            await commit(store, 1, deletes=("a",))
            state = Changes(MetadataVersion(0), MetadataVersion(9), (("a", b"1"), ("c", b"3")))
            await store.restore(state, {LOG: Epoch(6)})
            assert await changes(store, 2) == ({"a": b"1", "c": b"3"}, {"b"}, 9)
            assert await changes(store, 0) == ({"a": b"1", "c": b"3"}, set(), 9)
            assert await store.epoch(LOG) == 6

        self.run(case)

    def test_nothing_older_than_the_store_is_restored(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, "a")
            await commit(store, 1, "b")
            for version in (1, 2):
                state = Changes(MetadataVersion(0), MetadataVersion(version), (("c", b"3"),))
                error = await raises(MetadataConflict, store.restore(state, {LOG: Epoch(9)}))
                assert "version 2" in error.message
            assert await changes(store, 0) == ({"a": b"a@1", "b": b"b@2"}, set(), 2)
            assert await store.epoch(LOG) == FIRST

        self.run(case)

    def test_many_and_large_records(self) -> None:
        async def case(store: MetadataStore) -> None:
            puts = {f"segment/1/{number}": bytes([number % 256]) * 50 for number in range(3000)}
            puts["collection/1"] = bytes(300_000)
            await store.commit(LOG, FIRST, MetadataVersion(0), puts)
            assert await changes(store, 0) == (puts, set(), 1)
            await store.commit(LOG, FIRST, MetadataVersion(1), {}, tuple(puts))
            found, deleted, _ = await changes(store, 1)
            assert (found, deleted) == ({}, set(puts))
            assert await changes(store, 0) == ({}, set(), 2)

        self.run(case)

    def test_bodies_of_several_megabytes(self) -> None:
        async def case(store: MetadataStore) -> None:
            first = {f"collection/{n}": bytes(range(n, n + 200)) * 20_000 for n in range(3)}
            await store.commit(LOG, FIRST, MetadataVersion(0), first)
            assert await changes(store, 0) == (first, set(), 1)
            second = {"collection/1": b"small", "collection/2": b"\0" * 3_000_000, "other": b""}
            await store.commit(LOG, FIRST, MetadataVersion(1), second, ("collection/0",))
            assert await changes(store, 1) == (second, {"collection/0"}, 2)
            assert await changes(store, 0) == (second, set(), 2)
            assert await changes(store, 2) == ({}, set(), 2)

        self.run(case)

    def test_keys_that_differ_are_different_records(self) -> None:
        async def case(store: MetadataStore) -> None:
            keys = ("a", "A", "a ", "á", "ä", "a/b", "a/", "aa", "ｂ", "b", "\U0001f600", "ß", "ss")
            done = await commit(store, 0, *keys)
            assert {key for key, _ in done.puts} == set(keys)
            expected = {key: f"{key}@1".encode() for key in keys}
            assert await changes(store, 0) == (expected, set(), 1)
            await commit(store, 1, deletes=("A", "a ", "ss"))
            found, deleted, _ = await changes(store, 1)
            assert (found, deleted) == ({}, {"A", "a ", "ss"})
            found, _, _ = await changes(store, 0)
            assert set(found) == set(keys) - deleted

        self.run(case)

    def test_a_read_sees_whole_commits_only(self) -> None:
        async def case(stores: list[MetadataStore]) -> None:
            writer, reader = stores
            await writer.begin_epoch(LOG, FIRST)
            names = [f"segment/1/{number}" for number in range(300)]
            last = 12

            async def write() -> None:
                for expected in range(last):
                    odd, even = names[1::2], names[::2]
                    kept, gone = (odd, even) if expected % 2 else (even, odd)
                    await commit(writer, expected, "log/0", *kept, deletes=tuple(gone))

            async def read() -> None:
                version = 0
                while version < last:
                    await asyncio.sleep(0)  # a store in memory never waits
                    for since in (0, max(version - 1, 0)):
                        found, deleted, version = await changes(reader, since)
                        if not version:
                            break
                        newest = set(names[1::2] if version % 2 == 0 else names[::2]) | {"log/0"}
                        assert set(found) == newest if version > since else not found
                        assert all(body.endswith(f"@{version}".encode()) for body in found.values())
                        if since and version > since:
                            assert deleted == {*names, "log/0"} - newest

            await asyncio.gather(write(), read())

        self.run_handles(2, case)

    def test_after_pruning_older_changes_are_told_as_all_records(self) -> None:
        async def case(store: MetadataStore) -> None:
            await commit(store, 0, "a", "b", "c")
            await commit(store, 1, deletes=("a",))
            await commit(store, 2, deletes=("b",))
            await commit(store, 3, "d")
            await store.prune(MetadataVersion(2))
            for since in (0, 1):
                found = await store.changes(MetadataVersion(since))
                assert (found.since, found.version, found.deletes) == (0, 4, ())
                assert dict(found.puts) == {"c": b"c@1", "d": b"d@4"}
            assert await changes(store, 2) == ({"d": b"d@4"}, {"b"}, 4)
            assert await changes(store, 3) == ({"d": b"d@4"}, set(), 4)
            await commit(store, 4, "a")
            assert await changes(store, 4) == ({"a": b"a@5"}, set(), 5)

        self.run(case)

    def test_pruning_never_goes_back_nor_ahead(self) -> None:
        async def case(store: MetadataStore) -> None:
            await store.prune(MetadataVersion(7))
            await commit(store, 0, "a", "b")
            await commit(store, 1, deletes=("a",))
            assert await changes(store, 1) == ({}, {"a"}, 2)
            await store.prune(MetadataVersion(9))
            await store.prune(MetadataVersion(1))
            assert (await store.changes(MetadataVersion(1))).since == 0
            assert await store.version() == 2
            assert await store.epoch(LOG) == FIRST
            await commit(store, 2, deletes=("b",))
            assert await changes(store, 2) == ({}, {"b"}, 3)

        self.run(case)

    def test_pruning_during_commits_hides_no_deletion(self) -> None:
        async def case(stores: list[MetadataStore]) -> None:
            writer, other = stores
            await writer.begin_epoch(LOG, FIRST)
            seen: set[str] = set()
            version = 0

            async def write() -> None:
                for expected in range(20):
                    await commit(writer, expected, f"k{expected}", deletes=(f"k{expected - 1}",))

            async def follow() -> None:
                nonlocal version
                while version < 20:
                    await asyncio.sleep(0)  # a store in memory never waits
                    await other.prune(MetadataVersion(max(version - 1, 0)))
                    found = await other.changes(MetadataVersion(version))
                    if not found.since:
                        seen.clear()
                    seen.difference_update(found.deletes)
                    seen.update(key for key, _ in found.puts)
                    version = found.version
                    assert seen == ({f"k{version - 1}"} if version else set())

            await asyncio.gather(write(), follow())

        self.run_handles(2, case)


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
