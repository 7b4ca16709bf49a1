"""What a reader tells of itself when its metrics are looked at. From the loop's thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mishards.core.timestamps import physical_ms
from mishards.observability.instruments import Reading
from mishards.observability.metrics import (
    CACHE_BYTES,
    CACHE_EVICTIONS,
    CACHE_LIMIT,
    LOG_ENTRY,
    LOG_LAG_SECONDS,
    LOG_TIMESTAMP,
    MASK_CACHE_BYTES,
    MASK_CACHE_EVICTIONS,
    MASK_CACHE_HITS,
    MASK_CACHE_LIMIT,
    MASK_CACHE_MISSES,
    MEMORY,
    METADATA_VERSION,
    READER_GROWING_ROWS,
    READER_OPENED,
    READER_SEGMENTS,
)
from mishards.reader.cache import FileCache
from mishards.reader.collection import CollectionState
from mishards.reader.filters import MaskCache
from mishards.reader.progress import Progress
from mishards.reader.room import Room
from mishards.reader.segments import SegmentOpener

_ROLE = "reader"


def progress_readings(progress: Progress, now_ms: int) -> Iterator[Reading]:
    """How far the reader has come."""
    yield Reading(METADATA_VERSION, progress.version, (_ROLE,))
    for log_id, applied in progress.logs().items():
        labels = (str(log_id), _ROLE)
        yield Reading(LOG_ENTRY, applied.seq, labels)
        if applied.timestamp:
            at_ms = physical_ms(applied.timestamp)
            yield Reading(LOG_TIMESTAMP, at_ms / 1000, labels)
            yield Reading(LOG_LAG_SECONDS, max(0, now_ms - at_ms) / 1000, labels)


def holding_readings(states: Iterable[CollectionState], opener: SegmentOpener) -> Iterator[Reading]:
    """What the reader holds."""
    held = list(states)
    growing = sum(state.growing_rows() for state in held)
    yield Reading(READER_GROWING_ROWS, growing)
    yield Reading(MEMORY, sum(state.rows.size_bytes for state in held), ("growing_rows",))
    yield Reading(READER_SEGMENTS, sum(len(state.open) for state in held), ("open",))
    yield Reading(READER_SEGMENTS, len(opener.quarantine.reasons()), ("quarantine",))
    yield Reading(READER_OPENED, opener.opened)


def cache_readings(files: FileCache, room: Room, masks: MaskCache) -> Iterator[Reading]:
    """How full the caches are, and what they were good for."""
    yield Reading(CACHE_BYTES, files.used_bytes)
    yield Reading(CACHE_LIMIT, files.limit_bytes)
    yield Reading(CACHE_EVICTIONS, files.evicted + room.closed)
    yield Reading(MASK_CACHE_BYTES, masks.size_bytes)
    yield Reading(MASK_CACHE_LIMIT, masks.limit_bytes)
    yield Reading(MASK_CACHE_HITS, masks.hits)
    yield Reading(MASK_CACHE_MISSES, masks.misses)
    yield Reading(MASK_CACHE_EVICTIONS, masks.evicted)
    yield Reading(MEMORY, masks.size_bytes, ("mask_cache",))
