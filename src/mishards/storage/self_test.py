"""Whether shared storage keeps the promises that the log and its fence rest on, tried at a start.

Invariants: what is tried lies under names of this call alone, so any number of nodes may try at
once, and is removed again; a store without a free byte proves nothing and is not refused.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from contextlib import suppress

from mishards.core.errors import (
    ConfigError,
    DiskFull,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StorageUnfit,
)
from mishards.core.runtime import Runtime
from mishards.storage.protocol import ObjectStore, SelfTesting

PREFIX = "self-test."
_log = logging.getLogger(__name__)


async def self_test(store: ObjectStore, again: ObjectStore, runtime: Runtime, where: str) -> None:
    """Create, replace, list and remove objects, and see them through another handle.

    What the store can try beyond that, see `SelfTesting`, it is asked to. A few milliseconds on a
    disk.

    Args:
        again: another handle to the same storage, which has cached nothing.
        where: what the storage is called in errors.

    Raises:
        StorageUnfit: a promise is not kept, or an operation is not possible; says which.
    """
    key = f"{PREFIX}{runtime.random.getrandbits(96):024x}"
    try:
        await _exclusive_creation(store, again, key, where)
        await _replacement(store, again, key, where)
        await _removal(store, again, key, where)
        if isinstance(store, SelfTesting):
            await store.self_test()
    except DiskFull as error:
        _log.warning("%s is full and could not be tested: %s", where, error.message)
    except StorageUnfit:
        raise
    except (StorageError, ConfigError) as error:
        raise StorageUnfit(f"{where} cannot be used as shared storage: {error.message}") from error
    finally:
        with suppress(StorageError, DiskFull):
            await store.delete(key)


async def _exclusive_creation(store: ObjectStore, again: ObjectStore, key: str, where: str) -> None:
    await store.create(key, b"first")
    for handle in (store, again):
        try:
            await handle.create(key, b"second")
        except ObjectExists:
            continue
        raise _broken(where, f"object {key!r} could be created twice: creation is not exclusive")
    await _expect(again, key, b"first", where, "created")
    found = [(info.key, info.size_bytes) for info in await again.list(key)]
    if found != [(key, 5)]:
        raise _broken(where, f"object {key!r} of 5 bytes was created and is listed as {found}")


async def _replacement(store: ObjectStore, again: ObjectStore, key: str, where: str) -> None:
    await store.put(key, b"replaced")
    await _expect(again, key, b"replaced", where, "replaced")


async def _removal(store: ObjectStore, again: ObjectStore, key: str, where: str) -> None:
    await store.delete(key)
    if await _found(again.get(key)) is not None or await again.list(key):
        raise _broken(where, f"object {key!r} was removed and is still there")


async def _expect(store: ObjectStore, key: str, data: bytes, where: str, done: str) -> None:
    found = await _found(store.get(key))
    if found != data:
        raise _broken(where, f"object {key!r} was {done} as {data!r} and is read as {found!r}")


async def _found(reading: Awaitable[bytes]) -> bytes | None:
    try:
        return await reading
    except ObjectNotFound:
        return None


def _broken(where: str, what: str) -> StorageUnfit:
    return StorageUnfit(f"{where} cannot be used as shared storage: {what}")
