"""Copying an object from one store to another, compared with its checksum on the way.

Invariants: what does not match its size and checksum does not arrive; an object arrives whole or
not at all. A file on disk goes through in blocks, so that its size does not matter.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import BinaryIO

from mishards.backup.flow import Flow
from mishards.core.checksum import crc32
from mishards.core.errors import CorruptObject, ObjectNotFound, StorageError
from mishards.core.runtime import Runtime
from mishards.segments.manifest import FileInfo
from mishards.storage.protocol import ObjectStore

_BLOCK_BYTES = 4 << 20


class Copier:
    """Copies objects from one store to another. All coroutines: from the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        source: ObjectStore,
        target: ObjectStore,
        scratch: Path,
        flow: Flow,
    ) -> None:
        """`scratch`: an empty folder for files under way, best on the file system of the target."""
        self._runtime = runtime
        self._source = source
        self._target = target
        self._scratch = scratch
        self._flow = flow
        self._names = itertools.count()

    async def copy(self, key: str, target_key: str, expected: FileInfo) -> None:
        """Copy one object.

        Raises:
            ObjectNotFound: it is missing at the source; names it.
            CorruptObject: it is not what was expected; names it.
            StorageError, DiskFull: one of the stores failed.
        """
        path = self._source.local_path(key)
        if path is None or expected.size_bytes <= _BLOCK_BYTES:
            data = await self.read(key, expected)
            await self._target.put(target_key, data)
        else:
            await self._copy_file(path, key, target_key, expected)

    async def read(self, key: str, expected: FileInfo) -> bytes:
        """A whole object of the source, verified. Raises as `copy`."""
        data = await self._source.get(key)
        checksum = await self._runtime.blocking(crc32, data)
        check(key, FileInfo(size_bytes=len(data), checksum=checksum), expected)
        await self._flow.take(len(data))
        return data

    async def _copy_file(self, path: Path, key: str, target_key: str, expected: FileInfo) -> None:
        scratch = self._scratch / str(next(self._names))
        blocking = self._runtime.blocking
        try:
            source = await blocking(_open, path, "rb")
        except FileNotFoundError:
            raise ObjectNotFound(f"object {key!r} does not exist") from None
        try:
            with source, await blocking(_open, scratch, "xb") as copy:
                size = checksum = 0
                while True:
                    count, checksum = await blocking(_copy_block, key, source, copy, checksum)
                    if not count:
                        break
                    size += count
                    await self._flow.take(count)
                check(key, FileInfo(size_bytes=size, checksum=checksum), expected)
                await blocking(copy.flush)
            await self._target.put_file(target_key, scratch)
        finally:
            await blocking(scratch.unlink, True)


def check(key: str, found: FileInfo, expected: FileInfo) -> None:
    """Compare an object with what was noted of it.

    Raises:
        CorruptObject: it differs; names it.
    """
    if found != expected:
        raise CorruptObject(
            f"object {key!r} has {found.size_bytes} bytes with checksum {found.checksum:08x}; "
            f"{expected.size_bytes} with {expected.checksum:08x} are expected"
        )


def _open(path: Path, mode: str) -> BinaryIO:
    return path.open(mode, buffering=0)  # type: ignore[return-value]


def _copy_block(key: str, source: BinaryIO, copy: BinaryIO, checksum: int) -> tuple[int, int]:
    """Bytes copied, 0 at the end, and the checksum of all so far."""
    try:
        block = source.read(_BLOCK_BYTES)
    except OSError as error:
        raise StorageError(f"reading object {key!r} failed: {error}") from error
    rest = memoryview(block)
    while rest:
        rest = rest[copy.write(rest) :]
    return len(block), crc32(block, checksum)
