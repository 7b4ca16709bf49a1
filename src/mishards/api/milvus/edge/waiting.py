"""How a receiving thread waits for the next call: looking again for a moment, or asleep.

A client that searches in a loop sends its next call within half a millisecond. A thread that went
to sleep meanwhile, on a processor that went idle with it, is woken in a good part of the time that
the search itself takes. With several clients there is always work, and looking would only take
processors from them. Invariants: a thread looks for at most `spin_s` after a call, and not at all
where several clients call, calls queue up, or others want its processor; one thread looks at a
time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

Receive = Callable[[int, int], list[Any] | None]
"""The next calls, at most so many, waiting so many milliseconds; None when the front closed."""

_LOOK_UP_MS = 200
"""Closing the front wakes one of the threads that wait for calls; the others look up by this."""
_LONG_AWAY_S = 50e-6
"""A yielded processor that comes back only after this was wanted by others."""
_QUEUED_SHARE = 0.1
"""Where more calls than this were waiting when the last was answered, there is no idle time."""
_MEMORY = 0.05
_ALONE_CALLS = 8
"""A client is alone after so many calls in a row."""


class CallWaiter:
    """One thread's waiting; `turn` is shared by all threads of a front."""

    def __init__(self, receive: Receive, batch: int, spin_s: float, turn: threading.Lock):
        """`receive` is a front's `recv_batch` or `recv_batch_details`."""
        self._receive = receive
        self._batch = batch
        self._spin_s = spin_s
        self._turn = turn
        self._queued = 0.0
        self._called = False
        self._client: object = None
        self._in_a_row = 0

    def next(self) -> list[Any] | None:
        """The next calls, an empty list after a while without any, None when the front closed."""
        events = self._soon() if self._spin_s and self._called else []
        if events == []:
            events = self._receive(self._batch, _LOOK_UP_MS)
        self._called = bool(events)
        if events:
            self._note(events)
        return events

    def _soon(self) -> list[Any] | None:
        """Calls that are there, or come while looking is worth it."""
        events: list[Any] | None = self._receive(self._batch, 0)
        self._queued += _MEMORY * (bool(events) - self._queued)
        worth = self._in_a_row >= _ALONE_CALLS and self._queued < _QUEUED_SHARE
        if events == [] and worth and self._turn.acquire(False):
            try:
                return self._look()
            finally:
                self._turn.release()
        return events

    def _note(self, events: list[Any]) -> None:
        """Count the calls that came from one client in a row."""
        for event in events:
            client = event[4]
            self._in_a_row = self._in_a_row + 1 if client == self._client else 0
            self._client = client

    def _look(self) -> list[Any] | None:
        receive, batch, clock = self._receive, self._batch, time.perf_counter
        now = clock()
        end = now + self._spin_s
        while now < end:
            os.sched_yield()
            events = receive(batch, 0)
            if events != []:
                return events
            before, now = now, clock()
            if now - before > _LONG_AWAY_S:
                break
        return []
