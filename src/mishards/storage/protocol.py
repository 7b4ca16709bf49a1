"""What the system asks of shared storage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from mishards.core.errors import ObjectNotFound, StorageError


class ObjectInfo(NamedTuple):
    key: str
    size_bytes: int


class ObjectStore(Protocol):
    """Keyed bytes that survive the process. Keys are relative `/`-separated paths of ASCII.

    All coroutines: from the loop's thread. Every write is durable when it returns.
    """

    async def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            ObjectNotFound: no such key.
            StorageError: the storage failed; retriable.
        """

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        """Many small objects, in the order given, None for those that are absent.

        The list ends before the first that cannot be read, unless that is the first of all.

        Raises:
            StorageError: the first cannot be read; retriable.
        """

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        """So many bytes of the object from `start` on, which lies in it; fewer where it ends.

        Raises as `get`.
        """

    async def create(self, key: str, data: bytes) -> None:
        """Put if absent: the fence of the log. Exactly one of many concurrent calls succeeds.

        After any error but `ObjectExists` the object may or may not exist; it is never partial.

        Raises:
            ObjectExists: the key is taken.
            DiskFull, StorageError: nothing was acknowledged.
        """

    async def put(self, key: str, data: bytes) -> None:
        """Create or replace the object at once; idempotent. Raises as `create`, less the first."""

    async def put_file(self, key: str, path: Path) -> None:
        """As `put`, with the bytes of a local file, which the store may take (move)."""

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        """Objects whose key starts with `prefix` and is greater than `start_after`, by key."""

    async def delete(self, key: str) -> None:
        """Remove the object; succeeds when it is absent."""

    async def delete_all(self, keys: Sequence[str]) -> None:
        """Remove many objects, about in the order given; those that are absent are passed over.

        Before it returns, and after an error, any of them may be gone.
        """

    def local_path(self, key: str) -> Path | None:
        """Where the object lies as a file that can be memory-mapped; None when it does not."""

    async def close(self) -> None:
        """Let go of connections and threads."""


@runtime_checkable
class SelfTesting(Protocol):
    """What a store may offer besides: properties of its own that a start is to try."""

    async def self_test(self) -> None:
        """Try them, quickly, leaving nothing behind; any number of nodes may at once.

        Raises:
            StorageUnfit: one does not hold; names the storage and the property.
            DiskFull: it cannot be told.
        """


async def get_one_by_one(store: ObjectStore, keys: Sequence[str]) -> list[bytes | None]:
    """`get_all` of a store for which many objects are no better than several."""
    found: list[bytes | None] = []
    for key in keys:
        try:
            found.append(await store.get(key))
        except ObjectNotFound:
            found.append(None)
        except StorageError:
            if not found:
                raise
            break
    return found
