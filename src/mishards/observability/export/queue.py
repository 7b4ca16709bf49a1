"""Sends traces to a collector from a thread of its own, some at a time.

Invariants: whoever offers a trace never waits for the collector; at most `size` traces wait, give
or take one per thread that offers at that moment, and what is beyond is dropped and counted; an
outage is told once in the log, and once that it is over; closing takes `flush_s` and a moment.
"""

from __future__ import annotations

import logging
import threading
from collections import deque

from mishards.core.errors import MishardsError, Unavailable
from mishards.observability.export.protocol import TraceExporter
from mishards.observability.spans import Trace

_log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_BATCH = 64
_BATCH_SPANS = 1000
"""Most traces of one export, and spans beyond which no further trace goes with it: encoding holds
the interpreter's lock, and requests wait for it; and collectors bound what they take."""
_PAUSES_S = (0.5, 1.0, 2.0)
"""After these the same export is tried again; then it is given up."""
_GRACE_S = 0.5


class ExportQueue:
    """Traces on their way to one collector."""

    def __init__(
        self,
        exporter: TraceExporter,
        *,
        size: int,
        flush_s: float,
        interval_s: float = _INTERVAL_S,
        pauses_s: tuple[float, ...] = _PAUSES_S,
    ) -> None:
        """Starts its thread.

        Args:
            size: traces that may wait.
            flush_s: how long `close` goes on sending.
            interval_s: how long a trace waits for others to go with it.
        """
        self.exported = 0
        self._exporter = exporter
        self._size = size
        self._soon = max(1, size // 2)
        self._flush_s = flush_s
        self._interval_s = interval_s
        self._pauses_s = pauses_s
        self._waiting: deque[Trace] = deque()
        self._counting = threading.Lock()
        self._dropped = 0
        self._told_at: int | None = None
        """How many had been dropped when the present outage was told of; None without one."""
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        # A daemon, so that a collector that holds an export does not hold the end of the program.
        self._thread = threading.Thread(target=self._run, name="mishards-traces", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Traces that were not sent, nor will be."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """Traces that wait to be sent."""
        return len(self._waiting)

    def offer(self, trace: Trace) -> None:
        """Have a trace sent, unless too many wait. Any thread; never waits."""
        waiting = len(self._waiting)
        if waiting >= self._size or self._closing.is_set():
            self._drop(1, "more are made than it takes")
            return
        self._waiting.append(trace)
        if waiting >= self._soon:
            self._wake.set()

    def close(self) -> None:
        """Send what waits, for `flush_s` at most, and stop. Blocks; idempotent."""
        self._closing.set()
        self._wake.set()
        self._thread.join(self._flush_s)
        if not self._abandoned.is_set():
            self._abandoned.set()
            self._exporter.close()
            self._thread.join(_GRACE_S)

    def _run(self) -> None:
        while not self._abandoned.is_set():
            self._wake.wait(self._interval_s)
            closing = self._closing.is_set()
            if not closing:
                self._wake.clear()
            while not self._abandoned.is_set() and (batch := self._take()):
                self._send(batch)
            if closing:
                break
        if left := len(self._waiting):
            self._drop(left, "the node stops")

    def _take(self) -> list[Trace]:
        waiting = self._waiting
        batch: list[Trace] = []
        spans = 0
        while waiting and len(batch) < _BATCH and spans < _BATCH_SPANS:
            batch.append(waiting.popleft())
            spans += len(batch[-1].spans)
        return batch

    def _send(self, batch: list[Trace]) -> None:
        for pause_s in (*self._pauses_s, None):
            try:
                self._exporter.export(batch)
            except Unavailable as error:
                reason = error.message
                if pause_s is not None and not self._closing.wait(pause_s):
                    continue
            except MishardsError as error:
                reason = error.message
            except Exception as error:
                _log.exception("traces could not be exported")
                reason = f"{type(error).__name__}: {error}"
            else:
                self.exported += len(batch)
                self._recovered()
                return
            self._drop(len(batch), reason)
            return

    def _drop(self, count: int, reason: str) -> None:
        with self._counting:
            self._dropped += count
            first = self._told_at is None
            if first:
                self._told_at = self._dropped - count
        if first:
            _log.warning("traces are not sent to %s but dropped: %s", self._exporter.name, reason)

    def _recovered(self) -> None:
        if self._told_at is None or self._waiting:
            return
        with self._counting:
            told_at, self._told_at = self._told_at, None
            lost = 0 if told_at is None else self._dropped - told_at
        _log.warning("traces are sent to %s again; %d were dropped", self._exporter.name, lost)
