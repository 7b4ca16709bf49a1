"""Files of segments as local files that can be memory-mapped, found sound before they are used.

Invariants: where storage is a file system, its own files are used; otherwise objects are copied
into the cache (see `cache`), where a file or folder that bears its final name is whole. What is
cached is never changed: objects never change either. A copy that is found damaged is fetched again,
once; what storage itself holds is never touched.
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
from mishards.reader.cache import PARTIAL, FileCache
from mishards.reader.deletes import DeletedKeys
from mishards.reader.quarantine import DAMAGE
from mishards.segments.deletes import read_deletes
from mishards.segments.layout import MANIFEST, deletes_key, segment_key
from mishards.segments.manifest import (
    FileInfo,
    Manifest,
    check_info,
    decode_manifest,
    read_manifest,
    verify_file,
    verify_segment,
)
from mishards.storage.fetch import fetch
from mishards.storage.protocol import ObjectStore

T = TypeVar("T")
_log = logging.getLogger(__name__)


class SegmentFiles:
    """Finds or fetches files. From the loop's thread."""

    def __init__(
        self, runtime: Runtime, store: ObjectStore, cache: FileCache, *, verify: bool = True
    ) -> None:
        """`verify`: compare checksums whenever a file is opened; else only of fetched copies, and
        of those that an earlier reader left when they are first used."""
        self._runtime = runtime
        self._store = store
        self._cache = cache
        self._verify = verify
        self._numbers = itertools.count()

    async def folder(self, meta: SegmentMeta) -> Path:
        """The folder with the files of a segment, its indexes not necessarily among them; it is
        kept until `release` or `forget`.

        Raises:
            SegmentNotFound: a file is missing; names it.
            CorruptObject: a file is damaged; names it.
            StorageError: storage failed.
            CacheFull: there is no room for it while what is kept is kept.
            DiskFull: the disk is full.
        """
        if (local := self._store.local_path(meta.folder)) is not None:
            if self._verify:
                await self._runtime.blocking(verify_segment, local)
            return local
        self._cache.pin(meta.folder)
        try:
            return await self._cached_folder(meta)
        except BaseException:
            self._cache.unpin(meta.folder)
            raise

    async def _cached_folder(self, meta: SegmentMeta) -> Path:
        folder = await self._cache.open() / meta.folder
        if await self._runtime.blocking(folder.is_dir):
            trusted = self._cache.trusts(meta.folder) and not self._verify
            try:
                await self._runtime.blocking(_exists if trusted else verify_segment, folder)
            except DAMAGE as error:
                _log.warning("segment %d is fetched again: %s", meta.id, error)
                await self.forget(meta)
                self._cache.pin(meta.folder)
            else:
                await self._cache.use(meta.folder, _sizes(meta, await self._manifest(folder)))
                self._cache.trust(meta.folder)
                return folder
        await self._fetch_folder(meta, folder)
        self._cache.trust(meta.folder)
        return folder

    async def _manifest(self, folder: Path) -> Manifest:
        return await self._runtime.blocking(read_manifest, folder)

    async def _fetch_folder(self, meta: SegmentMeta, folder: Path) -> None:
        partial = await self._temporary()
        key = f"{meta.folder}/{MANIFEST}"
        try:
            await self._cache.make_room(meta.folder, meta.size_bytes)
            data = await self._store.get(key)
            manifest = decode_manifest(data, key)
            await self._cache.use(meta.folder, _sizes(meta, manifest))
            await self._runtime.blocking(_write, partial / MANIFEST, data)
            for name, info in manifest.files.items():
                await self._copy(f"{meta.folder}/{name}", info, partial / name)
            await self._runtime.blocking(_move, partial, folder)
        except ObjectNotFound as error:
            await self.forget(meta)
            raise SegmentNotFound(f"segment {meta.id} is not whole: {error.message}") from error
        except BaseException:
            await self.forget(meta)
            raise
        finally:
            await self._runtime.blocking(_remove, partial)

    async def index(self, meta: SegmentMeta, index: SegmentIndex, opened: Callable[[Path], T]) -> T:
        """What `opened` makes of the file of an index. `opened` runs off the loop.

        Raises:
            SegmentNotFound, ObjectNotFound: it is missing; names it.
            CorruptObject: it is damaged, or `opened` cannot read it; names it.
            StorageError: storage failed.
            CacheFull: there is no room for it while what is kept is kept.
        """
        info = FileInfo(size_bytes=index.size_bytes, checksum=index.checksum)

        def work(path: Path, trusted: bool) -> T:
            if not trusted:
                # Faiss follows the numbers in a file blindly: a damaged one can end the process.
                verify_file(path, info)
            return opened(path)

        key = segment_key(meta.collection_id, meta.id, index.name)
        return await self._read(key, info, meta.folder, work)

    async def deletes(self, collection: CollectionId, file: DeleteFile) -> DeletedKeys:
        """The contents of a delete file.

        Raises:
            ObjectNotFound: it is missing; names it.
            CorruptObject: it is damaged; names it.
            StorageError: storage failed.
        """
        info = FileInfo(size_bytes=file.size_bytes, checksum=file.checksum)
        key = deletes_key(collection, file.name)
        self._cache.pin(key)
        try:
            return await self._read(
                key, info, key, lambda path, _trusted: read_deletes(path, file.checksum)
            )
        finally:
            self._cache.unpin(key)

    def release(self, meta: SegmentMeta) -> None:
        """Nobody has the segment open any more: what is cached of it may go for others."""
        self._cache.unpin(meta.folder)

    async def forget(self, meta: SegmentMeta) -> None:
        """Remove what is cached of a segment; files that are mapped stay readable."""
        if self._store.local_path(meta.folder) is None:
            await self._cache.remove(meta.folder)

    async def keep(self, wanted: Callable[[str], bool]) -> None:
        """Remove what is cached of segments that are not open, and of deletes, but for the keys
        and folders that are wanted."""
        await self._cache.keep(wanted)

    def close(self) -> None:
        """Let another reader have the cache."""
        self._cache.close()

    async def _read(
        self, key: str, info: FileInfo, entry: str, work: Callable[[Path, bool], T]
    ) -> T:
        """The result of `work` on the object's file, which is part of an entry of the cache, and
        on whether it need not be verified."""
        if (local := self._store.local_path(key)) is not None:
            return await self._runtime.blocking(work, local, not self._verify)
        path = await self._cache.open() / key
        file = key[len(entry) :].lstrip("/")
        await self._cache.use(entry, {file: info.size_bytes}, bound=bool(file))
        result = await self._of_copy(key, info, path, work, self._cache.trusts(entry, file))
        self._cache.trust(entry, file)
        return result

    async def _of_copy(
        self, key: str, info: FileInfo, path: Path, work: Callable[[Path, bool], T], trusted: bool
    ) -> T:
        trusted = trusted and not self._verify
        if await self._runtime.blocking(path.is_file):
            try:
                return await self._runtime.blocking(work, path, trusted)
            except DAMAGE as error:
                _log.warning("object %r is fetched again: %s", key, error)
                await self._runtime.blocking(_unlink, path)
        await self._fetch(key, info, path)
        try:
            return await self._runtime.blocking(work, path, not self._verify)
        except CorruptObject:
            await self._runtime.blocking(_unlink, path)
            raise

    async def _fetch(self, key: str, info: FileInfo, path: Path) -> None:
        partial = await self._temporary()
        try:
            await self._copy(key, info, partial / path.name)
            await self._runtime.blocking(_move, partial / path.name, path)
        finally:
            await self._runtime.blocking(_remove, partial)

    async def _copy(self, key: str, info: FileInfo, path: Path) -> None:
        with _writing(path):
            await self._runtime.blocking(_make_folder, path.parent)
            size, checksum = await fetch(self._store, self._runtime, key, info.size_bytes, path)
        check_info(FileInfo(size_bytes=size, checksum=checksum), info, f"object {key!r}")

    async def _temporary(self) -> Path:
        return await self._cache.open() / f"{PARTIAL}{next(self._numbers)}"


def _sizes(meta: SegmentMeta, manifest: Manifest) -> dict[str, int]:
    """What a segment takes in the cache, with its indexes: a place for the one and none for the
    others would be of little use."""
    files = {name: info.size_bytes for name, info in manifest.files.items()}
    return {**files, **{built.name: built.size_bytes for built in meta.indexes}}


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
        _make_folder(path.parent)
        path.write_bytes(data)


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _move(source: Path, target: Path) -> None:
    with _writing(target):
        _make_folder(target.parent)
        source.rename(target)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
