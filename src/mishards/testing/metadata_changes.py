"""What a metadata store tells of its changes, its records and its past."""

from __future__ import annotations

import asyncio

from mishards.core.errors import MetadataConflict
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.testing.expect import raises
from mishards.testing.metadata_trial import FIRST, LOG, MetadataTrial, changes, commit


class MetadataChanges(MetadataTrial):
    """Reads, restored states, odd records and what was pruned."""

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
