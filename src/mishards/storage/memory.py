"""Objects in memory, for tests, simulation and throw-away instances.

Invariant: nothing is awaited between reading and changing the objects, so every operation is
atomic on the loop's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from mishards.core.errors import ObjectExists, ObjectNotFound, StorageError
from mishards.core.runtime import Runtime
from mishards.storage.keys import check_key, check_prefix
from mishards.storage.protocol import ObjectInfo, get_one_by_one


class MemoryStore:
    """An `ObjectStore` that lives as long as the Python object."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes:
        check_key(key)
        if (data := self._objects.get(key)) is None:
            raise ObjectNotFound(f"object {key!r} does not exist")
        return data

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        return await get_one_by_one(self, keys)

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        return (await self.get(key))[start : start + size_bytes]

    async def create(self, key: str, data: bytes) -> None:
        check_key(key)
        if key in self._objects:
            raise ObjectExists(f"object {key!r} exists")
        self._objects[key] = bytes(data)

    async def put(self, key: str, data: bytes) -> None:
        check_key(key)
        self._objects[key] = bytes(data)

    async def put_file(self, key: str, path: Path) -> None:
        check_key(key)
        self._objects[key] = _read(key, path)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        check_prefix(prefix)
        return [
            ObjectInfo(key, len(self._objects[key]))
            for key in sorted(self._objects)
            if key > start_after and key.startswith(prefix)
        ]

    async def delete(self, key: str) -> None:
        check_key(key)
        self._objects.pop(key, None)

    async def delete_all(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        for key in keys:
            self._objects.pop(key, None)

    def local_path(self, key: str) -> Path | None:
        return None

    async def close(self) -> None:
        pass


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path} to store {key!r}: {error.strerror}") from error


_shared: WeakValueDictionary[str, MemoryStore] = WeakValueDictionary()


def open_memory(url: str, runtime: Runtime) -> MemoryStore:
    """The store of `memory://name`, shared by all who hold it; a new one for `memory://`."""
    name = urlsplit(url).netloc
    store = _shared.get(name)
    if store is None:
        store = MemoryStore()
        if name:
            _shared[name] = store
    return store
