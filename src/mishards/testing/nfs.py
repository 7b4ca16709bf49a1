"""One machine's mount of a folder that others have mounted too, as NFS lets it see that folder.

A layer over the storage that the server holds. What a mount did itself it sees at once; of what
others did it may know only what it asked last, for a while:

- a name that was looked up and not found stays absent (negative look-ups are cached);
- a folder that was listed stays as it was listed;
- an object that was read stays as it was read, or a read of it fails with ESTALE, once, where the
  server has another file under the name (what is open elsewhere is gone: no silly rename protects
  from other clients).

An answer may be lost after the work was done, and the repeated request is refused: a create finds
the name taken, a rename finds its source gone. Invariants: the server decides who creates; nothing
is ever seen that was not there; a mount on which `heal` was called sees what there is.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mishards.core.errors import ObjectExists, ObjectNotFound, StorageError
from mishards.storage.protocol import ObjectInfo, ObjectStore, get_one_by_one


class MountFaults(msgspec.Struct, kw_only=True):
    """How a mount behaves.

    Attributes:
        names_s: how long an absent name and a listed folder may be taken for what they were; 0 for
            a mount with the options that `storage.mounts` asks for.
        files_s: the same of an object that was read.
        lost: share of changes whose answer is lost.
    """

    names_s: float = 3.0
    files_s: float = 3.0
    lost: float = 0.0


class NfsMount:
    """An `ObjectStore`; see the module.

    Attributes:
        late: how often something was answered from before another's change.
        stale: how many reads failed with ESTALE.
        lost: how many answers were lost.
    """

    def __init__(
        self,
        server: ObjectStore,
        now_s: Callable[[], float],
        chance: random.Random,
        faults: MountFaults,
    ) -> None:
        self._server = server
        self._now_s = now_s
        self._chance = chance
        self._faults = faults
        self._absent: dict[str, float] = {}
        self._held: dict[str, tuple[bytes, float]] = {}
        self._listed: dict[tuple[str, str], tuple[dict[str, int], float]] = {}
        self.late = self.stale = self.lost = 0

    def heal(self) -> None:
        """Forget what was seen; nothing is late and no answer is lost from now on."""
        self._faults.names_s = self._faults.files_s = self._faults.lost = 0.0
        self._absent.clear()
        self._held.clear()
        self._listed.clear()

    # --- what is seen -----------------------------------------------------------------------

    async def get(self, key: str) -> bytes:
        if self._absent.get(key, 0.0) > self._now_s():
            self.late += 1
            raise ObjectNotFound(f"object {key!r} does not exist")
        held, until_s = self._held.get(key, (b"", 0.0))
        if until_s > self._now_s():
            return await self._reopen(key, held)
        try:
            data = await self._server.get(key)
        except ObjectNotFound:
            self._absent[key] = self._until_s(self._faults.names_s)
            raise
        self._held[key] = (data, self._until_s(self._faults.files_s))
        return data

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        return await get_one_by_one(self, keys)

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        return (await self.get(key))[start : start + size_bytes]

    async def _reopen(self, key: str, held: bytes) -> bytes:
        """Read what was read before: it is as it was, or the server has another file there."""
        try:
            data = await self._server.get(key)
        except ObjectNotFound:
            data = None
        if data == held:
            return held
        if self._chance.random() < 0.5:
            self.late += 1
            return held
        self.stale += 1
        del self._held[key]
        raise StorageError(f"reading object {key!r} failed: {os.strerror(errno.ESTALE)}")

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        found, until_s = self._listed.get((prefix, start_after), ({}, 0.0))
        if until_s > self._now_s():
            self.late += 1
        else:
            infos = await self._server.list(prefix, start_after)
            found = {info.key: info.size_bytes for info in infos}
            self._listed[prefix, start_after] = (found, self._until_s(self._faults.names_s))
        return [ObjectInfo(*item) for item in sorted(found.items())]

    # --- what is done -----------------------------------------------------------------------

    async def create(self, key: str, data: bytes) -> None:
        await self._server.create(key, data)
        self._did(key, len(data))
        if self._is_lost():
            raise ObjectExists(f"object {key!r} exists")

    async def put(self, key: str, data: bytes) -> None:
        await self._server.put(key, data)
        self._did(key, len(data))
        self._lose(key)

    async def put_file(self, key: str, path: Path) -> None:
        await self._server.put_file(key, path)
        self._did(key, None)
        self._lose(key)

    async def delete(self, key: str) -> None:
        """A repeated request finds nothing to remove, and that is what was wanted."""
        await self._server.delete(key)
        self._held.pop(key, None)
        for found, _ in self._listed.values():
            found.pop(key, None)

    async def delete_all(self, keys: Sequence[str]) -> None:
        for key in keys:
            await self.delete(key)

    def local_path(self, key: str) -> Path | None:
        return None

    async def close(self) -> None:
        await self._server.close()

    def _did(self, key: str, size_bytes: int | None) -> None:
        self._absent.pop(key, None)
        self._held.pop(key, None)
        for (prefix, start_after), (found, _) in list(self._listed.items()):
            if key.startswith(prefix) and key > start_after:
                if size_bytes is None:
                    del self._listed[prefix, start_after]
                else:
                    found[key] = size_bytes

    def _lose(self, key: str) -> None:
        if self._is_lost():
            raise StorageError(f"writing object {key!r} failed: {os.strerror(errno.ENOENT)}")

    def _is_lost(self) -> bool:
        lost = self._chance.random() < self._faults.lost
        self.lost += lost
        return lost

    def _until_s(self, at_most_s: float) -> float:
        return self._now_s() + self._chance.uniform(0.0, at_most_s)
