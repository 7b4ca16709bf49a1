"""The folder of a reader's copied files: what lies there, how large it is, and what may go.

Its entries are the folder of a segment, `segments/<collection>/<segment>`, and a file of deletes,
`segments/<collection>/deletes/<name>`. Invariants: the segments never hold more than the limit; a
pinned entry stays; of the others the one used longest ago goes first. A reader that starts on the
folder of an earlier one takes over what lies there, trusting none of it: that has to be verified.
One folder serves one reader: each of several that are given one folder takes a part of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from mishards.core.errors import ConfigError, DataInUse, DiskFull, StorageError
from mishards.core.runtime import Runtime
from mishards.segments.layout import SEGMENTS
from mishards.storage.lock import DataLock

PARTIAL = ".partial-"
_log = logging.getLogger(__name__)

Sizes = dict[str, int]
"""By file name; empty name for an entry that is a file."""


class CacheFull(DiskFull):
    """What is pinned leaves no room below the limit."""


class FileCache:
    """Names, sizes and pins of what lies in one folder. From the loop's thread."""

    def __init__(
        self, runtime: Runtime, folder: Path, limit_bytes: int, *, shared: bool = False
    ) -> None:
        """Touches nothing yet.

        Args:
            limit_bytes: 0 for no limit but the disk's.
            shared: other readers may have been given the same folder.
        """
        self._runtime = runtime
        self._root = folder
        self.limit_bytes = limit_bytes
        self._shared = shared
        self._lock: DataLock | None = None
        self._opening = asyncio.Lock()
        self._folder: Path | None = None
        self._entries: dict[str, Sizes] = {}
        self._pins: Counter[str] = Counter()
        self._trusted: set[tuple[str, str]] = set()
        self.used_bytes = 0
        self.evicted = 0
        """Entries that had to make room, so far."""

    async def open(self) -> Path:
        """The folder, once what lies there was taken over.

        Raises:
            StorageError: it cannot be used.
        """
        if self._folder is None:
            async with self._opening:
                if self._folder is None:
                    self._folder = await self._runtime.blocking(self._take_over)
        return self._folder

    def close(self) -> None:
        """Let another reader have the folder."""
        if self._lock is not None:
            self._lock.release()

    def _take_over(self) -> Path:
        folder = self._own_part() if self._shared else self._root
        for partial in folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(partial, ignore_errors=True)
        found = sorted(_entries(folder), key=lambda entry: entry[1])
        for name, _, sizes in found:
            self._entries[name] = sizes
            self.used_bytes += sum(sizes.values())
        if found:
            _log.info(
                "took over %d segments and files of deletes, %d bytes, in %s",
                len(found), self.used_bytes, folder,
            )  # fmt: skip
        return folder

    def _own_part(self) -> Path:
        """The first part that no other reader has."""
        for number in itertools.count():
            self._lock = DataLock(self._root / str(number))
            try:
                self._lock.acquire()
            except DataInUse:
                continue
            except ConfigError as error:
                raise StorageError(f"the reader's cache cannot be used: {error.message}") from error
            return self._lock.folder
        raise AssertionError("numbers do not end")

    def trusts(self, name: str, file: str = "") -> bool:
        """Whether this reader has verified the entry, or one more file of it, or fetched it."""
        return (name, file) in self._trusted

    def trust(self, name: str, file: str = "") -> None:
        """See `trusts`."""
        self._trusted.add((name, file))

    def pin(self, name: str) -> None:
        """Keep an entry, whether it is there yet or not, until as many calls of `unpin`."""
        self._pins[name] += 1

    def unpin(self, name: str) -> None:
        """It may go when room is needed."""
        self._pins[name] -= 1
        if self._pins[name] <= 0:
            del self._pins[name]

    async def use(self, name: str, sizes: Mapping[str, int], *, bound: bool = True) -> None:
        """Count an entry's files, those that are about to be fetched among them.

        Args:
            bound: keep to the limit. A file of deletes is small, is read at once, and has to be.

        Raises:
            CacheFull: they do not fit, whatever else goes.
        """
        known = self._entries.get(name, {})
        try:
            await self.make_room(name, sum(sizes[file] for file in sizes.keys() - known.keys()))
        except CacheFull:
            if bound:
                raise
        known = self._entries.pop(name, {})
        self.used_bytes += sum(sizes[file] for file in sizes.keys() - known.keys())
        self._entries[name] = {**known, **sizes}
        assert self._folder is not None
        await self._runtime.blocking(_touch, self._folder / name)

    async def remove(self, name: str) -> None:
        """Remove an entry; files that are mapped stay readable."""
        del self._pins[name]
        files = self._entries.get(name, {})
        self._trusted.difference_update((name, file) for file in ("", *files))
        self.used_bytes -= sum(self._entries.pop(name, {}).values())
        if self._folder is not None:
            await self._runtime.blocking(_remove, self._folder / name)

    async def keep(self, wanted: Callable[[str], bool]) -> None:
        """Remove entries that are neither pinned nor wanted."""
        for name in [name for name in self._entries if name not in self._pins]:
            if not wanted(name):
                await self.remove(name)

    async def make_room(self, name: str, more_bytes: int) -> None:
        """Let others go until an entry may take so much more. Raises as `use`."""
        if not self.limit_bytes:
            return
        while self.used_bytes + more_bytes > self.limit_bytes:
            free = (one for one in self._entries if one not in self._pins and one != name)
            if (victim := next(free, None)) is None:
                raise CacheFull(
                    f"{name} needs {more_bytes} bytes of the reader's cache; of the "
                    f"{self.limit_bytes} that reader.cache_bytes allows, {self.used_bytes} are "
                    "in use by open segments"
                )
            self.evicted += 1
            await self.remove(victim)


def _entries(folder: Path) -> Iterator[tuple[str, float, Sizes]]:
    """Name, time of last use and sizes of each entry that lies in a folder."""
    for collection in _subfolders(folder / SEGMENTS):
        for path in _subfolders(collection):
            if path.name.isdecimal():
                sizes = {file.name: file.stat().st_size for file in path.iterdir()}
                yield str(path.relative_to(folder)), path.stat().st_mtime, sizes
            else:
                for file in path.iterdir():
                    status = file.stat()
                    yield str(file.relative_to(folder)), status.st_mtime, {"": status.st_size}


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _touch(path: Path) -> None:
    with suppress(OSError):
        os.utime(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
