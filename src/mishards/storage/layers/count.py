"""Counts what a store is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mishards.storage.protocol import ObjectInfo, ObjectStore


class CountingStore:
    """Passes everything on and counts it, whether it succeeds or not.

    Attributes:
        calls: by operation (`get`, `get_all`, `create`, `put`, `put_file`, `list`, `delete`,
            `delete_all`).
        bytes_read: given back by `get`, `get_part`, which counts as `get`, and `get_all`.
        bytes_written: handed to `create` and `put`.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()
        self.bytes_read = 0
        self.bytes_written = 0

    def reset(self) -> None:
        self.calls.clear()
        self.bytes_read = self.bytes_written = 0

    async def get(self, key: str) -> bytes:
        self.calls["get"] += 1
        data = await self._store.get(key)
        self.bytes_read += len(data)
        return data

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        self.calls["get_all"] += 1
        found = await self._store.get_all(keys)
        self.bytes_read += sum(len(data) for data in found if data is not None)
        return found

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        self.calls["get"] += 1
        data = await self._store.get_part(key, start, size_bytes)
        self.bytes_read += len(data)
        return data

    async def create(self, key: str, data: bytes) -> None:
        self.calls["create"] += 1
        self.bytes_written += len(data)
        await self._store.create(key, data)

    async def put(self, key: str, data: bytes) -> None:
        self.calls["put"] += 1
        self.bytes_written += len(data)
        await self._store.put(key, data)

    async def put_file(self, key: str, path: Path) -> None:
        self.calls["put_file"] += 1
        await self._store.put_file(key, path)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        self.calls["list"] += 1
        return await self._store.list(prefix, start_after)

    async def delete(self, key: str) -> None:
        self.calls["delete"] += 1
        await self._store.delete(key)

    async def delete_all(self, keys: Sequence[str]) -> None:
        self.calls["delete_all"] += 1
        await self._store.delete_all(keys)

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    async def close(self) -> None:
        await self._store.close()
