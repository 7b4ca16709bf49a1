"""Files of segments as local files that can be memory-mapped, found sound before they are used.

Invariants: where storage is a file system, its own files are used; otherwise objects are copied
into the cache folder, where a file or folder that bears its final name is whole. What is cached
is never changed: objects never change either. A copy that is found damaged is fetched again, once;
what storage itself holds is never touched.
"""

from __future__ import annotations

import errno
import itertools
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mishards.core.errors import (
    CorruptObject,
    DiskFull,
    ObjectNotFound,
    SegmentNotFound,
    StorageError,
)
from mishards.core.ids import CollectionId
from mishards.core.runtime import Runtime
from mishards.metadata.models import DeleteFile, SegmentIndex, SegmentMeta
from mishards.reader.deletes import DeletedKeys
from mishards.reader.quarantine import DAMAGE
from mishards.segments.deletes import read_deletes
from mishards.segments.layout import MANIFEST, deletes_key, segment_key
from mishards.segments.manifest import (
    FileInfo,
    check_bytes,
    decode_manifest,
    read_manifest,
    verify_file,
    verify_segment,
)
from mishards.storage.protocol import ObjectStore

T = TypeVar("T")
_log = logging.getLogger(__name__)


class SegmentFiles:
    """Finds or fetches files. From the loop's thread."""

    def __init__(
        self, runtime: Runtime, store: ObjectStore, cache_dir: Path, *, verify: bool = True
    ) -> None:
        """`verify`: compare checksums whenever a file is opened; else only of fetched copies."""
        self._runtime = runtime
        self._store = store
        self._cache = cache_dir
        self._verify = verify
        self._numbers = itertools.count()

    async def folder(self, meta: SegmentMeta) -> Path:
        """The folder with the files of a segment, its indexes not necessarily among them.

        Raises:
            SegmentNotFound: a file is missing; names it.
            CorruptObject: a file is damaged; names it.
            StorageError: storage failed.
        """
        if (local := self._store.local_path(meta.folder)) is not None:
            if self._verify:
                await self._runtime.blocking(verify_segment, local)
            return local
        folder = self._cache / meta.folder
        if await self._runtime.blocking(folder.is_dir):
            try:
                await self._runtime.blocking(verify_segment if self._verify else _exists, folder)
            except DAMAGE as error:
                _log.warning("segment %d is fetched again: %s", meta.id, error)
                await self._runtime.blocking(_remove, folder)
            else:
                return folder
        await self._fetch_folder(meta, folder)
        return folder

    async def _fetch_folder(self, meta: SegmentMeta, folder: Path) -> None:
        partial = self._temporary()
        key = f"{meta.folder}/{MANIFEST}"
        try:
            data = await self._store.get(key)
            manifest = decode_manifest(data, key)
            await self._runtime.blocking(_write, partial / MANIFEST, data)
            for name, info in manifest.files.items():
                await self._copy(f"{meta.folder}/{name}", info, partial / name)
            await self._runtime.blocking(_move, partial, folder)
        except ObjectNotFound as error:
            raise SegmentNotFound(f"segment {meta.id} is not whole: {error.message}") from error
        finally:
            await self._runtime.blocking(_remove, partial)

    async def index(self, meta: SegmentMeta, index: SegmentIndex, opened: Callable[[Path], T]) -> T:
        """What `opened` makes of the file of an index. `opened` runs off the loop.

        Raises:
            SegmentNotFound, ObjectNotFound: it is missing; names it.
            CorruptObject: it is damaged, or `opened` cannot read it; names it.
            StorageError: storage failed.
        """
        info = FileInfo(size_bytes=index.size_bytes, checksum=index.checksum)

        def work(path: Path) -> T:
            if self._verify:
                # Faiss follows the numbers in a file blindly: a damaged one can end the process.
                verify_file(path, info)
            return opened(path)

        return await self._read(segment_key(meta.collection_id, meta.id, index.name), info, work)

    async def deletes(self, collection: CollectionId, file: DeleteFile) -> DeletedKeys:
        """The contents of a delete file.

        Raises:
            ObjectNotFound: it is missing; names it.
            CorruptObject: it is damaged; names it.
            StorageError: storage failed.
        """
        info = FileInfo(size_bytes=file.size_bytes, checksum=file.checksum)
        key = deletes_key(collection, file.name)
        return await self._read(key, info, lambda path: read_deletes(path, file.checksum))

    async def forget(self, meta: SegmentMeta) -> None:
        """Remove what is cached of a segment; files that are mapped stay readable."""
        if self._store.local_path(meta.folder) is None:
            await self._runtime.blocking(_remove, self._cache / meta.folder)

    async def _read(self, key: str, info: FileInfo, work: Callable[[Path], T]) -> T:
        """The result of `work` on the object's file."""
        if (local := self._store.local_path(key)) is not None:
            return await self._runtime.blocking(work, local)
        path = self._cache / key
        if await self._runtime.blocking(path.is_file):
            try:
                return await self._runtime.blocking(work, path)
            except DAMAGE as error:
                _log.warning("object %r is fetched again: %s", key, error)
                await self._runtime.blocking(_unlink, path)
        await self._fetch(key, info, path)
        try:
            return await self._runtime.blocking(work, path)
        except CorruptObject:
            await self._runtime.blocking(_unlink, path)
            raise

    async def _fetch(self, key: str, info: FileInfo, path: Path) -> None:
        partial = self._temporary()
        try:
            await self._copy(key, info, partial / path.name)
            await self._runtime.blocking(_move, partial / path.name, path)
        finally:
            await self._runtime.blocking(_remove, partial)

    async def _copy(self, key: str, info: FileInfo, path: Path) -> None:
        data = await self._store.get(key)
        await self._runtime.blocking(check_bytes, data, info, f"object {key!r}")
        await self._runtime.blocking(_write, path, data)

    def _temporary(self) -> Path:
        return self._cache / f".partial-{next(self._numbers)}"


def _exists(folder: Path) -> None:
    """What a copied folder without verification is held to."""
    read_manifest(folder)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the system's errors into the project's, naming the file."""
    try:
        yield
    except OSError as error:
        failure = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise failure(f"file {path} of the reader's cache cannot be written: {error}") from error


def _write(path: Path, data: bytes) -> None:
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _move(source: Path, target: Path) -> None:
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
