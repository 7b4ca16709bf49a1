"""What a proxy tells of itself when its metrics are looked at. From the loop's thread."""

from __future__ import annotations

from collections.abc import Iterator

from mishards.core.timestamps import physical_ms
from mishards.observability.instruments import Reading
from mishards.observability.metrics import (
    COLLECTIONS,
    LOG_ENTRY,
    LOG_LAG_SECONDS,
    LOG_TIMESTAMP,
    METADATA_VERSION,
)
from mishards.proxy.state import ProxyState

_ROLE = "proxy"


def state_readings(state: ProxyState, now_ms: int) -> Iterator[Reading]:
    """What the proxy knows, and how far each log has come as it has heard."""
    yield Reading(METADATA_VERSION, state.snapshot.version, (_ROLE,))
    yield Reading(COLLECTIONS, len(state.snapshot.collections))
    for log_id, known in state.logs().items():
        labels = (str(log_id), _ROLE)
        yield Reading(LOG_ENTRY, known.seq, labels)
        if known.timestamp:
            at_ms = physical_ms(known.timestamp)
            yield Reading(LOG_TIMESTAMP, at_ms / 1000, labels)
            yield Reading(LOG_LAG_SECONDS, max(0, now_ms - at_ms) / 1000, labels)
