"""A progress bar on the terminal for what takes long; nothing where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class ByteBar:
    """Bytes done of a total that may still rise."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=None)

    def total(self, size_bytes: int) -> None:
        self._bar.update(self._task, total=size_bytes)

    def advance(self, count: int) -> None:
        self._bar.advance(self._task, count)

    def doing(self, what: str) -> None:
        self._bar.update(self._task, description=what)


@contextmanager
def byte_bar(*, shown: bool = True) -> Iterator[ByteBar]:
    """A bar on standard error while the body runs; hidden where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    visible = shown and sys.stderr.isatty()
    with Progress(*columns, console=console, disable=not visible) as bar:
        yield ByteBar(bar)
