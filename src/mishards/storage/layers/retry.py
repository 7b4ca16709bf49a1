"""Repeats operations that failed for a passing reason.

Invariant: `create` is never repeated. After an error the object may exist, so a second attempt
could not tell its own success from another's; the caller has to step back instead.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from mishards.core.errors import StorageError
from mishards.core.runtime import Runtime
from mishards.storage.protocol import ObjectInfo, ObjectStore

T = TypeVar("T")

_log = logging.getLogger(__name__)


class RetryingStore:
    """Repeats idempotent operations after a retriable `StorageError`, after a rising pause."""

    def __init__(
        self,
        store: ObjectStore,
        runtime: Runtime,
        *,
        attempts: int = 3,
        first_pause_s: float = 0.05,
        max_pause_s: float = 1.0,
    ) -> None:
        """`attempts` counts the first one; pauses double and vary by half, by chance."""
        self._store = store
        self._runtime = runtime
        self._attempts = attempts
        self._first_pause_s = first_pause_s
        self._max_pause_s = max_pause_s

    async def get(self, key: str) -> bytes:
        return await self._retry("get", key, lambda: self._store.get(key))

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        return await self._retry("get_all", keys[0], lambda: self._store.get_all(keys))

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        return await self._retry("get", key, lambda: self._store.get_part(key, start, size_bytes))

    async def create(self, key: str, data: bytes) -> None:
        await self._store.create(key, data)

    async def put(self, key: str, data: bytes) -> None:
        await self._retry("put", key, lambda: self._store.put(key, data))

    async def put_file(self, key: str, path: Path) -> None:
        """A failed attempt may have taken the file; then its error stands."""
        await self._retry("put_file", key, lambda: self._store.put_file(key, path), path)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        return await self._retry("list", prefix, lambda: self._store.list(prefix, start_after))

    async def delete(self, key: str) -> None:
        await self._retry("delete", key, lambda: self._store.delete(key))

    async def delete_all(self, keys: Sequence[str]) -> None:
        if keys:
            await self._retry("delete_all", keys[0], lambda: self._store.delete_all(keys))

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    async def close(self) -> None:
        await self._store.close()

    async def _retry(
        self,
        operation: str,
        key: str,
        work: Callable[[], Awaitable[T]],
        needs: Path | None = None,
    ) -> T:
        pause_s = self._first_pause_s
        for attempt in range(1, self._attempts):
            try:
                return await work()
            except StorageError as error:
                if not error.retriable:
                    raise
                if needs is not None and not await self._runtime.blocking(needs.exists):
                    raise
                _log.warning(
                    "%s of %r failed, attempt %d of %d: %s",
                    operation,
                    key,
                    attempt,
                    self._attempts,
                    error.message,
                )
            await self._runtime.sleep(pause_s * self._runtime.random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, self._max_pause_s)
        return await work()
