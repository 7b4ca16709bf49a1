"""Reading objects at a bounded rate, to compare them with what they should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mishards.backup.flow import Flow
from mishards.core.checksum import crc32
from mishards.core.errors import CorruptObject, ObjectNotFound, StorageError
from mishards.core.runtime import Runtime
from mishards.segments.manifest import FileInfo
from mishards.storage.protocol import ObjectStore

_BLOCK_BYTES = 4 << 20


class PacedReader:
    """Reads from one store. From the loop's thread.

    Attributes:
        read_bytes: so far.
    """

    def __init__(
        self,
        runtime: Runtime,
        store: ObjectStore,
        rate_bytes_s: float = 0.0,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`rate_bytes_s`: 0 for no limit. `on_bytes` hears of all that was read."""
        self._runtime = runtime
        self._store = store
        self.read_bytes = 0
        self._on_bytes = on_bytes
        self._flow = Flow(runtime, rate_bytes_s, self._count)

    def _count(self, count: int) -> None:
        self.read_bytes += count
        self._on_bytes(count)

    async def get(self, key: str) -> bytes:
        """A whole object. Raises as `ObjectStore.get`."""
        data = await self._store.get(key)
        await self._flow.take(len(data))
        return data

    async def took(self, count: int) -> None:
        """Count, and wait for, what was read by other ways."""
        await self._flow.take(count)

    async def compare(self, key: str, expected: FileInfo) -> None:
        """Read an object and compare it with its size and checksum.

        Raises:
            ObjectNotFound: it is missing.
            CorruptObject: it differs.
            StorageError: it cannot be read.
        """
        path = self._store.local_path(key)
        if path is None:
            data = await self.get(key)
            found = FileInfo(size_bytes=len(data), checksum=crc32(data))
        else:
            found = await self._file_info(key, path)
        if found != expected:
            raise CorruptObject(
                f"object {key!r} has {found.size_bytes} bytes with checksum {found.checksum:08x}; "
                f"{expected.size_bytes} with {expected.checksum:08x} are expected"
            )

    async def _file_info(self, key: str, path: Path) -> FileInfo:
        block = memoryview(bytearray(_BLOCK_BYTES))
        size = checksum = 0
        try:
            file = await self._runtime.blocking(_open, path)
            try:
                while count := await self._runtime.blocking(_read, file, block):
                    size += count
                    checksum = await self._runtime.blocking(crc32, block[:count], checksum)
                    await self._flow.take(count)
            finally:
                file.close()
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectNotFound(f"object {key!r} is missing") from None
        except OSError as error:
            raise StorageError(f"object {key!r} cannot be read: {error}") from error
        return FileInfo(size_bytes=size, checksum=checksum)


def _open(path: Path) -> BinaryIO:
    return path.open("rb", buffering=0)


def _read(file: BinaryIO, block: memoryview) -> int:
    count: int = file.readinto(block)  # type: ignore[attr-defined]
    return count
