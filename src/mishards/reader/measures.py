"""What a reader measures while it answers.

Invariant: whatever a search observes is found once, here, not at each search. Any thread.
"""

from __future__ import annotations

from mishards.observability.instruments import Counter, Metrics
from mishards.observability.metrics import (
    CACHE_HITS,
    CACHE_MISSES,
    READER_REQUESTS,
    READER_STAGE_SECONDS,
)
from mishards.rpc.messages import Fetch, LookAgain, Message, Query, Search

_METHODS: dict[type, str] = {
    Search: "search",
    Query: "query",
    Fetch: "fetch",
    LookAgain: "look_again",
}
OK = "0"
CANCELLED = "cancelled"
"""In the place of a code: who asked went away."""
DEFECT = "65535"


class ReaderMeasures:
    """Instruments of one reader."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._answered: dict[type, Counter] = {
            kind: metrics.counter(READER_REQUESTS, method, OK) for kind, method in _METHODS.items()
        }
        self.wait = metrics.histogram(READER_STAGE_SECONDS, "wait_for_log")
        self.open = metrics.histogram(READER_STAGE_SECONDS, "open")
        self.search = metrics.histogram(READER_STAGE_SECONDS, "search")
        self.query = metrics.histogram(READER_STAGE_SECONDS, "query")
        self.fetch = metrics.histogram(READER_STAGE_SECONDS, "fetch")
        self.hits = metrics.counter(CACHE_HITS)
        self.misses = metrics.counter(CACHE_MISSES)

    def answered(self, message: Message, code: str = OK) -> None:
        """Count an answer, or an error by its code."""
        if code == OK:
            self._answered[type(message)].inc()
        elif (method := _METHODS.get(type(message))) is not None:
            self._metrics.counter(READER_REQUESTS, method, code).inc()
