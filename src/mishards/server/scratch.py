"""A node's folder for files that need not survive it.

Invariants: it is gone when its node has ended; where the node was killed, the next node of the
machine that starts removes it. Its owner holds a lock on the folder itself, which the kernel
takes back however the process dies, so a folder in use is never removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "mishards-node-"


@contextlib.contextmanager
def node_scratch(parent: str = "") -> Iterator[Path]:
    """An empty folder of this node alone, below `parent` (empty: the system's). Blocking.

    Raises:
        OSError: it cannot be made.
    """
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    sweep(Path(parent or tempfile.gettempdir()))
    folder, descriptor = _locked_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep(parent: Path) -> None:
    """Remove the folders below `parent` whose nodes have died."""
    for folder in parent.glob(f"{_PREFIX}*"):
        descriptor = _lock(folder)
        if descriptor is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _locked_folder(parent: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent or None))
        descriptor = _lock(folder)
        # A sweep of another node may have come between the two steps.
        if descriptor is not None:
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """An open descriptor that holds the folder's lock; None when another holds it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
