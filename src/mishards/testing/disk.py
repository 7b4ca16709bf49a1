"""Disks that are full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def no_space(disk: Path, left_bytes: int = 0) -> Iterator[None]:
    """Not a byte left on the file system of a folder, or about so many, while the body runs."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
        file.truncate(max(0, file.tell() - left_bytes))
    try:
        yield
    finally:
        ballast.unlink()
