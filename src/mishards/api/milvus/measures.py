"""What is measured of each call of the Milvus API: how many, how they ended, how long they took.

Any thread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mishards.core.errors import InternalError, MishardsError
from mishards.observability.instruments import Counter, Histogram, Metrics
from mishards.observability.metrics import REQUEST_SECONDS, REQUESTS, REQUESTS_IN_FLIGHT

OK = "0"
CANCELLED = "cancelled"
"""In the place of a code: the client went away, or its deadline passed."""

clock = time.perf_counter


def code_of(error: BaseException) -> str:
    """Milvus's code of an error, as the client is told it."""
    found = error.code if isinstance(error, MishardsError) else InternalError.code
    return str(found)


class CallMeasures:
    """Instruments of one edge."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        """Without metrics nothing is measured."""
        self._metrics = metrics or Metrics(enabled=False)
        self._in_flight = self._metrics.gauge(REQUESTS_IN_FLIGHT)
        self._known: dict[str, tuple[Counter, Histogram]] = {}

    def begin(self, calls: int = 1) -> float:
        """Calls arrived; the moment, for `end`."""
        self._in_flight.inc(calls)
        return clock()

    def end(self, method: str, began_s: float, codes: Sequence[str], handed_on: int = 0) -> None:
        """Calls that arrived at `began_s` were answered with these codes; others were handed on
        to where they are measured anew."""
        self._in_flight.inc(-len(codes) - handed_on)
        if not codes:
            return
        if (known := self._known.get(method)) is None:
            known = self._known[method] = (
                self._metrics.counter(REQUESTS, method, OK),
                self._metrics.histogram(REQUEST_SECONDS, method),
            )
        succeeded, seconds = known
        taken_s = clock() - began_s
        for code in codes:
            seconds.observe(taken_s)
            if code == OK:
                succeeded.inc()
            else:
                self._metrics.counter(REQUESTS, method, code).inc()
