"""Copies objects into local files, large ones piece by piece: one may be larger than memory."""

from __future__ import annotations

from pathlib import Path

from mishards.core.checksum import crc32
from mishards.core.runtime import Runtime
from mishards.storage.protocol import ObjectStore

PIECE_BYTES = 16 * 1024 * 1024


async def fetch(
    store: ObjectStore, runtime: Runtime, key: str, size_bytes: int, path: Path
) -> tuple[int, int]:
    """Copy an object into a new file; how many bytes came, and their CRC-32.

    Args:
        size_bytes: what the object should have. Of one that has more, more may come.

    Raises:
        ObjectNotFound, StorageError: as the store's.
        OSError: the file cannot be written.
    """
    if size_bytes <= PIECE_BYTES:
        data = await store.get(key)
        return len(data), await runtime.blocking(_append, path, data, 0)
    done, checksum = 0, 0
    while (rest := size_bytes - done) > 0:
        part = await store.get_part(key, done, PIECE_BYTES if rest > PIECE_BYTES else rest + 1)
        checksum = await runtime.blocking(_append, path, part, checksum)
        done += len(part)
        if len(part) < min(rest, PIECE_BYTES):
            break
    return done, checksum


def _append(path: Path, data: bytes, checksum: int) -> int:
    with path.open("ab", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
    return crc32(data, checksum)
