"""The slow and failed requests that a proxy remembers.

Invariant: at most so many as it was told; of more, the newest.
"""

from __future__ import annotations

from collections import deque

from mishards.observability.spans import Trace
from mishards.observability.tracer import Why


class SlowTraces:
    """A taker of traces, that keeps the last slow and failed ones. Any thread."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Trace] = deque(maxlen=most)

    def take(self, trace: Trace, why: Why) -> None:
        """Remember a trace, unless it was kept for another reason."""
        if why != "sampled":
            self._kept.append(trace)

    def newest_first(self) -> list[Trace]:
        """All that are remembered."""
        return list(self._kept)[::-1]
