"""Files of segments as local files that can be memory-mapped.

Invariants: where storage is a file system, its own files are used; otherwise objects are copied
into the cache folder, where a file or folder that bears its final name is whole. What is cached
is never changed: objects never change either.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from mishards.core.errors import ObjectNotFound, SegmentNotFound
from mishards.core.ids import CollectionId
from mishards.core.runtime import Runtime
from mishards.metadata.models import DeleteFile, SegmentIndex, SegmentMeta
from mishards.segments.layout import MANIFEST, deletes_key, segment_key
from mishards.segments.manifest import read_manifest, verify_segment
from mishards.storage.protocol import ObjectStore


class SegmentFiles:
    """Finds or fetches files. From the loop's thread."""

    def __init__(self, runtime: Runtime, store: ObjectStore, cache_dir: Path) -> None:
        self._runtime = runtime
        self._store = store
        self._cache = cache_dir
        self._numbers = itertools.count()

    async def folder(self, meta: SegmentMeta) -> Path:
        """The folder with the files of a segment, its indexes not necessarily among them.

        Raises:
            SegmentNotFound: a file is missing on storage; names it.
            CorruptObject: a file that was copied is damaged; names it.
            StorageError: storage failed.
        """
        if (local := self._store.local_path(meta.folder)) is not None:
            return local
        folder = self._cache / meta.folder
        if await self._runtime.blocking(folder.is_dir):
            return folder
        partial = self._temporary()
        try:
            await self._copy(f"{meta.folder}/{MANIFEST}", partial / MANIFEST)
            manifest = await self._runtime.blocking(read_manifest, partial)
            for name in manifest.files:
                await self._copy(f"{meta.folder}/{name}", partial / name)
            await self._runtime.blocking(verify_segment, partial)
            await self._runtime.blocking(_move, partial, folder)
        except ObjectNotFound as error:
            raise SegmentNotFound(f"segment {meta.id} is not whole: {error.message}") from error
        finally:
            await self._runtime.blocking(_remove, partial)
        return folder

    async def index(self, meta: SegmentMeta, index: SegmentIndex) -> Path:
        """The file of an index. Raises `ObjectNotFound`, `StorageError`."""
        return await self._file(segment_key(meta.collection_id, meta.id, index.name))

    async def deletes(self, collection: CollectionId, file: DeleteFile) -> Path:
        """A delete file. Raises `ObjectNotFound`, `StorageError`."""
        return await self._file(deletes_key(collection, file.name))

    async def forget(self, meta: SegmentMeta) -> None:
        """Remove what is cached of a segment; files that are mapped stay readable."""
        if self._store.local_path(meta.folder) is None:
            await self._runtime.blocking(_remove, self._cache / meta.folder)

    async def forget_index(self, meta: SegmentMeta, index: SegmentIndex) -> None:
        """Remove what is cached of an index, so that it is fetched again."""
        if self._store.local_path(meta.folder) is None:
            path = self._cache / segment_key(meta.collection_id, meta.id, index.name)
            await self._runtime.blocking(_unlink, path)

    async def _file(self, key: str) -> Path:
        if (local := self._store.local_path(key)) is not None:
            return local
        path = self._cache / key
        if not await self._runtime.blocking(path.is_file):
            partial = self._temporary()
            try:
                await self._copy(key, partial / path.name)
                await self._runtime.blocking(_move, partial / path.name, path)
            finally:
                await self._runtime.blocking(_remove, partial)
        return path

    async def _copy(self, key: str, path: Path) -> None:
        await self._runtime.blocking(_write, path, await self._store.get(key))

    def _temporary(self) -> Path:
        return self._cache / f".partial-{next(self._numbers)}"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
