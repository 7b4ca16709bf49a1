"""Whether a folder's file system can do what `LocalStore` rests on, tried on files of its own.

Blocking; called off the loop. Invariants: its names start with a dot and a token that nobody else
has, and are removed whatever happens; every property is tried by itself, so that an error names it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mishards.core.errors import DiskFull, StorageUnfit
from mishards.storage import files

_DATA = bytes(range(256)) * 32
"""More than one page."""


def try_folder(folder: Path, token: str) -> None:
    """Try a folder that exists.

    Raises:
        StorageUnfit: names the folder and the property that does not hold.
        DiskFull: nothing can be told.
    """
    one, name, other = (folder / f".self-test.{token}.{part}" for part in ("one", "name", "other"))
    try:
        with _tried(folder, "writing a file and fsync"):
            files.write_new(one, _DATA)
        with _tried(folder, "hard links"):
            # Over NFS a link whose answer was lost is repeated, and refused: the count decides.
            with suppress(FileExistsError):
                name.hardlink_to(one)
            _check(folder, "hard links", one.stat().st_nlink == 2, "a linked file counts no link")
        _refused(folder, "exclusive creation by hard links", lambda: name.hardlink_to(one))
        _refused(folder, "exclusive creation by opening", lambda: files.write_new(name, b""))
        with _tried(folder, "fsync of the folder"):
            files.sync(folder)
        with _tried(folder, "renaming over a file"):
            files.write_new(other, _DATA[:100])
            files.replace(other, name)
            _check(folder, "renaming", not other.exists(), "the old name is still there")
            _check(folder, "renaming", name.stat().st_size == 100, "the name has its old file")
        with _tried(folder, "reading what was written"):
            data = _uncached(one)
            _check(folder, "reading", data == _DATA, "a file opened anew holds other bytes")
        with _tried(folder, "listing"):
            listed = {entry.name for entry in os.scandir(folder)}
            _check(folder, "listing", {one.name, name.name} <= listed, "a new file is not listed")
        with _tried(folder, "removing a file"):
            one.unlink()
            _check(folder, "removing", not one.exists(), "a removed file is still there")
    finally:
        for path in (one, name, other):
            files.remove(path)


def _uncached(path: Path) -> bytes:
    """The file's bytes through a handle of its own, from the disk or the server where that can be
    asked for: fsynced pages are dropped from this machine's memory first."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.read(descriptor, len(_DATA) + 1)
    finally:
        os.close(descriptor)


def _refused(folder: Path, what: str, work: Callable[[], None]) -> None:
    """`work` takes a name that is taken."""
    with _tried(folder, what):
        try:
            work()
        except FileExistsError:
            return
    _check(folder, what, False, "a name that is taken could be taken again")


def _check(folder: Path, what: str, holds: bool, how: str) -> None:
    if not holds:
        raise StorageUnfit(f"folder {str(folder)!r} cannot be used as storage: {what}: {how}")


@contextmanager
def _tried(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no space left in folder {str(folder)!r}") from error
        raise StorageUnfit(
            f"folder {str(folder)!r} cannot be used as storage: {what} failed: {error}"
        ) from error
