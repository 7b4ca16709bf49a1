"""Letting go of what has expired: segments of which no row lives any longer leave the metadata.

Their files are garbage then, and are collected. Reads leave expired rows out by themselves
(`ReadPoint.expired`), so nothing depends on when this happens; segments of which some rows live
are compaction's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from mishards.core.errors import MishardsError
from mishards.core.ids import CollectionId, LogId, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.ttl import expired_up_to
from mishards.metadata.models import DeleteFile, SegmentMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.writer.catalog import Catalog
from mishards.writer.config import WriterConfig
from mishards.writer.edit import NOTHING, Edit

_log = logging.getLogger(__name__)


def has_expired(segment: SegmentMeta, expired: Timestamp) -> bool:
    """Whether no row of the segment lives.

    Args:
        expired: see `expired_up_to`.
    """
    return segment.max_ts <= expired


def expiry_edit(view: CollectionView, expired: Timestamp) -> Edit:
    """Removes the segments of which no row lives, and the files of deletes that concern none of
    the others."""
    gone = [segment for segment in view.segments.values() if has_expired(segment, expired)]
    if not gone:
        return NOTHING
    left = [segment for segment in view.segments.values() if not has_expired(segment, expired)]
    keys = tuple(segment.key for segment in gone)
    deletes = tuple(file for file in view.meta.deletes if _is_needed(file, left))
    if deletes == view.meta.deletes:
        return Edit((), keys)
    return Edit((msgspec.structs.replace(view.meta, deletes=deletes),), keys)


def _is_needed(file: DeleteFile, segments: list[SegmentMeta]) -> bool:
    """Whether a segment may hold a row that the file deletes."""
    return any(
        file.max_ts > segment.min_ts and file.partition_id in (0, segment.partition_id)
        for segment in segments
    )


class Expiry:
    """Lets go of what has expired in the collections of one log, for one reign."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        catalog: Catalog,
        log_id: LogId,
        now: Callable[[], Timestamp],
    ) -> None:
        """`now`: a time of the log that no reader is behind of for long."""
        self._runtime = runtime
        self._config = config
        self._catalog = catalog
        self._log_id = log_id
        self._now = now

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._runtime.sleep(self._config.collect_interval_s)
            try:
                await self.look()
            except MishardsError as error:
                _log.warning("expired segments of log %d stay for now: %s", self._log_id, error)

    async def look(self) -> int:
        """Look once; the number of segments let go.

        Raises:
            MetadataUnavailable, Fenced.
        """
        gone = 0
        for view in tuple(self._catalog.snapshot.collections.values()):
            if view.meta.log_id != self._log_id or not view.meta.ttl_s:
                continue
            gone += await self._let_go(view.id)
        return gone

    async def _let_go(self, collection: CollectionId) -> int:
        edit = NOTHING

        def change(snapshot: MetadataSnapshot) -> Edit:
            nonlocal edit
            view = snapshot.collections.get(collection)
            edit = NOTHING if view is None else self._edit(view)
            return edit

        await self._catalog.commit(change)
        if edit.deletes:
            _log.info("%d segments of collection %d have expired", len(edit.deletes), collection)
        return len(edit.deletes)

    def _edit(self, view: CollectionView) -> Edit:
        return expiry_edit(view, expired_up_to(view.meta.ttl_s, self._now()))
