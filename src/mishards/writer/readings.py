"""What a writer tells of the log that it leads when its metrics are looked at.

Invariant: a collection's segments are counted once for each state of it, not at each look: there
may be a million of them. From the loop's thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from mishards.core.ids import CollectionId, LogId
from mishards.core.timestamps import physical_ms
from mishards.metadata.snapshot import CollectionView
from mishards.observability.instruments import Reading
from mishards.observability.metrics import (
    LOG_ENTRY,
    LOG_TIMESTAMP,
    MEMORY,
    METADATA_VERSION,
    QUEUE_BYTES,
    QUEUE_LIMIT,
    ROWS,
    SEGMENTS,
    WRITER_GROWING_BYTES,
    WRITER_GROWING_ROWS,
)
from mishards.writer.build import missing_indexes
from mishards.writer.config import WriterConfig
from mishards.writer.leading import Leading

_ROLE = "writer"


class ReignReadings:
    """Reads one reign."""

    def __init__(self, config: WriterConfig, log_id: LogId) -> None:
        self._config = config
        self._log_id = log_id
        self._tallies: dict[CollectionId, tuple[CollectionView, int, int]] = {}

    def read(self, leading: Leading) -> Iterator[Reading]:
        """What it says now."""
        log = str(self._log_id)
        yield Reading(METADATA_VERSION, leading.catalog.snapshot.version, (_ROLE,))
        yield Reading(LOG_ENTRY, leading.commit.next_seq - 1, (log, _ROLE))
        yield Reading(LOG_TIMESTAMP, physical_ms(leading.newest) / 1000, (log, _ROLE))
        yield Reading(QUEUE_BYTES, leading.commit.queue_bytes, (log,))
        yield Reading(QUEUE_LIMIT, self._config.queue_max_bytes, (log,))
        growing = leading.growing.collections()
        size_bytes = sum(state.size_bytes for state in growing.values())
        yield Reading(WRITER_GROWING_ROWS, sum(s.rows for s in growing.values()), (log,))
        yield Reading(WRITER_GROWING_BYTES, size_bytes, (log,))
        yield Reading(MEMORY, size_bytes, ("writer_growing",))
        yield from self._collections(leading)

    def _collections(self, leading: Leading) -> Iterator[Reading]:
        snapshot, growing = leading.catalog.snapshot, leading.growing.collections()
        databases = {database.id: database.name for database in snapshot.databases.values()}
        views = [v for v in snapshot.collections.values() if v.meta.log_id == self._log_id]
        self._tallies = {view.id: self._tally(view) for view in views}
        segments = sum(len(view.segments) for view in views)
        unindexed = sum(missing for _, _, missing in self._tallies.values())
        yield Reading(SEGMENTS, segments - unindexed, ("indexed",))
        yield Reading(SEGMENTS, unindexed, ("unindexed",))
        # The largest have names of their own where there are too many.
        for view in sorted(views, key=lambda view: -self._tallies[view.id][1]):
            _, sealed, _ = self._tallies[view.id]
            labels = databases.get(view.meta.database_id, ""), view.name
            state = growing.get(view.id)
            yield Reading(ROWS, sealed, (*labels, "sealed"))
            yield Reading(ROWS, 0 if state is None else state.rows, (*labels, "growing"))

    def _tally(self, view: CollectionView) -> tuple[CollectionView, int, int]:
        """Its rows, and its segments that wait for an index."""
        known = self._tallies.get(view.id)
        if known is not None and known[0] is view:
            return known
        rows = sum(segment.rows for segment in view.segments.values())
        waiting = missing_indexes(view, self._config.build_min_rows)
        return view, rows, len({missing.segment.id for missing in waiting})
