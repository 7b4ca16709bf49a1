"""Durable work on files and folders: what it returns from is on the disk.

Blocking; called off the loop. Raises `OSError`s as they come.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

GONE = (errno.ENOENT, errno.ESTALE)
"""Errors that say that a folder is not there any more; the second over NFS."""
_MKDIR_ATTEMPTS = 5
_STALE_ATTEMPTS = 3


def write_new(path: Path, data: bytes | memoryview) -> None:
    """Write and fsync a new file, in a folder made when missing; nothing is left after an error.

    The name itself is durable only after `sync` of the folder.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = in_folder(path, lambda: os.open(path, flags, 0o644))
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        remove(path)
        raise


def replace(source: Path, target: Path) -> None:
    """Give an fsynced file its name, durably; it is removed when that fails."""
    try:
        _rename(source, target)
    except OSError:
        remove(source)
        raise
    sync(target.parent)


def move(source: Path, target: Path, temporary: Path) -> None:
    """Move a file durably; across devices through `temporary`, which lies beside the target."""
    sync(source)
    try:
        in_folder(target, lambda: _rename(source, target))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        sync(target.parent)
        return
    try:
        in_folder(temporary, lambda: shutil.copyfile(source, temporary))
        sync(temporary)
    except OSError:
        remove(temporary)
        raise
    replace(temporary, target)
    remove(source)


def _rename(source: Path, target: Path) -> None:
    number = source.stat().st_ino
    try:
        source.rename(target)
    except FileNotFoundError:
        # Over NFS the answer to a rename can get lost, and its repetition finds no source.
        if not _is_file(target, number):
            raise


def _is_file(path: Path, number: int) -> bool:
    try:
        return path.stat().st_ino == number
    except OSError:
        return False


def links_of(path: Path) -> int:
    """How many names a file has. Opening it asks the server of a mount; its name alone may not."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.fstat(descriptor).st_nlink
    finally:
        os.close(descriptor)


def reopened(work: Callable[[], T]) -> T:
    """Do `work`, which opens names; again where another machine of a mount had replaced or removed
    what was open under one (ESTALE)."""
    for _ in range(_STALE_ATTEMPTS):
        try:
            return work()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return work()


def remove(path: Path) -> None:
    """Remove a file if it can be."""
    with suppress(OSError):
        path.unlink()


def sync(path: Path) -> None:
    """Bring a file's bytes, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    sync(folder.parent)


def in_folder(path: Path, work: Callable[[], T]) -> T:
    """Do `work`, which makes `path`; make the folder it is to lie in when that is missing.

    Repeated, since someone may remove the folder again while it is empty.
    """
    for _ in range(_MKDIR_ATTEMPTS):
        try:
            return work()
        except OSError as error:
            if error.errno not in GONE:
                raise
            make_folder(path.parent)
    return work()
