"""Closing segments that were not read for a while, where the cache has no room for another one.

Invariants: a segment that newer metadata no longer names is never closed here, since it could not
be opened again for the reads that were planned on it; nothing is closed for a segment that nobody
has asked for. A read that has a segment at hand ends undisturbed when it is closed: what it maps
stays readable.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from mishards.core.errors import DiskFull
from mishards.core.ids import SegmentId
from mishards.metadata.models import SegmentIndex, SegmentMeta
from mishards.reader.cache import CacheFull
from mishards.reader.collection import CollectionState
from mishards.reader.files import SegmentFiles

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Room:
    """Finds a place for the files of segments. From the loop's thread."""

    def __init__(
        self, files: SegmentFiles, states: Callable[[], Iterable[CollectionState]]
    ) -> None:
        """`states`: of all collections, with their open segments."""
        self._files = files
        self._states = states
        self.closed = 0
        """Segments that were closed to make room, so far."""

    async def folder(self, meta: SegmentMeta, *, ahead: bool) -> Path:
        """As `SegmentFiles.folder`; unless `ahead`, others are closed where that makes room.

        Raises:
            CacheFull: `ahead`, and there is no room.
            DiskFull: there is none, and nothing that may be closed.
        """
        if ahead:
            return await self._files.folder(meta)
        return await self._made(meta, lambda: self._files.folder(meta))

    async def index(self, meta: SegmentMeta, index: SegmentIndex, opened: Callable[[Path], T]) -> T:
        """As `SegmentFiles.index`; other segments are closed where that makes room.

        Raises:
            DiskFull: as `folder`.
        """
        return await self._made(meta, lambda: self._files.index(meta, index, opened))

    async def _made(self, meta: SegmentMeta, work: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await work()
            except CacheFull as error:
                if not self._close_one(meta.id):
                    raise DiskFull(error.message) from error

    def _close_one(self, needed: SegmentId) -> bool:
        """Close the one that was not read for the longest time; False where there is none."""
        found = [
            (opened.last_read, state, opened)
            for state in self._states()
            for opened in state.open.values()
            if opened.meta.id in state.view.segments and opened.meta.id != needed
        ]
        if not found:
            return False
        _, state, opened = min(found, key=lambda one: one[0])
        del state.open[opened.meta.id]
        self._files.release(opened.meta)
        self.closed += 1
        _log.info("segment %d makes room in the cache", opened.meta.id)
        return True
