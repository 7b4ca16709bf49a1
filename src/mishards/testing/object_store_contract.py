"""What every `ObjectStore` has to do, as a suite for pytest.

Subclass `ObjectStoreContract` under a name that starts with `Test` and give `open`:

    class TestMyStore(ObjectStoreContract):
        async def open(self, runtime):
            return MyStore(...)

Within one test `open` is called once or more often, each time for one more handle to the same,
at first empty, storage; for another test the storage is another one.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from mishards.core.errors import ConfigError, ObjectExists, ObjectNotFound
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.storage.protocol import ObjectInfo, ObjectStore
from mishards.testing.expect import raises

Case = Callable[[ObjectStore], Awaitable[None]]

BAD_KEYS = ("", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".a", "a b", "a\0", "ä")


class ObjectStoreContract:
    """Inherit, and override `open`.

    Attributes:
        rivalries: how often handles compete for one object; fewer where that takes long.
    """

    rivalries = 10

    async def open(self, runtime: Runtime) -> ObjectStore:
        """One more handle to this test's storage."""
        raise NotImplementedError

    def run(self, case: Case) -> None:
        """Open a store, run the case on it, close it."""

        async def main() -> None:
            runtime = SystemRuntime()
            try:
                store = await self.open(runtime)
                try:
                    await case(store)
                finally:
                    await store.close()
            finally:
                await runtime.close()

        asyncio.run(main())

    def test_gives_back_what_was_put(self) -> None:
        async def case(store: ObjectStore) -> None:
            for data in (b"", b"x", bytes(range(256)) * 5000):
                await store.put("folder/object", data)
                assert await store.get("folder/object") == data

        self.run(case)

    def test_gives_parts_of_an_object(self) -> None:
        async def case(store: ObjectStore) -> None:
            data = bytes(range(256)) * 10
            await store.put("folder/object", data)
            for start, size in ((0, 1), (0, 2560), (0, 9999), (2559, 1), (2559, 5), (300, 700)):
                part = await store.get_part("folder/object", start, size)
                assert part == data[start : start + size], (start, size)
            error = await raises(ObjectNotFound, store.get_part("folder/missing", 0, 1))
            assert "folder/missing" in error.message

        self.run(case)

    def test_put_replaces(self) -> None:
        async def case(store: ObjectStore) -> None:
            await store.put("a", b"longer than the second")
            await store.put("a", b"second")
            assert await store.get("a") == b"second"

        self.run(case)

    def test_accepts_any_buffer(self) -> None:
        async def case(store: ObjectStore) -> None:
            view = memoryview(bytearray(b"abc"))
            await store.put("a", view)  # type: ignore[arg-type]
            await store.create("b", view)  # type: ignore[arg-type]
            view[0] = ord("z")
            assert await store.get("a") == b"abc"
            assert await store.get("b") == b"abc"

        self.run(case)

    def test_removes_many_objects_and_passes_over_absent_ones(self) -> None:
        async def case(store: ObjectStore) -> None:
            for key in ("f/1", "f/2", "g/1", "kept"):
                await store.put(key, b"x")
            await store.delete_all(["f/1", "f/absent", "absent/2", "g/1", "f/2"])
            assert [info.key for info in await store.list("")] == ["kept"]
            await store.delete_all([])
            await store.delete_all(["f/1"])
            await store.put("f/1", b"again")
            assert await store.get("f/1") == b"again"

        self.run(case)

    def test_reads_many_objects_in_the_order_asked_for(self) -> None:
        async def case(store: ObjectStore) -> None:
            for key in ("f/1", "f/2", "g/1"):
                await store.put(key, key.encode())
            found = await store.get_all(["g/1", "f/absent", "f/2", "absent/1", "f/1"])
            assert found == [b"g/1", None, b"f/2", None, b"f/1"]
            assert await store.get_all([]) == []
            many = [f"f/{1 + number % 2}" for number in range(300)]
            assert await store.get_all(many) == [key.encode() for key in many]

        self.run(case)

    def test_a_missing_object_is_named(self) -> None:
        async def case(store: ObjectStore) -> None:
            await store.put("folder/here", b"")
            for key in ("missing", "folder/missing", "other/missing", "folder/here/below"):
                error = await raises(ObjectNotFound, store.get(key))
                assert key in error.message
                assert not error.retriable

        self.run(case)

    def test_create_is_exclusive(self) -> None:
        async def case(store: ObjectStore) -> None:
            await store.create("log/0/1", b"first")
            error = await raises(ObjectExists, store.create("log/0/1", b"second"))
            assert "log/0/1" in error.message
            assert await store.get("log/0/1") == b"first"
            await store.put("put", b"first")
            await raises(ObjectExists, store.create("put", b"second"))

        self.run(case)

    def test_one_of_many_concurrent_creates_wins(self) -> None:
        async def main() -> None:
            runtime = SystemRuntime()
            stores = [await self.open(runtime) for _ in range(4)]
            try:
                for number in range(self.rivalries):
                    contents = [f"{number} by {index}".encode() for index in range(4)]
                    outcomes = await asyncio.gather(
                        *(
                            store.create(f"race/{number}", data)
                            for store, data in zip(stores, contents, strict=True)
                        ),
                        return_exceptions=True,
                    )
                    winners = [index for index, error in enumerate(outcomes) if error is None]
                    assert len(winners) == 1, outcomes
                    losers = [error for error in outcomes if error is not None]
                    assert all(isinstance(error, ObjectExists) for error in losers), outcomes
                    for store in stores:
                        assert await store.get(f"race/{number}") == contents[winners[0]]
            finally:
                for store in stores:
                    await store.close()
                await runtime.close()

        asyncio.run(main())

    def test_create_succeeds_again_after_delete(self) -> None:
        async def case(store: ObjectStore) -> None:
            await store.create("folder/a", b"1")
            await store.delete("folder/a")
            await store.create("folder/a", b"2")
            assert await store.get("folder/a") == b"2"

        self.run(case)

    def test_delete_is_idempotent_and_removes_one_object(self) -> None:
        async def case(store: ObjectStore) -> None:
            await store.put("folder/a", b"")
            await store.put("folder/ab", b"")
            await store.delete("folder/a")
            await store.delete("folder/a")
            await store.delete("never/there")
            await raises(ObjectNotFound, store.get("folder/a"))
            assert await store.list("") == [ObjectInfo("folder/ab", 0)]

        self.run(case)

    def test_put_file_stores_the_bytes_of_a_file(self) -> None:
        async def case(store: ObjectStore) -> None:
            with tempfile.TemporaryDirectory() as folder:
                for data in (b"first", b"replaced", b""):
                    path = Path(folder, "source")
                    await asyncio.to_thread(path.write_bytes, data)
                    await store.put_file("segments/1/2/data", path)
                    assert await store.get("segments/1/2/data") == data

        self.run(case)

    def test_lists_by_key_with_sizes(self) -> None:
        async def case(store: ObjectStore) -> None:
            keys = ["b", "a/c", "a-b", "a/b/c", "a/b0", "ab", "a/b/c.d", "a0"]
            for size, key in enumerate(keys):
                await store.put(key, bytes(size))
            expected = sorted(ObjectInfo(key, size) for size, key in enumerate(keys))
            assert await store.list("") == expected
            for prefix in ("a", "a/", "a/b", "a/b/", "a-", "b", "c", "a/b/c.d", "a/b/c.d/"):
                wanted = [info for info in expected if info.key.startswith(prefix)]
                assert await store.list(prefix) == wanted, prefix
                for start in ("", "a", "a-", "a.", "a/", "a/b", "a/b/", "a/b/c", "a/c", "b", "z"):
                    after = [info for info in wanted if info.key > start]
                    assert await store.list(prefix, start) == after, (prefix, start)

        self.run(case)

    def test_lists_numbered_objects_from_one_on(self) -> None:
        async def case(store: ObjectStore) -> None:
            keys = [f"log/0/{number:020d}" for number in range(8, 12)]
            for key in (*keys, "log/00/1", "log/1/00000000000000000009"):
                await store.put(key, b"x")
            for position, key in enumerate(keys):
                found = await store.list("log/0/", key)
                assert [info.key for info in found] == keys[position + 1 :]
            assert len(await store.list("log/0/", f"log/0/{0:020d}")) == len(keys)

        self.run(case)

    def test_keeps_every_character_of_a_key(self) -> None:
        async def case(store: ObjectStore) -> None:
            keys = ["A_b-c.d=e+f", "a/_==", "a/x=20+", "a/-.+", "a/x.y/_", "a/0+1"]
            for key in keys:
                await store.put(key, key.encode())
            for key in keys:
                assert await store.get(key) == key.encode()
            assert [info.key for info in await store.list("")] == sorted(keys)
            await store.delete_all(keys)
            assert await store.list("") == []

        self.run(case)

    def test_lists_a_missing_folder_as_empty(self) -> None:
        async def case(store: ObjectStore) -> None:
            assert await store.list("log/0/") == []
            await store.put("log/0/1", b"")
            await store.delete("log/0/1")
            assert await store.list("log/0/") == []
            assert await store.list("") == []

        self.run(case)

    def test_refuses_keys_that_leave_the_store(self) -> None:
        async def case(store: ObjectStore) -> None:
            for key in BAD_KEYS:
                for call in (
                    store.get(key),
                    store.put(key, b""),
                    store.create(key, b""),
                    store.delete(key),
                    store.put_file(key, Path("missing")),
                ):
                    error = await raises(ConfigError, call)
                    assert repr(key) in error.message
            for prefix in ("/", "../", "a/../", "a//b"):
                await raises(ConfigError, store.list(prefix))
            assert await store.list("") == []

        self.run(case)

    def test_another_handle_sees_what_was_written(self) -> None:
        async def main() -> None:
            runtime = SystemRuntime()
            first, second = await self.open(runtime), await self.open(runtime)
            try:
                await first.create("a/b", b"1")
                assert await second.get("a/b") == b"1"
                assert await second.list("a/") == [ObjectInfo("a/b", 1)]
                await second.delete("a/b")
                await raises(ObjectNotFound, first.get("a/b"))
            finally:
                await first.close()
                await second.close()
                await runtime.close()

        asyncio.run(main())

    def test_a_local_path_holds_the_bytes(self) -> None:
        async def case(store: ObjectStore) -> None:
            await store.put("folder/object", b"content")
            path = store.local_path("folder/object")
            if path is not None:
                assert await asyncio.to_thread(path.read_bytes) == b"content"

        self.run(case)
