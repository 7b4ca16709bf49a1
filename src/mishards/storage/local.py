"""Objects as files below a folder of a local disk or a network mount.

Invariants: an object appears under its name whole and fsynced, or not at all; a write returns
after the folder that holds its name was fsynced, and every folder made for it. Names that start
with a dot are temporary files: never listed, left behind only by a crash, harmless.
"""

from __future__ import annotations

import errno
import itertools
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mishards.core.errors import (
    ConfigError,
    DiskFull,
    ObjectExists,
    ObjectNotFound,
    StorageError,
)
from mishards.core.runtime import Runtime
from mishards.core.secret import redact
from mishards.storage import files
from mishards.storage.folder_trial import try_folder
from mishards.storage.keys import check_key, check_prefix
from mishards.storage.protocol import ObjectInfo


class LocalStore:
    """An `ObjectStore` on a file system with hard links; each operation is one hop off the loop.

    Several processes, also of several machines on one mount, may use one folder.
    """

    def __init__(self, root: Path, runtime: Runtime) -> None:
        """Create the folder when it is missing.

        Raises:
            ConfigError: the folder cannot be created; names it.
        """
        self.root = root.absolute()
        self._runtime = runtime
        # Process ids repeat across the machines of a mount.
        token = uuid.uuid4().hex
        self._temporary_names = (f".{token}.{number}" for number in itertools.count())
        try:
            files.make_folder(self.root)
        except OSError as error:
            raise ConfigError(f"cannot use {str(root)!r} as storage folder: {error}") from error

    async def get(self, key: str) -> bytes:
        path = self._path(key)
        return await self._runtime.blocking(_get, key, path)

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        """One hop off the loop for all of them."""
        objects = [(key, self._path(key)) for key in keys]
        return await self._runtime.blocking(_get_all, objects)

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        path = self._path(key)
        return await self._runtime.blocking(_get_part, key, path, start, size_bytes)

    async def create(self, key: str, data: bytes) -> None:
        path = self._path(key)
        await self._runtime.blocking(_create, key, path, self._temporary(path), data)

    async def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        await self._runtime.blocking(_put, key, path, self._temporary(path), data)

    async def put_file(self, key: str, path: Path) -> None:
        target = self._path(key)
        await self._runtime.blocking(_put_file, key, path, target, self._temporary(target))

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        check_prefix(prefix)
        return await self._runtime.blocking(_list, self.root, prefix, start_after)

    async def delete(self, key: str) -> None:
        path = self._path(key)
        await self._runtime.blocking(_delete, [(key, path)], self.root)

    async def delete_all(self, keys: Sequence[str]) -> None:
        """One `fsync` for each folder, however many objects it loses."""
        paths = [(key, self._path(key)) for key in keys]
        await self._runtime.blocking(_delete, paths, self.root)

    def local_path(self, key: str) -> Path | None:
        """The file of the object, whether it exists or not."""
        return self._path(key)

    async def self_test(self) -> None:
        """Try what the file system has to do; see `SelfTesting`."""
        await self._runtime.blocking(try_folder, self.root, uuid.uuid4().hex)

    async def close(self) -> None:
        pass

    def _path(self, key: str) -> Path:
        check_key(key)
        return self.root / key

    def _temporary(self, path: Path) -> Path:
        """A new name beside `path`, so that giving the file its name stays on one device."""
        return path.with_name(next(self._temporary_names))


def open_local(url: str, runtime: Runtime) -> LocalStore:
    """The store of a `file:///folder` URL.

    Raises:
        ConfigError: the URL names a host or no folder, or the folder cannot be created.
    """
    parts = urlsplit(url)
    if parts.netloc or not parts.path.strip("/"):
        raise ConfigError(f"invalid storage URL {redact(url)!r}: expected file:///folder")
    return LocalStore(Path(unquote(parts.path)), runtime)


@contextmanager
def _errors(doing: str, key: str) -> Iterator[None]:
    """Turn the system's errors into the project's, naming the object."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no space left while {doing} object {key!r}") from error
        raise StorageError(f"{doing} object {key!r} failed: {error}") from error


@contextmanager
def _reading(key: str) -> Iterator[None]:
    """As `_errors`, of an object that may not be there."""
    with _errors("reading", key):
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectNotFound(f"object {key!r} does not exist") from error


def _get_all(objects: Sequence[tuple[str, Path]]) -> list[bytes | None]:
    found: list[bytes | None] = []
    for key, path in objects:
        try:
            found.append(_get(key, path))
        except ObjectNotFound:
            found.append(None)
        except StorageError:
            if not found:
                raise
            break
    return found


def _get(key: str, path: Path) -> bytes:
    with _reading(key):
        return files.reopened(path.read_bytes)


def _get_part(key: str, path: Path, start: int, size_bytes: int) -> bytes:
    with _reading(key):
        return files.reopened(lambda: _part(path, start, size_bytes))


def _part(path: Path, start: int, size_bytes: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        parts = []
        file.seek(start)
        while size_bytes and (part := file.read(size_bytes)):
            parts.append(part)
            size_bytes -= len(part)
        return b"".join(parts)


def _create(key: str, path: Path, temporary: Path, data: bytes) -> None:
    with _errors("creating", key):
        files.write_new(temporary, data)
        try:
            os.link(temporary, path)
        except FileExistsError as error:
            # Over NFS the answer to a link that succeeded can get lost and its repetition be
            # refused; a second link to our own file tells.
            if files.links_of(temporary) != 2:
                raise ObjectExists(f"object {key!r} exists") from error
        finally:
            files.remove(temporary)
        files.sync(path.parent)


def _put(key: str, path: Path, temporary: Path, data: bytes) -> None:
    with _errors("writing", key):
        files.write_new(temporary, data)
        files.replace(temporary, path)


def _put_file(key: str, source: Path, path: Path, temporary: Path) -> None:
    with _errors("writing", key):
        files.move(source, path, temporary)


def _delete(objects: Sequence[tuple[str, Path]], root: Path) -> None:
    folders: dict[Path, str] = {}
    for key, path in objects:
        with _errors("deleting", key), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            folders[path.parent] = key
    for folder, key in folders.items():
        with _errors("deleting", key):
            try:
                files.sync(folder)
            except OSError as error:
                if error.errno not in files.GONE:
                    raise
        # A folder is as good as absent once it is empty; whoever writes there makes it again.
        with suppress(OSError):
            while folder != root:
                folder.rmdir()
                folder = folder.parent


def _list(root: Path, prefix: str, start_after: str) -> list[ObjectInfo]:
    with _errors("listing", prefix):
        return files.reopened(lambda: _walk(root, prefix, start_after))


def _walk(root: Path, prefix: str, start_after: str) -> list[ObjectInfo]:
    found: list[ObjectInfo] = []
    folders = [prefix.rpartition("/")[0]]
    while folders:
        _scan(root, folders.pop(), prefix, start_after, found, folders)
    found.sort()
    return found


def _scan(
    root: Path,
    folder: str,
    prefix: str,
    start_after: str,
    found: list[ObjectInfo],
    folders: list[str],
) -> None:
    """Add a folder's objects to `found`, and to `folders` those that may hold further ones.

    Names are compared before anything is asked of the file, so that a long log folder costs one
    system call for each entry that is wanted and none for the others.
    """
    start = f"{folder}/" if folder else ""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(root / folder) as entries:
        for entry in entries:
            key = start + entry.name
            if entry.name[0] == "." or not key.startswith(prefix):
                continue
            if entry.is_dir():
                inside = key + "/"
                if inside >= start_after[: len(inside)]:
                    folders.append(key)
            elif key > start_after:
                with suppress(FileNotFoundError):
                    found.append(ObjectInfo(key, entry.stat().st_size))
