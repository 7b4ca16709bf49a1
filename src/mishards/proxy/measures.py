"""What a proxy measures while it answers.

Invariant: whatever a search observes is found once, here, not at each search. Any thread.
"""

from __future__ import annotations

from mishards.observability.instruments import Metrics
from mishards.observability.metrics import (
    HEDGES,
    LEADER_RETRIES,
    PARTIAL_ANSWERS,
    PLAN_CACHE_HITS,
    PLAN_CACHE_MISSES,
    RETRIES,
    SEARCH_QUERIES,
    SEARCH_STAGE_SECONDS,
    SEARCHES,
    STALE_PLANS,
    SUB_REQUEST_SECONDS,
    SUB_REQUESTS,
    SUSPICIONS,
)


class ProxyMeasures:
    """Instruments of one proxy."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        """Without metrics nothing is measured."""
        metrics = metrics or Metrics(enabled=False)
        self.get_routing = metrics.histogram(SEARCH_STAGE_SECONDS, "get_routing")
        self.do_search = metrics.histogram(SEARCH_STAGE_SECONDS, "do_search")
        self.do_merge = metrics.histogram(SEARCH_STAGE_SECONDS, "do_merge")
        self.fetch = metrics.histogram(SEARCH_STAGE_SECONDS, "fetch")
        self.in_thread = metrics.counter(SEARCHES, "thread")
        self.on_loop = metrics.counter(SEARCHES, "loop")
        self.queries = metrics.counter(SEARCH_QUERIES)
        self.sub_requests = metrics.counter(SUB_REQUESTS)
        self.sub_request_seconds = metrics.histogram(SUB_REQUEST_SECONDS)
        self.retries = metrics.counter(RETRIES)
        self.hedges = metrics.counter(HEDGES)
        self.suspicions = metrics.counter(SUSPICIONS)
        self.partial_answers = metrics.counter(PARTIAL_ANSWERS)
        self.stale_plans = metrics.counter(STALE_PLANS)
        self.plan_hits = metrics.counter(PLAN_CACHE_HITS)
        self.plan_misses = metrics.counter(PLAN_CACHE_MISSES)
        self.leader_retries = metrics.counter(LEADER_RETRIES)
