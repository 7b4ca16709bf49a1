"""Keeps a node's storage from it for a while, for drills in production.

Invariants: it is laid over the store of a node only where drills are enabled; but for the time of a
cut every operation passes unchanged; a cut ends by itself. What is memory-mapped, or read by its
path, stays readable, as from a page cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mishards.core.errors import StorageError
from mishards.core.runtime import Runtime
from mishards.storage.protocol import ObjectInfo, ObjectStore, SelfTesting

_LOOK_S = 0.05


class StorageCut:
    """Whether storage is away, and how it shows. From the loop's thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._until_s = 0.0
        self._stalls = False

    def begin(self, seconds: float, *, stalls: bool) -> None:
        """Be away for so long: operations fail at once, or, where it `stalls`, stand still."""
        self._until_s = self._runtime.monotonic_s() + seconds
        self._stalls = stalls

    def end(self) -> None:
        """Be there again; what stands still goes on."""
        self._until_s = 0.0

    async def passed(self, operation: str, key: str) -> None:
        """Return once the operation may be done.

        Raises:
            StorageError: storage is away and fails.
        """
        while self._until_s and (left_s := self._until_s - self._runtime.monotonic_s()) > 0:
            if not self._stalls:
                raise StorageError(f"a drill keeps storage away: {operation} of {key!r}")
            await self._runtime.sleep(min(left_s, _LOOK_S))


class CutStore:
    """Implements `ObjectStore`: asks the cut before every operation."""

    def __init__(self, store: ObjectStore, cut: StorageCut) -> None:
        self._store = store
        self._cut = cut

    async def get(self, key: str) -> bytes:
        await self._cut.passed("get", key)
        return await self._store.get(key)

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        await self._cut.passed("get", next(iter(keys), ""))
        return await self._store.get_all(keys)

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        await self._cut.passed("get", key)
        return await self._store.get_part(key, start, size_bytes)

    async def create(self, key: str, data: bytes) -> None:
        await self._cut.passed("create", key)
        await self._store.create(key, data)

    async def put(self, key: str, data: bytes) -> None:
        await self._cut.passed("put", key)
        await self._store.put(key, data)

    async def put_file(self, key: str, path: Path) -> None:
        await self._cut.passed("put", key)
        await self._store.put_file(key, path)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        await self._cut.passed("list", prefix)
        return await self._store.list(prefix, start_after)

    async def delete(self, key: str) -> None:
        await self._cut.passed("delete", key)
        await self._store.delete(key)

    async def delete_all(self, keys: Sequence[str]) -> None:
        await self._cut.passed("delete", next(iter(keys), ""))
        await self._store.delete_all(keys)

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    async def self_test(self) -> None:
        """What the store tries of its own, where it does."""
        if isinstance(self._store, SelfTesting):
            await self._store.self_test()

    async def close(self) -> None:
        await self._store.close()
