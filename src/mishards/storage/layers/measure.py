"""Measures what a store is asked for: how often, how long it takes, how much is moved.

Invariants: what a store answers or raises is passed on as it is; an object that is missing, or that
is there already, is an answer and no failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

from mishards.core.errors import ObjectExists, ObjectNotFound
from mishards.core.runtime import Runtime
from mishards.observability.instruments import Metrics
from mishards.observability.metrics import (
    STORAGE_OPERATIONS,
    STORAGE_READ,
    STORAGE_SECONDS,
    STORAGE_WRITTEN,
)
from mishards.storage.protocol import ObjectInfo, ObjectStore, SelfTesting

T = TypeVar("T")


class MeasuringStore:
    """Passes everything on and measures it."""

    def __init__(self, store: ObjectStore, metrics: Metrics, runtime: Runtime) -> None:
        self._store = store
        self._metrics = metrics
        self._runtime = runtime
        self._read = metrics.counter(STORAGE_READ)
        self._written = metrics.counter(STORAGE_WRITTEN)

    async def get(self, key: str) -> bytes:
        data = await self._timed("get", self._store.get(key))
        self._read.inc(len(data))
        return data

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        found = await self._timed("get_all", self._store.get_all(keys))
        self._read.inc(sum(len(data) for data in found if data is not None))
        return found

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        data = await self._timed("get_part", self._store.get_part(key, start, size_bytes))
        self._read.inc(len(data))
        return data

    async def create(self, key: str, data: bytes) -> None:
        await self._timed("create", self._store.create(key, data))
        self._written.inc(len(data))

    async def put(self, key: str, data: bytes) -> None:
        await self._timed("put", self._store.put(key, data))
        self._written.inc(len(data))

    async def put_file(self, key: str, path: Path) -> None:
        # Asked for first: the store may take the file away.
        size_bytes = await self._runtime.blocking(_size, path)
        await self._timed("put_file", self._store.put_file(key, path))
        self._written.inc(size_bytes)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        return await self._timed("list", self._store.list(prefix, start_after))

    async def delete(self, key: str) -> None:
        await self._timed("delete", self._store.delete(key))

    async def delete_all(self, keys: Sequence[str]) -> None:
        await self._timed("delete_all", self._store.delete_all(keys))

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    async def self_test(self) -> None:
        """As `SelfTesting`, of a store that is one."""
        if isinstance(self._store, SelfTesting):
            await self._store.self_test()

    async def close(self) -> None:
        await self._store.close()

    async def _timed(self, operation: str, work: Awaitable[T]) -> T:
        clock = self._runtime.monotonic_s
        began_s = clock()
        outcome = "failed"
        try:
            found = await work
            outcome = "ok"
            return found
        except ObjectNotFound:
            outcome = "missing"
            raise
        except ObjectExists:
            outcome = "exists"
            raise
        finally:
            self._metrics.counter(STORAGE_OPERATIONS, operation, outcome).inc()
            self._metrics.histogram(STORAGE_SECONDS, operation).observe(clock() - began_s)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
