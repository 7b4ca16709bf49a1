"""Which traces are kept: those chosen at their beginning, and all that were slow or failed.

Invariants: chance is the tracer's own, so that recording changes no other; what a taker raises is
logged, and harms no request.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Literal

from mishards.core.runtime import Runtime
from mishards.observability.spans import Trace
from mishards.observability.tracing import Recorder, TraceStart

_log = logging.getLogger(__name__)

Why = Literal["sampled", "slow", "failed"]
"""Why a trace is kept; of several reasons the last."""
TraceTaker = Callable[[Trace, Why], None]
"""Takes a kept trace, at once and cheaply. Any thread."""


_NOTHING_SAID = TraceStart("", 0)


class Tracer:
    """Implements `TraceSink`."""

    def __init__(
        self,
        runtime: Runtime,
        node: str,
        *,
        share: float = 0.0,
        slow_s: float = 1.0,
        takers: Sequence[TraceTaker] = (),
        record: bool = True,
    ) -> None:
        """A tracer of every request.

        Args:
            record: whether requests are recorded that nobody asks it for.
            share: of the requests whose callers decide nothing, chosen by chance.
            slow_s: requests that take so long are kept.
        """
        self._now_ns = runtime.now_ns
        self._node = node
        self._chance = random.Random(f"{node}/{runtime.now_ns()}")
        self.records = record
        self._share = share
        self._slow_ns = int(slow_s * 1e9)
        self._takers = tuple(takers)

    def tell(self, take: TraceTaker) -> None:
        """Give kept traces to one more taker."""
        self._takers = (*self._takers, take)

    def begin(
        self, name: str, start: TraceStart | None, *, always: bool = False
    ) -> Recorder | None:
        if not (self.records or always):
            return None
        chance = self._chance
        trace_id, parent_id, sampled, told = _NOTHING_SAID if start is None else start
        if not trace_id:
            trace_id = f"{chance.getrandbits(128):032x}"
        if sampled is None:
            sampled = chance.random() < self._share
        span_id = chance.getrandbits(62) + 1
        recorder = Recorder(
            name, self._node, self._now_ns, trace_id, parent_id, span_id, sampled=sampled
        )
        if told:
            recorder.root.attributes.update(told)
        return recorder

    def end(self, recorder: Recorder, error: str = "", *, failed: bool = False) -> None:
        recorder.end(error)
        if not self.records:
            return
        why: Why
        if failed:
            why = "failed"
        elif recorder.duration_ns >= self._slow_ns:
            why = "slow"
        elif recorder.sampled:
            why = "sampled"
        else:
            return
        trace = recorder.trace()
        for take in self._takers:
            try:
                take(trace, why)
            except Exception:
                _log.exception("a kept trace of %s was not taken", trace.root.name)
