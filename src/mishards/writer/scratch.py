"""Folders for files under construction. Removed when their work ends, whatever its end."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mishards.core.errors import DiskFull, StorageError
from mishards.core.runtime import Runtime


@asynccontextmanager
async def scratch_folder(runtime: Runtime, parent: str) -> AsyncIterator[Path]:
    """An empty folder below `parent` (empty: the system's), gone afterwards.

    Raises:
        DiskFull, StorageError: for an `OSError` of the body, or of making the folder.
    """
    try:
        folder = await runtime.blocking(_make, parent)
        try:
            yield folder
        finally:
            await runtime.blocking(_remove, folder)
    except OSError as error:
        where = parent or tempfile.gettempdir()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (DiskFull if full else StorageError)(
            f"files under construction in {where!r}: {error}"
        ) from error


def _make(parent: str) -> Path:
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="mishards-", dir=parent or None))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
